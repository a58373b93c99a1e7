"""Samplers that leave out samples which neighbours contradict, or which add nothing: imbalanced-learn's, as plans."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from imblearn.under_sampling import (
    AllKNN,
    CondensedNearestNeighbour,
    EditedNearestNeighbours,
    NeighbourhoodCleaningRule,
    OneSidedSelection,
    RepeatedEditedNearestNeighbours,
    TomekLinks,
)

from sgexp.errors import ConfigError
from sgexp.sampling.features import FeatureRows, all_features, announce_search
from sgexp.sampling.neighbours import (
    APPROXIMATE,
    ApproximateAllKnn,
    ApproximateCleaningRule,
    ApproximateEdited,
    ApproximateOneSided,
    ApproximateRepeatedEdited,
    ApproximateTomekLinks,
)
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.rare import listed


class Cleaner:
    """Every sample once but those that imbalanced-learn's sampler removes (never from the smallest class).

    ``make``: (class number of every sample, seed) -> the sampler. ``rare``: a class that it would empty is refused by
    name ("refuse") or kept whole ("keep"). ``searches``: how often all samples are compared with all others.
    """

    needs_features = True

    def __init__(self, name: str, make: Callable[[np.ndarray, int], Any], rare: str, *, searches: float) -> None:
        self.name, self.make, self.rare, self.searches = name, make, rare, searches

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Return the rows of ``sample_indices_``, in that order; after them the classes that were kept whole."""
        if len(np.unique(labels_N)) == 1:  # nobody contradicts a class that is alone
            return ResamplingPlan.selection(np.arange(len(labels_N)))
        x_NF = all_features(features_NF, len(labels_N))
        if self.searches:
            announce_search(x_NF, self.name, self.searches)
        rows = kept_rows(lambda y_N: self.make(y_N, seed), x_NF, labels_N)
        more, notes = spared(rows, labels_N, self.name, self.rare)
        return ResamplingPlan.selection(np.concatenate([rows, more]), notes)


def kept_rows(make: Callable[[np.ndarray], Any], x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Return the rows that the sampler keeps which ``make`` returns for class numbers.

    Numbers without gaps, because one of imbalanced-learn's samplers needs them. Its warnings on classes with few
    samples are left to our own notes.
    """
    y_N = np.unique(labels_N, return_inverse=True)[1]
    sampler = make(y_N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler.fit_resample(x_NF, y_N)
    return np.asarray(sampler.sample_indices_, dtype=np.int64)


def spared(rows: np.ndarray, labels_N: np.ndarray, name: str, rare: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the rows of the classes of which ``rows`` holds no sample, and a note; or refuse, naming the classes."""
    emptied = np.setdiff1d(labels_N, labels_N[rows]).tolist()
    if not emptied:
        return np.empty(0, np.int64), ()
    classes = f"{len(emptied)} of {len(np.unique(labels_N))} classes (groups {listed(emptied)})"
    if rare == "refuse":
        raise ConfigError(f"sampler={name} would empty {classes}: add sampler.rare=keep to keep such classes whole.")
    return np.flatnonzero(np.isin(labels_N, emptied)), (f"{name} would empty {classes}: they are kept whole.",)


def tomek_links(neighbours: str, rare: str) -> Cleaner:
    """Leave out both of two samples of different classes that are each other's nearest (I. Tomek, 1976)."""
    links, searches = chosen(neighbours, TomekLinks, ApproximateTomekLinks)
    return Cleaner("tomek_links", lambda y, seed: links(), rare, searches=searches)


def chosen(neighbours: str, exact: type, approximate: type, searches: float = 1) -> tuple[Callable[..., Any], float]:
    """Return the cleaner by the kind of its ``neighbours``, and how often it compares all samples with all others."""
    return (approximate, 0) if neighbours == APPROXIMATE else (exact, searches)


def enn(n_neighbors: int, agree: str, neighbours: str, rare: str) -> Cleaner:
    """Leave out samples whose neighbours are of other classes (D. L. Wilson, IEEE Trans. SMC 2 (1972) 408-421)."""
    edited, searches = chosen(neighbours, EditedNearestNeighbours, ApproximateEdited)
    return Cleaner(
        "enn",
        lambda y, seed: edited(n_neighbors=min(n_neighbors, len(y) - 1), kind_sel=agree),
        rare,
        searches=searches,
    )


def renn(n_neighbors: int, agree: str, passes: int, neighbours: str, rare: str) -> Cleaner:
    """Edit until nothing changes, or a class vanishes or becomes the smallest (I. Tomek, IEEE Trans. SMC 6 (1976))."""
    repeated, searches = chosen(neighbours, RepeatedEditedNearestNeighbours, ApproximateRepeatedEdited, 2)
    return Cleaner(
        "renn",
        lambda y, seed: repeated(n_neighbors=min(n_neighbors, len(y) - 1), kind_sel=agree, max_iter=passes),
        rare,
        searches=searches,
    )


def all_knn(n_neighbors: int, agree: str, neighbours: str, rare: str) -> Cleaner:
    """Edit with 1, 2, ... ``n_neighbors`` neighbours in turn, until a class would vanish (I. Tomek, 1976)."""
    edited, searches = chosen(neighbours, AllKNN, ApproximateAllKnn, n_neighbors)
    return Cleaner(
        "all_knn",
        lambda y, seed: edited(n_neighbors=min(n_neighbors, len(y) - 1), kind_sel=agree),
        rare,
        searches=searches,
    )


def neighbourhood_cleaning(n_neighbors: int, threshold: float, neighbours: str, rare: str) -> Cleaner:
    """Leave out what most neighbours contradict, and what misleads the smallest class (J. Laurikkala, AIME 2001).

    ``threshold``: classes larger than so many times the smallest are cleaned around the latter.
    """
    rule, searches = chosen(neighbours, NeighbourhoodCleaningRule, ApproximateCleaningRule)
    return Cleaner(
        "neighbourhood_cleaning",
        lambda y, seed: rule(n_neighbors=min(n_neighbors, len(y) - 1), threshold_cleaning=threshold),
        rare,
        searches=searches,
    )


def one_sided_selection(neighbours: str, rare: str) -> Cleaner:
    """Keep one sample a class and what that and the smallest class misjudge, less Tomek links (Kubat & Matwin 1997)."""
    selection, searches = chosen(neighbours, OneSidedSelection, ApproximateOneSided)

    def make(y: np.ndarray, seed: int) -> OneSidedSelection:
        counts = np.bincount(y)
        counts[counts.argmin()] = 0  # the smallest class is left alone, and so is a class of one sample
        return selection(random_state=seed, sampling_strategy=np.flatnonzero(counts > 1).tolist())

    return Cleaner("one_sided_selection", make, rare, searches=searches)


def condensed_nn(rare: str) -> Cleaner:
    """Keep the samples that the nearest of those kept misjudges (P. E. Hart, IEEE Trans. Inf. Theory 14 (1968) 515)."""
    return Cleaner("condensed_nn", lambda y, seed: CondensedNearestNeighbour(random_state=seed), rare, searches=1)
