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
from threadpoolctl import ThreadpoolController

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.rare import neighbour_notes
from sgexp.sampling.targets import class_counts, counts_to_add

# Below this many samples one thread finds neighbours in milliseconds, and waking the others takes longer (on a busy
# machine 0.5 s became 15 s for 200 classes).
SMALL_CLASS = 1000


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
        """Keep base rows, which of its neighbours each is mixed with, and steps in ``drawn_``; return no samples."""
        self.drawn_ = (rows, cols, steps[:, 0])
        return X[:0]

    def draw(self, n_rows: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw ``n`` (base row, number of the neighbour, step) from a class of ``n_rows`` with ``k`` neighbours each.

        imbalanced-learn draws without a look at the neighbours: only how many there are matters here.
        """
        nothing = np.empty((n_rows, 0), np.float32)
        self._make_samples(nothing, np.dtype(np.int64), 0, nothing, np.broadcast_to(0, (n_rows, k)), n)
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
        threads = ThreadpoolController()
        start = n_kept
        for group, n in added.items():
            rows = np.flatnonzero(labels_N == group)
            same = slice(start, start + n)
            used_k[group] = k = self._usable_k(np.asarray(groups_N)[rows])
            if k:
                drawn, number, weight[same] = RecordingSmote(random_state=seed, k_neighbors=k).draw(len(rows), k, n)
                asked, at = np.unique(drawn, return_inverse=True)
                with threads.limit(limits=1 if len(rows) < SMALL_CLASS else None):
                    neighbours = self._neighbours(features_NF[rows], np.asarray(groups_N)[rows], asked, k)
                base[same], partner[same] = rows[drawn], rows[neighbours[at, number]]
            else:  # nobody to mix with: the class is repeated evenly
                base[same] = partner[same] = np.resize(rows, n)
            start += n
        lonely = "a single sample" if self.partners == "any" else "a single material"
        notes = neighbour_notes(used_k, self.k_neighbors, lonely)
        return ResamplingPlan(base, partner, weight, notes=table_notes + notes)

    def _usable_k(self, groups_n: np.ndarray) -> int:
        """Return how many neighbours each sample of a class can have, at most ``k_neighbors``; 0 for a lonely class."""
        if self.partners == "any":
            return min(self.k_neighbors, len(groups_n) - 1)
        return min(self.k_neighbors, len(groups_n) - int(np.unique(groups_n, return_counts=True)[1].max()))

    def _neighbours(self, x_nF: np.ndarray, groups_n: np.ndarray, asked_a: np.ndarray, k: int) -> np.ndarray:
        """Return the ``k`` nearest possible partners of the samples ``asked_a`` of one class, nearest first, (a, k)."""
        if self.partners == "any":
            return _nearest(x_nF, asked_a, k + 1)[:, 1:]
        # Of the k + (largest material) nearest at most (largest material) are a sample's own, so k others remain.
        _, material_n, sizes = np.unique(groups_n, return_inverse=True, return_counts=True)
        near = _nearest(x_nF, asked_a, min(len(x_nF), k + int(sizes.max())))
        own = material_n[near] == material_n[asked_a, np.newaxis]
        others_first = np.argsort(own, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, others_first, axis=1)


def _nearest(x_nF: np.ndarray, asked_a: np.ndarray, k: int) -> np.ndarray:
    """Return the ``k`` nearest rows of each row asked for, itself first (scikit-learn's, as in imbalanced-learn)."""
    if x_nF.dtype not in (np.float32, np.float64):
        x_nF = x_nF.astype(np.float32)
    return NearestNeighbors(n_neighbors=k).fit(x_nF).kneighbors(x_nF[asked_a], return_distance=False)
