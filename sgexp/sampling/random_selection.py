"""Random over- and under-sampling: whole samples drawn again or left out, with imbalanced-learn's own draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.targets import class_counts, counts_to_add, counts_to_keep


class RandomOver:
    """Every sample once, then samples of the small classes again, drawn with replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_add``.
    """

    needs_features = False

    def __init__(self, balance: str, cap: int, table: Mapping[int, int]) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from the labels alone; equals ``RandomOverSampler(random_state=seed).sample_indices_``."""
        added, notes = counts_to_add(class_counts(labels_N), self.balance, self.cap, self.table)
        sampler = RandomOverSampler(random_state=seed)
        return ResamplingPlan.selection(_drawn_rows(sampler, labels_N, added), notes)


class RandomUnder:
    """Some samples of the large classes only, drawn without replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_keep``.
    """

    needs_features = False

    def __init__(self, balance: str, cap: int, table: Mapping[int, int]) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from the labels alone; equals ``RandomUnderSampler(random_state=seed).sample_indices_``."""
        kept, notes = counts_to_keep(class_counts(labels_N), self.balance, self.cap, self.table)
        sampler = RandomUnderSampler(random_state=seed)
        return ResamplingPlan.selection(_drawn_rows(sampler, labels_N, kept), notes)


def _drawn_rows(
    sampler: RandomOverSampler | RandomUnderSampler, labels_N: np.ndarray, changes: dict[int, int]
) -> np.ndarray:
    """Return the rows that imbalanced-learn's ``sampler`` draws for ``changes`` (label -> count as it counts them).

    ``_fit_resample`` is what ``fit_resample`` calls after its checks, which refuse a training set of one class.
    """
    sampler.sampling_strategy_ = changes
    sampler.shrinkage_ = None
    sampler._fit_resample(np.arange(len(labels_N))[:, np.newaxis], np.asarray(labels_N))
    return np.asarray(sampler.sample_indices_, dtype=np.int64)
