"""imbalanced-learn's over-samplers, run on row numbers: what they would mix is recorded, and no sample is made.

Instead of features they are given a table (N, 2) in which both columns hold the number of the row. They select, copy
and stack it as they would features; wherever distances matter they ask an estimator, and the estimators here look the
features up. A new "sample" of theirs is then (base row, partner row), and its step is in ``steps``.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from imblearn.over_sampling import ADASYN, SVMSMOTE, BorderlineSMOTE, KMeansSMOTE
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

from sgexp.sampling.neighbours import EXACT, search


def row_table(n_rows: int) -> np.ndarray:
    """Return the table (N, 2) that stands for N samples."""
    return np.repeat(np.arange(n_rows)[:, np.newaxis], 2, axis=1)


class _OnRows:
    """An estimator of features that is handed row numbers; imbalanced-learn's copies of it are the same object."""

    def __init__(self, x_NF: np.ndarray) -> None:
        self.x_NF = x_NF

    def features(self, table_n2: np.ndarray) -> np.ndarray:
        """Return the features of a table's rows; of all rows without a copy."""
        return self.x_NF if len(table_n2) == len(self.x_NF) else self.x_NF[table_n2[:, 0]]

    def __sklearn_clone__(self) -> _OnRows:
        return self


class Neighbours(_OnRows):
    """Nearest neighbours, as scikit-learn finds them (or approximate ones), the sample itself first."""

    def __init__(self, x_NF: np.ndarray, n_neighbors: int, method: str = EXACT) -> None:
        super().__init__(x_NF)
        self.n_neighbors, self.method = n_neighbors, method
        self._among_all: list[NearestNeighbors] = []

    def asking_for(self, n_neighbors: int) -> Neighbours:
        """Return the same for another number of neighbours; what is fitted to all rows serves both."""
        other = copy.copy(self)
        other.n_neighbors = n_neighbors
        return other

    def fit(self, table_n2: np.ndarray) -> Neighbours:
        """Look among these rows from now on."""
        whole = len(table_n2) == len(self.x_NF)  # every class asks anew to look among all rows
        if not whole or not self._among_all:
            self._search = search(self.method, self.n_neighbors).fit(self.features(table_n2))
        if whole:
            self._among_all[:] = self._among_all or [self._search]
            self._search = self._among_all[0]
        return self

    def kneighbors(self, table_n2: np.ndarray, return_distance: bool = False) -> np.ndarray:
        """Return the places of the nearest among the rows fitted."""
        return self._search.kneighbors(self.features(table_n2), self.n_neighbors, return_distance)

    def kneighbors_graph(self) -> None:
        """Only tells imbalanced-learn that neighbours can be asked for."""
        raise NotImplementedError


class SupportVectors(_OnRows):
    """A support vector classifier that is fitted once, not for every class over again."""

    def __init__(self, x_NF: np.ndarray, seed: int) -> None:
        super().__init__(x_NF)
        self._svc: SVC | None = SVC(gamma="scale", random_state=seed)

    def fit(self, table_N2: np.ndarray, y_N: np.ndarray) -> SupportVectors:
        """Find the rows that are support vectors, ``support_``."""
        if self._svc is not None:
            self.support_ = self._svc.fit(self.x_NF, y_N).support_
            self._svc = None
        return self


class Clusters(_OnRows):
    """Mini-batch k-means of all samples, fitted once."""

    def __init__(self, x_NF: np.ndarray, n_clusters: int, seed: int) -> None:
        super().__init__(x_NF)
        self.n_clusters = n_clusters
        self._kmeans = MiniBatchKMeans(n_clusters=n_clusters, random_state=seed)
        self._found: np.ndarray | None = None

    def fit_predict(self, table_N2: np.ndarray) -> np.ndarray:
        """Return the cluster of every row."""
        if self._found is None:
            self._found = self._kmeans.fit_predict(self.x_NF)
        return self._found


class _Recording:
    """Replaces the one method of imbalanced-learn's SMOTE family that makes samples."""

    steps: list[np.ndarray]

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
        """Return (base row, partner row) of each new sample and keep its step."""
        self.steps.append(steps[:, 0])
        return np.stack([X[rows, 0], nn_data[nn_num[rows, cols], 1]], axis=1)


class RecordingBorderline(_Recording, BorderlineSMOTE):
    """H. Han, W.-Y. Wang, B.-H. Mao, Borderline-SMOTE, ICIC 2005: bases are samples "in danger" only."""


class RecordingSvm(_Recording, SVMSMOTE):
    """H. M. Nguyen, E. W. Cooper, K. Kamei, IJKESDP 3 (2011) 4-21: bases are support vectors.

    ``random_state`` is a stream that all classes share; the picks of a class restart from ``seed``, as they do in
    imbalanced-learn when it is given an integer.
    """

    seed: int
    random_state: Any

    def _make_samples(self, *args: Any, **kwargs: Any) -> Any:
        stream, self.random_state = self.random_state, self.seed
        try:
            return super()._make_samples(*args, **kwargs)
        finally:
            self.random_state = stream


class RecordingKMeans(_Recording, KMeansSMOTE):
    """F. Last, G. Douzas, F. Bacao, arXiv:1711.00837: SMOTE in clusters where the class is common."""

    def _find_cluster_sparsity(self, X: np.ndarray) -> float:
        return super()._find_cluster_sparsity(self.kmeans_estimator.features(X))


class RecordingAdasyn(ADASYN):
    """H. He, Y. Bai, E. A. Garcia, S. Li, ADASYN, IJCNN 2008: more new samples where other classes are near.

    It mixes in the midst of its work. ``random_state`` is a `Steps`, whose steps make of a row and its partner both.
    """

    @property
    def steps(self) -> list[np.ndarray]:
        """The steps drawn so far."""
        return self.random_state.steps

    @steps.setter
    def steps(self, none_yet: list[np.ndarray]) -> None:
        self.random_state.steps = none_yet


class Steps(np.random.RandomState):
    """Keeps the steps that it draws, and gives out 0 for the first column of a row table and 1 for the second."""

    steps: list[np.ndarray]

    def uniform(self, *, size: tuple[int, int]) -> np.ndarray:  # type: ignore[override]
        """Draw steps (n, 1) and return what turns (row, row) and (partner, partner) into (row, partner)."""
        self.steps.append(super().uniform(size=size)[:, 0])
        return np.array([[0.0, 1.0]])
