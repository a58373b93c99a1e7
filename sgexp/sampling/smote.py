"""SMOTE as a plan: imbalanced-learn draws, and instead of new pixels its rows, neighbours and steps are kept.

N. V. Chawla, K. W. Bowyer, L. O. Hall, W. P. Kegelmeyer, SMOTE: Synthetic Minority Over-sampling Technique, J. Artif.
Intell. Res. 16 (2002) 321-357. A new sample lies between a sample of a small class and one of its k nearest neighbours
in that class: x_new = x_i + u (x_j - x_i), u uniform in [0, 1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn.neighbors import NearestNeighbors

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.targets import class_counts, counts_to_add


class RecordingSmote(SMOTE):
    """imbalanced-learn's SMOTE, but ``_generate_samples`` records what would be mixed instead of mixing it."""

    def _generate_samples(
        self,
        X: np.ndarray,
        nn_data: np.ndarray,
        nn_num: np.ndarray,
        rows: np.ndarray,
        cols: np.ndarray,
        steps: np.ndarray,
        y_type: int | None = None,
        y: np.ndarray | None = None,
    ) -> np.ndarray:
        """Keep base rows, partner rows and steps in ``drawn_``; return no samples."""
        self.drawn_ = (rows, nn_num[rows, cols], steps[:, 0])
        return X[:0]

    def draw(self, neighbours_NK: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw ``n`` (base row, partner row, step) of one class whose row i has the neighbours ``neighbours_NK[i]``."""
        nothing = np.empty((len(neighbours_NK), 0), np.float32)
        self._make_samples(nothing, np.dtype(np.int64), 0, nothing, neighbours_NK, n)
        return self.drawn_


class Smote:
    """Every sample once, then points between samples of the small classes and their nearest neighbours.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_add``. ``k_neighbors``: k of the method; a class with
    n <= k samples uses n - 1. ``partners``: "any" is plain SMOTE; "other_material" looks for neighbours in other
    materials only, since nearly every plain pair joins two beam energies of one material.
    """

    needs_features = True

    def __init__(self, balance: str, cap: int, table: Mapping[int, int], k_neighbors: int, partners: str) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)
        self.k_neighbors, self.partners = k_neighbors, partners

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from distances between ``features_NF``; with pixels as features ``mix`` equals imbalanced-learn's SMOTE.

        ``features_NF`` is read class by class, so something that reads rows from a file, or float16, saves memory. As
        in imbalanced-learn an integer seed starts every class afresh: classes of equal size draw equal positions.
        """
        if features_NF is None:
            raise ValueError("SMOTE needs features to find neighbours")
        labels_N = np.asarray(labels_N)
        added, table_notes = counts_to_add(class_counts(labels_N), self.balance, self.cap, self.table)
        n_kept = len(labels_N)
        base = np.empty(n_kept + sum(added.values()), np.int64)
        base[:n_kept] = np.arange(n_kept)
        partner = base.copy()
        weight = np.zeros(len(base))
        used_k: dict[int, int] = {}
        start = n_kept
        for group, n in added.items():
            rows = np.flatnonzero(labels_N == group)
            neighbours = self._neighbours(rows, groups_N, features_NF)
            used_k[group] = neighbours.shape[1]
            stop = start + n
            if used_k[group]:
                recorder = RecordingSmote(random_state=seed, k_neighbors=used_k[group])
                drawn_base, drawn_partner, weight[start:stop] = recorder.draw(neighbours, n)
                base[start:stop], partner[start:stop] = rows[drawn_base], rows[drawn_partner]
            else:  # nobody to mix with: the class is repeated evenly
                base[start:stop] = partner[start:stop] = np.resize(rows, n)
            start = stop
        return ResamplingPlan(base, partner, weight, notes=table_notes + self._notes(used_k))

    def _neighbours(self, rows: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows) -> np.ndarray:
        """Return for each of a class's ``rows`` its k nearest others, as positions within ``rows`` (n, k)."""
        n = len(rows)
        if self.partners == "any":
            k = min(self.k_neighbors, n - 1)
            return _nearest(features_NF[rows], k + 1)[:, 1:] if k else np.empty((n, 0), np.int64)
        materials, material_n, sizes = np.unique(np.asarray(groups_N)[rows], return_inverse=True, return_counts=True)
        k = min(self.k_neighbors, n - int(sizes.max()))
        if len(materials) == 1 or k == 0:
            return np.empty((n, 0), np.int64)
        # Of the k + (largest material) nearest at most (largest material) are a row's own, so k others remain.
        near = _nearest(features_NF[rows], min(n, k + int(sizes.max())))
        own = material_n[near] == material_n[:, np.newaxis]
        others_first = np.argsort(own, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, others_first, axis=1)

    def _notes(self, used_k: dict[int, int]) -> tuple[str, ...]:
        """Say once how many classes were too small for k neighbours, and what was done."""
        fewer = sum(0 < k < self.k_neighbors for k in used_k.values())
        alone = sum(k == 0 for k in used_k.values())
        lonely = "a single sample" if self.partners == "any" else "a single material"
        notes = []
        if fewer:
            notes.append(f"{_classes(fewer)} too few samples for {self.k_neighbors} neighbours: as many as there are.")
        if alone:
            notes.append(f"{_classes(alone)} {lonely}: repeated, nothing to mix with.")
        return tuple(notes)


def _classes(n: int) -> str:
    return "1 class has" if n == 1 else f"{n} classes have"


def _nearest(x_NF: np.ndarray, k: int) -> np.ndarray:
    """Return the ``k`` nearest rows of each row, itself first (scikit-learn, as in imbalanced-learn)."""
    if x_NF.dtype not in (np.float32, np.float64):
        x_NF = x_NF.astype(np.float32)
    return NearestNeighbors(n_neighbors=k).fit(x_NF).kneighbors(x_NF, return_distance=False)
