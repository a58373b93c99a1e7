"""Samplers that lower large classes to a target by choosing which samples stand for them: imbalanced-learn's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from imblearn.under_sampling import ClusterCentroids, InstanceHardnessThreshold, NearMiss
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

from sgexp.sampling.cleaning import kept_rows
from sgexp.sampling.features import FeatureRows, all_features
from sgexp.sampling.forest import OneTreeAtATime
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.targets import class_counts, counts_to_keep

Make = Callable[[np.ndarray, dict[int, int], int], Any]
"""(samples of each class number, class number -> samples to keep where fewer, seed) -> imbalanced-learn's sampler."""


class Reducer:
    """Some samples of the large classes only, chosen by imbalanced-learn's sampler; no class is emptied.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_keep``.
    """

    needs_features = True

    def __init__(self, name: str, make: Make, balance: str, cap: int, table: Mapping[int, int]) -> None:
        self.name, self.make = name, make
        self.balance, self.cap, self.table = balance, cap, dict(table)

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Return the rows of ``sample_indices_``, in that order."""
        counts = class_counts(labels_N)
        keep, notes = counts_to_keep(counts, self.balance, self.cap, self.table)
        if not keep or len(counts) == 1:
            return ResamplingPlan.selection(np.arange(len(labels_N)), notes)
        number = {group: place for place, group in enumerate(counts)}
        numbered = {number[group]: n for group, n in keep.items()}
        x_NF = all_features(features_NF, len(labels_N))
        rows = kept_rows(lambda y_N: self.make(np.bincount(y_N), numbered, seed), x_NF, labels_N)
        drawn = Counter(labels_N[rows].tolist())
        fewer, more = (sum(sign * (drawn[group] - n) > 0 for group, n in keep.items()) for sign in (-1, 1))
        if fewer:
            notes += (f"{self.name} finds fewer samples than asked for in {_classes(fewer)}.",)
        if more:
            notes += (f"{self.name} cannot tell samples apart and keeps more than asked for in {_classes(more)}.",)
        return ResamplingPlan.selection(rows, notes)


def _classes(n: int) -> str:
    return "1 class" if n == 1 else f"{n} classes"


def near_miss(version: int, n_neighbors: int, balance: str, cap: int, table: Mapping[int, int]) -> Reducer:
    """Keep the samples nearest to the smallest class (J. Zhang, I. Mani, ICML 2003 workshop on imbalanced data).

    Version 1: by the mean distance to its ``n_neighbors`` nearest samples; 2: to its farthest; 3: among the
    ``n_neighbors`` nearest to each of its samples, those farthest by version 1's distance.
    """

    def make(counts: np.ndarray, keep: dict[int, int], seed: int) -> NearMiss:
        return NearMiss(
            sampling_strategy=keep,
            version=version,
            n_neighbors=min(n_neighbors, int(counts.min())),
            n_neighbors_ver3=min(n_neighbors, int(counts[list(keep)].min())),
        )

    return Reducer("near_miss", make, balance, cap, table)


class NearestToCentroids(ClusterCentroids):
    """imbalanced-learn's cluster centroids with "hard" voting, which also tells which samples it took."""

    def _fit_resample(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._rows = {number: np.flatnonzero(y == number) for number in np.unique(y)}
        resampled = super()._fit_resample(X, y)
        self.sample_indices_ = np.concatenate(list(self._rows.values()))
        return resampled

    def _generate_sample(
        self, X: np.ndarray, y: np.ndarray, centroids: np.ndarray, target_class: int
    ) -> tuple[np.ndarray, np.ndarray]:
        nearest = NearestNeighbors(n_neighbors=1).fit(X).kneighbors(centroids, return_distance=False)[:, 0]
        self._rows[target_class] = self._rows[target_class][nearest]
        return X[nearest], y[nearest]


def cluster_centroids(balance: str, cap: int, table: Mapping[int, int]) -> Reducer:
    """Cluster a class (k-means) into as many clusters as draws, and keep the sample nearest to each centre.

    Real samples only ("hard" voting): a centre is the mean of many crystals' patterns.
    """

    def make(counts: np.ndarray, keep: dict[int, int], seed: int) -> NearestToCentroids:
        return NearestToCentroids(sampling_strategy=keep, random_state=seed, voting="hard")

    return Reducer("cluster_centroids", make, balance, cap, table)


class Discriminant(LinearDiscriminantAnalysis):
    """scikit-learn's linear discriminant analysis for ranking: logarithms stand for its probabilities.

    They rank samples as probabilities do, tell those near 1 apart in single precision too, and take half the memory.
    """

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the logarithm of the probability of each class, (n, K) float32."""
        return self.predict_log_proba(X).astype(np.float32)

    def predict_log_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the same in double precision, (n, K): never infinite, the smallest probability is 2e-308."""
        return np.log(np.maximum(super().predict_proba(X), np.finfo(np.float64).tiny))


def instance_hardness(
    estimator: str, trees: int, leaf: int, folds: int, balance: str, cap: int, table: Mapping[int, int]
) -> Reducer:
    """Keep the samples that a classifier, trained on the others, gives to their class with the highest probability.

    M. R. Smith, T. Martinez, C. Giraud-Carrier, Mach. Learn. 95 (2014) 225-256. ``estimator``: "forest", a random
    forest, which takes hours for 100,000 samples, or "discriminant", linear discriminant analysis, which takes seconds.
    ``trees`` and ``leaf`` are the forest's.
    """

    def make(counts: np.ndarray, keep: dict[int, int], seed: int) -> InstanceHardnessThreshold:
        return InstanceHardnessThreshold(
            sampling_strategy=keep,
            estimator=Discriminant(solver="lsqr")
            if estimator == "discriminant"
            else OneTreeAtATime(n_estimators=trees, min_samples_leaf=leaf),
            cv=max(2, min(folds, int(counts.max()))),
            random_state=seed,
        )

    return Reducer("instance_hardness", make, balance, cap, table)
