"""Samplers that add points to small classes, beside plain SMOTE: imbalanced-learn's own, as plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from sgexp.sampling.features import FeatureRows, all_features, announce_search
from sgexp.sampling.neighbours import EXACT
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.rare import listed, neighbour_notes
from sgexp.sampling.recording import (
    Clusters,
    Neighbours,
    RecordingAdasyn,
    RecordingBorderline,
    RecordingKMeans,
    RecordingSvm,
    Steps,
    SupportVectors,
    row_table,
)
from sgexp.sampling.smote import fresh_plan
from sgexp.sampling.targets import class_counts, counts_to_add

# How imbalanced-learn says that a method has nothing to go by in a class.
_CANNOT_SERVE = (
    "Not any neigbours belong",
    "No samples will be generated",
    "All support vectors are considered as noise",
    "No clusters found",
    "cannot convert float NaN",  # all samples of the class in its clusters are copies
)


POOLED = 4


class Method(Protocol):
    """Makes the recording sampler of one training set; ``set_class`` fits it to a class."""

    def __call__(self, x_NF: np.ndarray, seed: int) -> tuple[Any, Callable[[int, float], None]]:
        """Return the sampler, and what to call with a class's k and its share of all samples to add."""
        ...


class OverSampler:
    """Every sample once, then points between samples of the small classes, chosen by ``method``.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_add``. A class with n <= ``k_neighbors`` samples uses
    n - 1; one that the method cannot serve is repeated evenly. ``weight_range``: what the steps may be. ``searches``:
    how often all samples are compared with all others (0: never). ``fresh``: every epoch draws anew, among pairs that
    the method has drawn (``POOLED`` for each sample and neighbour), and takes new steps.
    """

    needs_features = True

    def __init__(
        self,
        name: str,
        method: Method,
        balance: str,
        cap: int,
        table: Mapping[int, int],
        k_neighbors: int,
        *,
        searches: float,
        weight_range: tuple[float, float] = (0.0, 1.0),
        fresh: bool = False,
    ) -> None:
        self.name, self.method, self.k_neighbors, self.fresh = name, method, k_neighbors, fresh
        self.balance, self.cap, self.table = balance, cap, dict(table)
        self.searches, self.weight_range = searches, weight_range

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan class by class; mixed, the draws are imbalanced-learn's samples of the same seed, bit for bit."""
        labels_N = np.asarray(labels_N)
        counts = class_counts(labels_N)
        added, notes = counts_to_add(counts, self.balance, self.cap, self.table)
        added = {group: n for group, n in added.items() if n}
        table = row_table(len(labels_N))
        parts = [(table[:, 0], table[:, 1], np.zeros(len(table)))]
        unserved, idle, used_k = [], [], {}
        if added:
            x_NF = all_features(features_NF, len(labels_N))
            if self.searches:
                announce_search(x_NF, self.name, self.searches)
            sampler, set_class = self.method(x_NF, seed)
        for group, n in added.items():
            rows = np.flatnonzero(labels_N == group)
            used_k[group] = k = min(self.k_neighbors, len(rows) - 1)
            if k:
                set_class(k, n / sum(added.values()))
                drawn = _drawn(sampler, table, labels_N, group, max(n, POOLED * k * len(rows)) if self.fresh else n)
                if drawn is not None:
                    parts.append(drawn)
                    idle += [group] if not len(drawn[0]) else []
                    continue
                unserved.append(group)
            repeated = np.resize(rows, n)
            parts.append((repeated, repeated, np.zeros(n)))
        notes += neighbour_notes(used_k, self.k_neighbors, "a single sample")
        if unserved:
            notes += (f"{self.name} has nothing to go by in groups {listed(unserved)}: they are repeated.",)
        if idle:
            notes += (f"{self.name} finds no sample to begin from in groups {listed(idle)}: they stay as they are.",)
        base, partner, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not self.fresh:
            return ResamplingPlan(base, partner, weight, notes=notes)
        new = slice(len(labels_N), None)
        longest = np.where(weight < 0, self.weight_range[0], (weight > 0).astype(float))
        return fresh_plan(labels_N, base[new], partner[new], longest[new], added, notes)


def _drawn(
    sampler: Any, table: np.ndarray, labels_N: np.ndarray, group: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return base rows, partner rows and steps of one class's new samples; None where the method gives up."""
    sampler.sampling_strategy_, sampler.steps = {group: n}, []
    try:
        with np.errstate(invalid="ignore"):
            drawn, _ = sampler._fit_resample(table, labels_N)
    except (ValueError, RuntimeError) as error:
        if not str(error).startswith(_CANNOT_SERVE):
            raise
        return None
    new = drawn[len(table) :]
    return new[:, 0], new[:, 1], np.concatenate([*sampler.steps, np.empty(0)])


def borderline_smote(
    balance: str,
    cap: int,
    table: Mapping[int, int],
    k_neighbors: int,
    m_neighbors: int,
    neighbours: str = EXACT,
    fresh: bool = False,
) -> OverSampler:
    """SMOTE from samples of which at least half, but not all, of the ``m_neighbors`` nearest are of other classes.

    Only "borderline-1": the second kind mixes samples of two classes, which have no label.
    """

    def method(x_NF: np.ndarray, seed: int) -> tuple[RecordingBorderline, Callable[[int, float], None]]:
        m = Neighbours(x_NF, min(m_neighbors + 1, len(x_NF)), neighbours)
        sampler = RecordingBorderline(random_state=seed, m_neighbors=m)

        def set_class(k: int, share: float) -> None:
            sampler.k_neighbors = Neighbours(x_NF, k + 1, neighbours)

        return sampler, set_class

    searches = int(neighbours == EXACT)
    return OverSampler("borderline_smote", method, balance, cap, table, k_neighbors, searches=searches, fresh=fresh)


def svm_smote(
    balance: str,
    cap: int,
    table: Mapping[int, int],
    k_neighbors: int,
    m_neighbors: int,
    out_step: float,
    neighbours: str = EXACT,
    fresh: bool = False,
) -> OverSampler:
    """SMOTE from support vectors: between them and neighbours, or outwards by up to ``out_step`` where it is safe."""

    def method(x_NF: np.ndarray, seed: int) -> tuple[RecordingSvm, Callable[[int, float], None]]:
        m = Neighbours(x_NF, min(m_neighbors + 1, len(x_NF)), neighbours)
        sampler = RecordingSvm(
            random_state=np.random.RandomState(seed),
            m_neighbors=m,
            svm_estimator=SupportVectors(x_NF, seed),
            out_step=out_step,
        )
        sampler.seed = seed

        def set_class(k: int, share: float) -> None:
            sampler.k_neighbors = Neighbours(x_NF, k + 1, neighbours)

        return sampler, set_class

    # A guess: the support vector machine takes about as long as three more searches.
    return OverSampler(
        "svm_smote",
        method,
        balance,
        cap,
        table,
        k_neighbors,
        searches=3 + int(neighbours == EXACT),
        weight_range=(-out_step, 1.0),
        fresh=fresh,
    )


def kmeans_smote(
    balance: str, cap: int, table: Mapping[int, int], k_neighbors: int, clusters: int, fresh: bool = False
) -> OverSampler:
    """SMOTE inside those of ``clusters`` clusters of all samples in which the class is common."""

    def method(x_NF: np.ndarray, seed: int) -> tuple[RecordingKMeans, Callable[[int, float], None]]:
        sampler = RecordingKMeans(
            random_state=seed, kmeans_estimator=Clusters(x_NF, min(clusters, len(x_NF)), seed), density_exponent="auto"
        )

        def set_class(k: int, share: float) -> None:
            sampler.k_neighbors = Neighbours(x_NF, k + 1)
            sampler.cluster_balance_threshold = share / 2

        return sampler, set_class

    return OverSampler("kmeans_smote", method, balance, cap, table, k_neighbors, searches=0, fresh=fresh)


def adasyn(
    balance: str,
    cap: int,
    table: Mapping[int, int],
    k_neighbors: int,
    neighbours: str = EXACT,
    fresh: bool = False,
) -> OverSampler:
    """SMOTE with more points for samples whose nearest neighbours are of other classes."""

    def method(x_NF: np.ndarray, seed: int) -> tuple[RecordingAdasyn, Callable[[int, float], None]]:
        sampler = RecordingAdasyn(random_state=Steps(seed))
        among = Neighbours(x_NF, k_neighbors + 1, neighbours)

        def set_class(k: int, share: float) -> None:
            sampler.n_neighbors = among.asking_for(k + 1)

        return sampler, set_class

    searches = int(neighbours == EXACT)
    return OverSampler("adasyn", method, balance, cap, table, k_neighbors, searches=searches, fresh=fresh)
