"""Random over- and under-sampling: whole samples drawn again or left out, with imbalanced-learn's own draws.

Or anew each epoch (``fresh``): a class that is to have w draws of its n samples draws each of them floor(w / n) times,
and some, other ones every epoch, once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.recipe import Shares
from sgexp.sampling.targets import class_counts, counts_to_add, counts_to_keep

Changes = Callable[[Mapping[int, int], str, int, Mapping[int, int]], tuple[dict[int, int], tuple[str, ...]]]
"""(counts, balance, cap, table) -> label -> how many to add or to keep, and notes."""


class _RandomSelection:
    """What both share: ``balance``, ``cap`` and ``table`` say how many draws a class gets, labels say all else."""

    needs_features = False
    changes: ClassVar[Changes]
    sampler: ClassVar[type[RandomOverSampler] | type[RandomUnderSampler]]
    adds: ClassVar[bool]

    def __init__(self, balance: str, cap: int, table: Mapping[int, int], fresh: bool = False) -> None:
        self.balance, self.cap, self.table, self.fresh = balance, cap, dict(table), fresh

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan from the labels alone; equals ``sample_indices_`` of imbalanced-learn's sampler with this seed.

        ``_fit_resample`` is what its ``fit_resample`` calls after checks, which refuse a training set of one class.
        With ``fresh`` a recipe that draws each class as often, other samples every epoch.
        """
        counts = class_counts(labels_N)
        changes, notes = type(self).changes(counts, self.balance, self.cap, self.table)
        if self.fresh:
            wanted = counts | {group: n + self.adds * counts[group] for group, n in changes.items()}
            return _evenly_within_classes(labels_N, wanted, notes)
        sampler = self.sampler(random_state=seed)
        sampler.sampling_strategy_ = changes
        sampler.shrinkage_ = None
        sampler._fit_resample(np.arange(len(labels_N))[:, np.newaxis], np.asarray(labels_N))
        return ResamplingPlan.selection(np.asarray(sampler.sample_indices_, dtype=np.int64), notes)


def _evenly_within_classes(
    labels_N: np.ndarray, wanted: Mapping[int, int], notes: tuple[str, ...] = ()
) -> ResamplingPlan:
    """Return the recipe that draws class c ``wanted[c]`` times an epoch, all of its samples equally often."""
    groups, number_N, counts = np.unique(labels_N, return_inverse=True, return_counts=True)
    share_N = (np.array([wanted[group] for group in groups.tolist()]) / counts)[number_N]
    rows = np.arange(len(number_N))
    recipe = Shares(share_N, share_N, np.zeros(1), number_N)
    return ResamplingPlan(rows, rows, np.zeros(len(rows)), "recipe", notes, recipe=recipe)


class RandomOver(_RandomSelection):
    """Every sample once, then samples of the small classes again, drawn with replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_add``. ``fresh``: each sample of a class as often
    as every other one, or once more: other ones every epoch.
    """

    changes = counts_to_add
    sampler = RandomOverSampler
    adds = True


class RandomUnder(_RandomSelection):
    """Some samples of the large classes only, drawn without replacement.

    ``balance``, ``cap`` and ``table`` as in ``targets.counts_to_keep``. ``fresh``: other ones every epoch, so that in
    the course of the training all are seen.
    """

    changes = counts_to_keep
    sampler = RandomUnderSampler
    adds = False
