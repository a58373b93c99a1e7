"""SMOTE, then cleaning of old and new samples alike: imbalanced-learn's combinations, as plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from imblearn.under_sampling import EditedNearestNeighbours, TomekLinks

from sgexp.sampling.cleaning import chosen, kept_rows, spared
from sgexp.sampling.features import FeatureRows, all_features, announce_search
from sgexp.sampling.neighbours import ApproximateEdited, ApproximateTomekLinks
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.smote import Smote


class SmoteThenClean:
    """SMOTE's draws but those that imbalanced-learn's cleaner removes, from any class.

    G. E. A. P. A. Batista, R. C. Prati, M. C. Monard, SIGKDD Explor. 6 (2004) 20-29. ``rare`` as in
    ``cleaning.Cleaner``. With exact neighbours the cleaner compares every draw with every other: choose a ``balance``
    with few draws.
    """

    needs_features = True

    def __init__(
        self, name: str, smote: Smote, make: Callable[[np.ndarray], Any], rare: str, *, searches: float
    ) -> None:
        self.name, self.smote, self.make, self.rare, self.searches = name, smote, make, rare, searches

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan SMOTE, mix the features of its draws (only those), and keep the draws of ``sample_indices_``."""
        x_NF = all_features(features_NF, len(labels_N))
        plan = self.smote.plan(labels_N, groups_N, x_NF, seed)
        labels_D = labels_N[plan.base]
        if len(np.unique(labels_D)) == 1:
            return plan
        x_DF = plan.mix(x_NF)
        if self.searches:
            announce_search(x_DF, self.name, self.searches)
        draws = kept_rows(self.make, x_DF, labels_D)
        more, notes = spared(draws, labels_D, self.name, self.rare)
        return plan.take(np.concatenate([draws, more]), notes)


def smote_enn(
    balance: str,
    cap: int,
    table: Mapping[int, int],
    k_neighbors: int,
    n_neighbors: int,
    agree: str,
    neighbours: str,
    rare: str,
) -> SmoteThenClean:
    """SMOTE, then draws whose neighbours are of other classes are left out."""
    edited, searches = chosen(neighbours, EditedNearestNeighbours, ApproximateEdited)

    def make(y: np.ndarray) -> EditedNearestNeighbours:
        return edited(sampling_strategy="all", n_neighbors=min(n_neighbors, len(y) - 1), kind_sel=agree)

    smote = Smote(balance, cap, table, k_neighbors, "any", neighbours)
    return SmoteThenClean("smote_enn", smote, make, rare, searches=searches)


def smote_tomek(
    balance: str, cap: int, table: Mapping[int, int], k_neighbors: int, neighbours: str, rare: str
) -> SmoteThenClean:
    """SMOTE, then both of two draws of different classes that are each other's nearest are left out."""
    links, searches = chosen(neighbours, TomekLinks, ApproximateTomekLinks)
    smote = Smote(balance, cap, table, k_neighbors, "any", neighbours)
    return SmoteThenClean("smote_tomek", smote, lambda y: links(sampling_strategy="all"), rare, searches=searches)
