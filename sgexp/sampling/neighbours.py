"""Nearest neighbours: exact ones, which are scikit-learn's, or approximate ones where every sample is compared.

Exact search among N samples takes N^2 distances. The approximate one is an inverted file (H. Jegou, M. Douze,
C. Schmid, IEEE TPAMI 33 (2011) 117-128, without their compression): k-means puts the samples into 2 sqrt(N) cells, and
a sample is compared with the members of the eight cells whose centres are nearest to it. That takes about 4 N^1.5
distances. What it returns is ranked by exact distances; it may miss a neighbour that lies in a cell further off
(docs/sampling.md has the recall that was measured).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from imblearn.under_sampling import (
    AllKNN,
    EditedNearestNeighbours,
    NeighbourhoodCleaningRule,
    OneSidedSelection,
    RepeatedEditedNearestNeighbours,
    TomekLinks,
)
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.utils import check_random_state

EXACT, APPROXIMATE = "exact", "approximate"
PROBES = 8
_FEW = 2000  # samples: fewer are searched exactly, in less time
_TRAINED_ON = 64  # samples a cell that k-means looks at
_AT_ONCE = 4096  # rows of a block of distances
_SPARE = 8  # candidates ranked by exact distances beyond those asked for


def search(method: str, k: int) -> NearestNeighbors:
    """Return an estimator that looks for ``k`` neighbours; ``method`` is "exact" or "approximate"."""
    return ApproximateNeighbors(n_neighbors=k) if method == APPROXIMATE else NearestNeighbors(n_neighbors=k)


class ApproximateNeighbors(NearestNeighbors):
    """scikit-learn's ``NearestNeighbors`` with an inverted file in the place of its search (Euclidean distances).

    The same rows give the same answer: k-means starts from a fixed seed. Fewer than 2,000 rows are searched exactly.
    """

    def fit(self, X: np.ndarray, y: Any = None) -> ApproximateNeighbors:
        """Sort the rows of ``X`` (N, F) into cells."""
        super().fit(X)
        self._fit_X: np.ndarray
        self.cells_ = None if len(X) < _FEW else _Cells(self._fit_X)
        return self

    def kneighbors(
        self, X: np.ndarray | None = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the distances and rows of the neighbours of each row of ``X``, nearest first, as scikit-learn does.

        Without ``X`` those of the rows fitted, which do not count as their own neighbours.
        """
        if self.cells_ is None:
            return super().kneighbors(X, n_neighbors, return_distance)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if X is None:
            distance, rows = self.cells_.nearest(self._fit_X, k + 1)
            distance, rows = distance[:, 1:], rows[:, 1:]
        else:
            distance, rows = self.cells_.nearest(np.asarray(X), k)
        return (distance, rows) if return_distance else rows


class _Cells:
    """The inverted file: the members of each cell, and the cells' centres."""

    def __init__(self, x_NF: np.ndarray) -> None:
        self.x_NF, self.mean = x_NF, x_NF.mean(axis=0)
        count = round(2 * len(x_NF) ** 0.5)
        some = np.random.default_rng(0).permutation(len(x_NF))[: _TRAINED_ON * count]
        kmeans = MiniBatchKMeans(n_clusters=count, random_state=0, n_init=1, batch_size=2048, max_iter=20)
        kmeans.fit(x_NF[some] - self.mean)
        self.centres = kmeans.cluster_centers_.astype(x_NF.dtype)
        cell_N = self._near_cells(x_NF, 1)[:, 0]
        order = np.argsort(cell_N, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(cell_N, minlength=count))[:-1])

    def _near_cells(self, x_QF: np.ndarray, probes: int) -> np.ndarray:
        """Return the cells whose centres are nearest to each row, (Q, probes), in no order."""
        found = np.empty((len(x_QF), probes), np.int64)
        squares = np.einsum("cf,cf->c", self.centres, self.centres)
        for start in range(0, len(x_QF), _AT_ONCE):
            distance = squares - 2 * ((x_QF[start : start + _AT_ONCE] - self.mean) @ self.centres.T)
            found[start : start + _AT_ONCE] = np.argpartition(distance, probes - 1, axis=1)[:, :probes]
        return found

    def nearest(self, x_QF: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and rows of the ``k`` nearest found of each row of ``x_QF``, nearest first, (Q, k)."""
        k = min(k, len(self.x_NF))
        cell_QP = self._near_cells(x_QF, self._probes(k))
        by_cell = np.argsort(cell_QP, axis=None, kind="stable")
        asking = np.split(by_cell // cell_QP.shape[1], np.cumsum(np.bincount(cell_QP.ravel(), minlength=self.n))[:-1])
        best = np.full((len(x_QF), k + _SPARE), np.inf, x_QF.dtype)
        rows = np.zeros((len(x_QF), k + _SPARE), np.int64)
        for members, queries in zip(self.members, asking, strict=True):
            x_MF = self.x_NF[members] - self.mean
            squares = np.einsum("mf,mf->m", x_MF, x_MF)
            for start in range(0, len(queries), _AT_ONCE):
                some = queries[start : start + _AT_ONCE]
                near, place = _smallest(squares - 2 * ((x_QF[some] - self.mean) @ x_MF.T), k + _SPARE)
                both, found = np.hstack([best[some], near]), np.hstack([rows[some], members[place]])
                best[some], place = _smallest(both, k + _SPARE)
                rows[some] = np.take_along_axis(found, place, axis=1)
        return self._ranked(x_QF, best, rows, k)

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.members)

    def _probes(self, k: int) -> int:
        """Return how many cells to look into: those that surely hold ``k`` rows, ``PROBES`` at least."""
        held = np.cumsum(np.sort([len(members) for members in self.members]))
        return min(self.n, max(PROBES, int(np.searchsorted(held, k)) + 1))

    def _ranked(self, x_QF: np.ndarray, best: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Sort the candidates by distances computed as differences: products of large numbers lose a copy's zero."""
        nearest = np.empty((len(x_QF), k), x_QF.dtype)
        chosen = np.empty((len(x_QF), k), np.int64)
        for start in range(0, len(x_QF), _AT_ONCE // 4):
            part = slice(start, start + _AT_ONCE // 4)
            apart = self.x_NF[rows[part]] - x_QF[part, np.newaxis]
            distance = np.where(np.isinf(best[part]), np.inf, np.sqrt(np.einsum("qkf,qkf->qk", apart, apart)))
            order = np.lexsort((rows[part], distance), axis=1)[:, :k]
            nearest[part] = np.take_along_axis(distance, order, axis=1)
            chosen[part] = np.take_along_axis(rows[part], order, axis=1)
        return nearest, chosen


def _smallest(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` smallest values of each line (all, where it has no more), in no order, and their places."""
    if values.shape[1] <= k:
        return values, np.broadcast_to(np.arange(values.shape[1]), values.shape)
    place = np.argpartition(values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(values, place, axis=1), place


class ApproximateEdited(EditedNearestNeighbours):
    """imbalanced-learn's edited nearest neighbours, by approximate ones."""

    def _validate_estimator(self) -> None:
        super()._validate_estimator()
        self.nn_: NearestNeighbors
        self.nn_ = ApproximateNeighbors(n_neighbors=self.nn_.n_neighbors)


class _EditsApproximately:
    """For imbalanced-learn's cleaners that leave the editing to another, in the attribute ``editor``."""

    editor = "enn_"

    def _validate_estimator(self) -> None:
        super()._validate_estimator()  # type: ignore[misc]
        setattr(self, self.editor, ApproximateEdited(**getattr(self, self.editor).get_params(deep=False)))


class ApproximateRepeatedEdited(_EditsApproximately, RepeatedEditedNearestNeighbours):
    """Repeated editing by approximate neighbours."""


class ApproximateAllKnn(_EditsApproximately, AllKNN):
    """Editing with 1, 2, ... approximate neighbours in turn."""


class ApproximateCleaningRule(_EditsApproximately, NeighbourhoodCleaningRule):
    """The neighbourhood cleaning rule; what misleads the smallest class is still found exactly, in little time."""

    editor = "edited_nearest_neighbours_"


class ApproximateTomekLinks(TomekLinks):
    """Tomek links between approximate neighbours."""

    def _fit_resample(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nearest = ApproximateNeighbors(n_neighbors=2).fit(X).kneighbors(X, return_distance=False)[:, 1]
        self.sample_indices_ = np.flatnonzero(~self.is_tomek(y, nearest, self.sampling_strategy_))
        return X[self.sample_indices_], y[self.sample_indices_]


class ApproximateOneSided(OneSidedSelection):
    """One-sided selection whose Tomek links are between approximate neighbours.

    Its first half is imbalanced-learn's, step for step, which cannot be called without the second: a class is compared
    with the smallest one and one sample of its own, which is quick.
    """

    def _fit_resample(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng, counts, chosen = check_random_state(self.random_state), Counter(y), self.sampling_strategy_
        smallest = np.flatnonzero(y == min(counts, key=lambda number: counts[number]))
        kept = []
        for number in np.unique(y):
            rows = np.flatnonzero(y == number)
            if number in chosen:
                first = rng.randint(low=0, high=len(rows), size=self.n_seeds_S)
                known, others = np.append(smallest, rows[first]), np.delete(rows, first)
                told = KNeighborsClassifier(n_neighbors=1).fit(X[known], y[known]).predict(X[others])
                rows = np.append(rows[first], others[told != number])
            kept.append(rows)
        left = np.concatenate(kept)
        links = ApproximateTomekLinks(sampling_strategy=list(chosen))
        links.fit_resample(X[left], y[left])
        self.sample_indices_ = left[links.sample_indices_]
        return X[self.sample_indices_], y[self.sample_indices_]
