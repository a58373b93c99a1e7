"""SMOTE as a plan: imbalanced-learn draws, and instead of new pixels its rows, neighbours and steps are kept.

N. V. Chawla, K. W. Bowyer, L. O. Hall, W. P. Kegelmeyer, SMOTE: Synthetic Minority Over-sampling Technique, J. Artif.
Intell. Res. 16 (2002) 321-357. A new sample lies between a sample of a small class and one of its k nearest neighbours
in that class: x_new = x_i + u (x_j - x_i), u uniform in [0, 1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from imblearn.over_sampling import SMOTE
from threadpoolctl import ThreadpoolController

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.neighbours import EXACT, search
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.rare import neighbour_notes
from sgexp.sampling.recipe import fresh_pairs
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
    materials only, "same_material" in the sample's own material only. ``neighbours``: how they are found, "exact" or
    "approximate". ``fresh``: every epoch draws other pairs and other steps.
    """

    needs_features = True

    def __init__(
        self,
        balance: str,
        cap: int,
        table: Mapping[int, int],
        k_neighbors: int,
        partners: str,
        neighbours: str = EXACT,
        fresh: bool = False,
    ) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)
        self.k_neighbors, self.partners, self.neighbours, self.fresh = k_neighbors, partners, neighbours, fresh

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from distances between ``features_NF``; with pixels as features ``mix`` equals imbalanced-learn's SMOTE.

        ``features_NF`` is read class by class, so something that reads rows from a file, or float16, saves memory. As
        in imbalanced-learn an integer seed starts every class afresh: classes of equal size draw equal positions.
        """
        if features_NF is None:
            raise ValueError("SMOTE needs features to find neighbours")
        labels_N, groups_N = np.asarray(labels_N), np.asarray(groups_N)
        added, table_notes = counts_to_add(class_counts(labels_N), self.balance, self.cap, self.table)
        threads = ThreadpoolController()
        used_k: dict[int, int] = {}
        drawn = []
        for group, n in added.items():
            rows = np.flatnonzero(labels_N == group)
            bases, used_k[group] = self._bases(groups_N[rows])
            if not used_k[group]:  # nobody to mix with: the class is repeated evenly
                repeated = rows if self.fresh else np.resize(rows, n)
                drawn.append((repeated, repeated, np.zeros(len(repeated))))
                continue
            with threads.limit(limits=1 if len(rows) < SMALL_CLASS else None):
                base, partner, weight = self._pairs(features_NF[rows], groups_N[rows], bases, used_k[group], n, seed)
            drawn.append((rows[base], rows[partner], weight))
        notes = table_notes + neighbour_notes(used_k, self.k_neighbors, _LONELY[self.partners])
        base, partner, weight = (np.concatenate(part) for part in zip(*drawn, strict=True)) if drawn else (_NONE,) * 3
        if self.fresh:
            return fresh_plan(labels_N, base, partner, (weight > 0).astype(float), added, notes)
        once = np.arange(len(labels_N))
        base, partner = np.concatenate([once, base]), np.concatenate([once, partner])
        return ResamplingPlan(base, partner, np.concatenate([np.zeros(len(once)), weight]), notes=notes)

    def _pairs(
        self, x_nF: np.ndarray, groups_n: np.ndarray, bases_b: np.ndarray, k: int, n: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return base, partner and step of ``n`` draws of one class; all its pairs, steps 1, where draws are fresh."""
        if self.fresh:
            neighbours = self._neighbours(x_nF, groups_n, bases_b, k)
            return np.repeat(bases_b, k), neighbours.ravel(), np.ones(neighbours.size)
        drawn, number, weight = RecordingSmote(random_state=seed, k_neighbors=k).draw(len(bases_b), k, n)
        asked, at = np.unique(drawn, return_inverse=True)
        neighbours = self._neighbours(x_nF, groups_n, bases_b[asked], k)
        return bases_b[drawn], neighbours[at, number], weight

    def _bases(self, groups_n: np.ndarray) -> tuple[np.ndarray, int]:
        """Return which samples of a class have possible partners, and how many neighbours each: at most k, or 0."""
        everybody, n = np.arange(len(groups_n)), len(groups_n)
        if self.partners == "any":
            return everybody, min(self.k_neighbors, n - 1)
        _, material_n, sizes = np.unique(groups_n, return_inverse=True, return_counts=True)
        if self.partners == "other_material":
            return everybody, min(self.k_neighbors, n - int(sizes.max()))
        return np.flatnonzero(sizes[material_n] > 1), min(self.k_neighbors, int(sizes.max()) - 1)

    def _neighbours(self, x_nF: np.ndarray, groups_n: np.ndarray, asked_a: np.ndarray, k: int) -> np.ndarray:
        """Return the ``k`` nearest possible partners of the samples ``asked_a`` of one class, nearest first, (a, k)."""
        if self.partners == "any":
            return _nearest(x_nF, asked_a, k + 1, self.neighbours)[:, 1:]
        _, material_n, sizes = np.unique(groups_n, return_inverse=True, return_counts=True)
        if self.partners == "same_material":
            return _in_material(x_nF, material_n, asked_a, k)
        # Of the k + (largest material) nearest at most (largest material) are a sample's own, so k others remain.
        near = _nearest(x_nF, asked_a, min(len(x_nF), k + int(sizes.max())), self.neighbours)
        own = material_n[near] == material_n[asked_a, np.newaxis]
        others_first = np.argsort(own, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, others_first, axis=1)


_LONELY = {
    "any": "a single sample",
    "other_material": "a single material",
    "same_material": "no material with two samples",
}
_NONE = np.empty(0, np.int64)


def energy_interpolation(
    balance: str, cap: int, table: Mapping[int, int], k_neighbors: int, fresh: bool = False
) -> Smote:
    """SMOTE within materials: points between two beam energies of one crystal, an energy in between in a way."""
    return Smote(balance, cap, table, k_neighbors, "same_material", fresh=fresh)


def cross_material(
    balance: str, cap: int, table: Mapping[int, int], k_neighbors: int, neighbours: str = EXACT, fresh: bool = False
) -> Smote:
    """SMOTE between materials: points between patterns of two crystals of one group."""
    return Smote(balance, cap, table, k_neighbors, "other_material", neighbours, fresh)


embedding_smote = Smote
"""SMOTE with neighbours in the features of a trained network, which the task computes (``sampler.run``)."""


def fresh_plan(
    labels_N: np.ndarray,
    base_P: np.ndarray,
    partner_P: np.ndarray,
    longest_P: np.ndarray,
    added: Mapping[int, int],
    notes: tuple[str, ...],
) -> ResamplingPlan:
    """Return the recipe that draws every sample once and, anew each epoch, ``added`` pairs of each class.

    A pair that is listed more than once is drawn as much more often. ``longest_P``: the longest step of each.
    """
    sign_P = np.sign(longest_P).astype(np.int64)
    pairs, first, often = np.unique(
        np.stack([base_P, partner_P, sign_P]), axis=1, return_index=True, return_counts=True
    )
    labels_P = np.asarray(labels_N)[pairs[0]]
    served = {group: n for group, n in added.items() if (labels_P == group).any()}
    rows = np.arange(len(labels_N))
    return ResamplingPlan(
        np.concatenate([rows, pairs[0]]),
        np.concatenate([rows, pairs[1]]),
        np.concatenate([np.zeros(len(rows)), longest_P[first]]),
        "recipe",
        notes,
        recipe=fresh_pairs(len(rows), often.astype(float), labels_P, served),
    )


def _in_material(x_nF: np.ndarray, material_n: np.ndarray, asked_a: np.ndarray, k: int) -> np.ndarray:
    """Return the k nearest samples of each one's own material, (a, k); where there are fewer they come again."""
    found = np.empty((len(asked_a), k), np.int64)
    of_asked = material_n[asked_a]
    for material in np.unique(of_asked):
        own, places = np.flatnonzero(material_n == material), np.flatnonzero(of_asked == material)
        near = own[_nearest(x_nF[own], np.searchsorted(own, asked_a[places]), min(k + 1, len(own)), EXACT)]
        found[places] = near[:, 1 + np.arange(k) % (near.shape[1] - 1)]
    return found


def _nearest(x_nF: np.ndarray, asked_a: np.ndarray, k: int, method: str) -> np.ndarray:
    """Return the ``k`` nearest rows of each row asked for, itself first (scikit-learn's, as in imbalanced-learn)."""
    if x_nF.dtype not in (np.float32, np.float64):
        x_nF = x_nF.astype(np.float32)
    return search(method, k).fit(x_nF).kneighbors(x_nF[asked_a], return_distance=False)
