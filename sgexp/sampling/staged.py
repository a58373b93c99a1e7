"""Staged balancing: large classes are lowered, then small ones raised by SMOTE, all to one count, in one plan.

Under-sampling and SMOTE together is what N. V. Chawla et al. (JAIR 16 (2002) 321-357, sect. 4) found best. With
``balance`` "mean" and ``lower`` "clusters" it is SCUT: A. Agrawal, H. L. Viktor, E. Paquet, SCUT: multi-class
imbalanced data classification using SMOTE and cluster-based undersampling, KDIR 2015, 226-234 (there clusters are found
by expectation maximisation and several samples are taken from each; here k-means finds as many clusters as draws, and
the sample nearest to each centre is taken). ``lower`` "families" balances twice, within a group by families and then
between groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sgexp.sampling.features import FeatureRows, all_features
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.random_selection import RandomUnder
from sgexp.sampling.recipe import STEPS, Shares
from sgexp.sampling.reducing import cluster_centroids
from sgexp.sampling.smote import Smote
from sgexp.sampling.targets import class_counts, common_count


class Staged:
    """Every class to one count: stage one lowers classes with more samples, stage two raises those with fewer.

    ``balance``: the count, "mean" or "median" of all classes' counts, "cap" (``cap``) or "table" (``table``: class ->
    count; others stay). ``lower``: which samples of a large class stay: "random"; "clusters", those nearest to the
    centres of clusters; "families", as equally many of each family as there are. ``k_neighbors`` of SMOTE, whose
    partners are any that stayed. ``fresh``: every epoch draws other points and, but for "clusters", other samples of
    the large classes.
    """

    needs_features = True
    by_family = True

    def __init__(
        self, balance: str, cap: int, table: Mapping[int, int], lower: str, k_neighbors: int, fresh: bool = False
    ) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)
        self.lower, self.k_neighbors, self.fresh = lower, k_neighbors, fresh

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan both stages; ``groups_N`` are families. The rows that stay come first, then the points between them."""
        labels_N, groups_N = np.asarray(labels_N), np.asarray(groups_N)
        counts = class_counts(labels_N)
        wanted, notes = common_count(counts, self.balance, self.cap, self.table)
        x_NF = all_features(features_NF, len(labels_N))
        less = {group: n for group, n in wanted.items() if n < counts[group]}
        kept = self._kept(labels_N, groups_N, x_NF, less, seed) if less else np.arange(len(labels_N))
        now = class_counts(labels_N[kept])
        more = {group: n for group, n in wanted.items() if n > now[group]}
        plan = ResamplingPlan.selection(kept)
        if more:
            smote = Smote("table", 1, more, self.k_neighbors, "any", fresh=self.fresh)
            plan = smote.plan(labels_N[kept], kept, x_NF[kept], seed).at_rows(kept)
        if self.fresh:
            plan = self._with_others(plan, labels_N, groups_N, kept, less)
        return replace(plan, notes=notes + plan.notes)

    def _kept(
        self, labels_N: np.ndarray, families_N: np.ndarray, x_NF: np.ndarray, less: Mapping[int, int], seed: int
    ) -> np.ndarray:
        """Return the rows that stay where the classes of ``less`` are to have so many."""
        if self.lower == "clusters":
            return cluster_centroids("table", 1, less).plan(labels_N, families_N, x_NF, seed).base
        if self.lower == "random":
            return RandomUnder("table", 1, less).plan(labels_N, families_N, None, seed).base
        stay = ~np.isin(labels_N, list(less))
        rng = np.random.default_rng(seed)
        for group, n in less.items():
            rows = rng.permutation(np.flatnonzero(labels_N == group))
            stay[rows[share_evenly(families_N[rows], n)]] = True
        return np.flatnonzero(stay)

    def _with_others(
        self,
        plan: ResamplingPlan,
        labels_N: np.ndarray,
        families_N: np.ndarray,
        kept: np.ndarray,
        less: Mapping[int, int],
    ) -> ResamplingPlan:
        """Return the recipe that draws the points of ``plan`` anew, and beside them other samples of large classes."""
        rows, points = np.arange(len(labels_N)), slice(len(kept), None)
        _, stratum_N = np.unique(labels_N, return_inverse=True)
        if self.lower == "families":
            _, family = np.unique(families_N, return_inverse=True)
            stratum_N = stratum_N * (family.max() + 1) + family
        if self.lower == "clusters":
            share_N = np.isin(rows, kept).astype(float)
        else:
            share_N = np.ones(len(rows))
            for group, n in less.items():
                mine = np.flatnonzero(labels_N == group)
                share_N[mine] = even_shares(stratum_N[mine], n)
        share_P = plan.expected[points] if plan.expected is not None else np.empty(0)
        share = np.concatenate([share_N, share_P])
        strata = np.concatenate([-1 - stratum_N, labels_N[plan.base[points]]])
        base, partner = (np.concatenate([rows, column[points]]) for column in (plan.base, plan.partner))
        longest = np.concatenate([np.zeros(len(rows)), plan.weight[points]])
        drawn = np.flatnonzero(share)
        recipe = Shares(share[drawn], share[drawn], np.zeros(1), strata[drawn], steps=STEPS)
        return ResamplingPlan(base[drawn], partner[drawn], longest[drawn], "recipe", plan.notes, recipe=recipe)


def even_shares(families_n: np.ndarray, n: int) -> np.ndarray:
    """Return how often each sample is drawn in the mean where ``n`` are, no sample twice and families equally often.

    A family of s samples gives min(s, L) of them, with the level L at which these add up to ``n``.
    """
    _, family, sizes = np.unique(families_n, return_inverse=True, return_counts=True)
    smaller = np.sort(sizes)
    before = np.concatenate([[0], np.cumsum(smaller)[:-1]])
    others = len(sizes) - np.arange(len(sizes))
    place = np.searchsorted(before + smaller * others, n)
    level = (n - before[place]) / others[place]
    return (np.minimum(sizes, level) / sizes)[family]


def share_evenly(families_n: np.ndarray, n: int) -> np.ndarray:
    """Return the places of ``n`` samples, as equally many of each family as there are, the first ones of each."""
    _, family = np.unique(families_n, return_inverse=True)
    together = np.argsort(family, kind="stable")
    firsts = np.flatnonzero(np.diff(family[together], prepend=-1))
    turn = np.empty(len(family), np.int64)  # the how-manieth of its family each is
    turn[together] = np.arange(len(family)) - np.repeat(firsts, np.diff(firsts, append=len(family)))
    return np.argsort(turn, kind="stable")[:n]
