"""Where answers go wrong: confusion by symmetry level, recall of each class, and how far off in symmetry errors are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.groups import (
    SPACE_GROUPS,
    crystal_system_of,
    laue_class_of,
    point_group_of,
)
from sgexp.evaluation.bootstrap import Interval, interval, resampled_weights
from sgexp.evaluation.metrics import ClassSums, class_group_recall, resampling_units
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.shares import Shares, shares

LEVELS: dict[str, NDArray[np.int64]] = {
    "crystal_system": crystal_system_of,
    "laue_class": laue_class_of,
    "point_group": point_group_of,
    "space_group": np.arange(231, dtype=np.int64),
}
"""Symmetry level -> array from group number to class, coarse to fine; each class lies within one of the level above."""

FAMILY_BINS = (0, 1, 2, 3, 5, 9, 17)
"""Lower ends of the bins of training families: 0, 1, 2, 3-4, 5-8, 9-16, 17 and more."""

RELATIONS = (
    "the mirror image's group",
    "a maximal subgroup",
    "a maximal supergroup",
    "both of these",
    "same point group",
    "same Laue class",
    "same crystal system",
    "another crystal system",
)
"""How a wrong answer may be related to the truth; the first that holds (C2 is both to P2, as types)."""


def confusion_pairs(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the (true, predicted) pairs of groups that occur, (P, 2) ascending, and how many samples each has (P,)."""
    return np.unique(np.stack([predictions.label, predictions.predicted], axis=1), axis=0, return_counts=True)


@dataclass(frozen=True)
class ClassRecall:
    """The recall of each class present at one symmetry level, by ascending class (C,)."""

    classes: np.ndarray
    recall: Shares


def class_recall(predictions: Predictions, level: str, confidence: float) -> ClassRecall:
    """Return the recall of every class present at ``level`` of ``LEVELS``."""
    class_of = LEVELS[level]
    units_N, _ = resampling_units(predictions)
    label_N = class_of[predictions.label]
    classes, index_N = np.unique(label_N, return_inverse=True)
    return ClassRecall(classes, shares(index_N, label_N == class_of[predictions.predicted], units_N, confidence))


@dataclass(frozen=True)
class FamilyBin:
    """The mean recall of groups that were trained on ``first`` to ``last`` families (``None``: and more).

    ``typical``: the median of their families.
    """

    first: int
    last: int | None
    typical: float
    groups: int
    recall: Interval


def recall_by_training_families(
    predictions: Predictions, train_families_per_group: Mapping[int, int], config: EvaluationConfig
) -> list[FamilyBin]:
    """Return the mean recall of groups against how many families they were trained on, without empty bins."""
    units_N, _ = resampling_units(predictions)
    weights_RF = resampled_weights(int(units_N.max()) + 1, config.resamples, config.seed)
    sums = ClassSums(predictions.label, predictions.predicted, units_N)
    trained = np.array([train_families_per_group.get(group, 0) for group in np.unique(predictions.label).tolist()])
    bin_C = np.searchsorted(FAMILY_BINS, trained, side="right") - 1
    found = []
    for index, first in enumerate(FAMILY_BINS):
        chosen = bin_C == index
        if chosen.any():
            last = FAMILY_BINS[index + 1] - 1 if index + 1 < len(FAMILY_BINS) else None
            recall = interval(class_group_recall(sums, chosen), weights_RF, config.confidence)
            assert recall is not None
            found.append(FamilyBin(first, last, float(np.median(trained[chosen])), int(chosen.sum()), recall))
    return found


def _relation_table() -> NDArray[np.int64]:
    """Return (231, 231): true group, predicted group -> index into ``RELATIONS``, -1 where they are the same."""
    groups = np.arange(231)
    table = np.full((231, 231), len(RELATIONS) - 1, dtype=np.int64)
    for relation, class_of in ((6, crystal_system_of), (5, laue_class_of), (4, point_group_of)):
        table[class_of[:, np.newaxis] == class_of] = relation
    sub = np.zeros((231, 231), dtype=bool)
    for group in SPACE_GROUPS:
        sub[group.number, list(group.maximal_subgroups)] = True
    table[sub], table[sub.T], table[sub & sub.T] = 1, 2, 3
    for group in SPACE_GROUPS:
        if group.enantiomorph:
            table[group.number, group.enantiomorph] = 0
    table[groups, groups] = -1
    table.setflags(write=False)
    return table


relation_of = _relation_table()
"""True group, predicted group -> index into ``RELATIONS``; -1 where the answer is right."""


@dataclass(frozen=True)
class ErrorShare:
    """The share of errors of one relation, and what shuffling the wrong answers among the errors would give."""

    relation: str
    errors: int
    share: Interval
    by_chance: float


def error_shares(predictions: Predictions, confidence: float) -> list[ErrorShare]:
    """Return for each of ``RELATIONS`` its share of the errors; nothing where there are no errors."""
    wrong = predictions.predicted != predictions.label
    if not wrong.any():
        return []
    true, answered = predictions.label[wrong], predictions.predicted[wrong]
    units_N = resampling_units(predictions)[0][wrong]
    relation_N, expected = relation_of[true, answered], _by_chance(true, answered)
    found = []
    for index, name in enumerate(RELATIONS):
        own = shares(np.zeros(len(true), np.int64), relation_N == index, units_N, confidence)
        share = Interval(float(own.share[0]), float(own.low[0]), float(own.high[0]))
        found.append(ErrorShare(name, int(np.count_nonzero(relation_N == index)), share, float(expected[index])))
    return found


def _by_chance(true: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Return the expected share of each relation if truth and answer of the errors were independent, yet different."""
    expected = np.outer(np.bincount(true, minlength=231), np.bincount(answered, minlength=231)).astype(np.float64)
    np.fill_diagonal(expected, 0)
    sums = np.bincount(relation_of[expected > 0], weights=expected[expected > 0], minlength=len(RELATIONS))
    return sums / sums.sum() if sums.sum() else sums
