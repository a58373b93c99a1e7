"""Random over- and under-sampling: whole samples drawn again or left out, with imbalanced-learn's own draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.targets import class_counts, counts_to_add, counts_to_keep

Changes = Callable[[Mapping[int, int], str, int, Mapping[int, int]], tuple[dict[int, int], tuple[str, ...]]]
"""(counts, balance, cap, table) -> label -> how many to add or to keep, and notes."""


class _RandomSelection:
    """What both share: ``balance``, ``cap`` and ``table`` say how many draws a class gets, labels say all else."""

    needs_features = False
    changes: ClassVar[Changes]
    sampler: ClassVar[type[RandomOverSampler] | type[RandomUnderSampler]]

    def __init__(self, balance: str, cap: int, table: Mapping[int, int]) -> None:
        self.balance, self.cap, self.table = balance, cap, dict(table)

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from the labels alone; equals ``sample_indices_`` of imbalanced-learn's sampler with this seed.

        ``_fit_resample`` is what its ``fit_resample`` calls after checks, which refuse a training set of one class.
        """
        changes, notes = type(self).changes(class_counts(labels_N), self.balance, self.cap, self.table)
        sampler = self.sampler(random_state=seed)
        sampler.sampling_strategy_ = changes
        sampler.shrinkage_ = None
        sampler._fit_resample(np.arange(len(labels_N))[:, np.newaxis], np.asarray(labels_N))
        return ResamplingPlan.selection(np.asarray(sampler.sample_indices_, dtype=np.int64), notes)


class RandomOver(_RandomSelection):
    """Every sample once, then samples of the small classes again, drawn with replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_add``.
    """

    changes = counts_to_add
    sampler = RandomOverSampler


class RandomUnder(_RandomSelection):
    """Some samples of the large classes only, drawn without replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_keep``.
    """

    changes = counts_to_keep
    sampler = RandomUnderSampler
