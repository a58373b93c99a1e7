"""Where answers go wrong: confusion by symmetry level, recall of each class, and how far off in symmetry errors are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

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
    """The recall of each class present at one symmetry level; all arrays (C,), by ascending class.

    ``low``, ``high``: Wilson's interval with as many trials as there are independent families (``effective``).
    """

    classes: np.ndarray
    samples: np.ndarray
    families: np.ndarray
    recall: np.ndarray
    effective: np.ndarray
    low: np.ndarray
    high: np.ndarray


def class_recall(predictions: Predictions, level: str, confidence: float) -> ClassRecall:
    """Return the recall of every class present at ``level`` of ``LEVELS``.

    A class may hold one or two families, too few to resample. Samples of a family are taken to be right or wrong
    together, which leaves (sum m)^2 / sum m^2 independent trials from families of m samples (L. Kish, Survey Sampling,
    1965, sect. 8.2), and E. B. Wilson's score interval (J. Am. Stat. Assoc. 22, 209, 1927) holds for few trials.
    """
    class_of = LEVELS[level]
    units_N, _ = resampling_units(predictions)
    label = class_of[predictions.label]
    classes, index_N = np.unique(label, return_inverse=True)
    samples = np.bincount(index_N)
    recall = np.bincount(index_N, weights=label == class_of[predictions.predicted]) / samples
    pairs, sizes = np.unique(np.stack([index_N, units_N], axis=1), axis=0, return_counts=True)
    families = np.bincount(pairs[:, 0])
    effective = samples**2 / np.bincount(pairs[:, 0], weights=sizes.astype(np.float64) ** 2)
    low, high = wilson(recall, effective, confidence)
    return ClassRecall(classes, samples, families, recall, effective, low, high)


def wilson(share: np.ndarray, trials: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a ``share`` of ``trials`` (which need not be whole)."""
    z = float(ndtri(1 - (1 - confidence) / 2))
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return (centre - half).clip(min=0), (centre + half).clip(max=1)


@dataclass(frozen=True)
class FamilyBin:
    """The mean recall of the groups that were trained on ``first`` to ``last`` families (``None``: and more)."""

    first: int
    last: int | None
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
            found.append(FamilyBin(first, last, int(chosen.sum()), recall))
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


def error_shares(predictions: Predictions, config: EvaluationConfig) -> list[ErrorShare]:
    """Return for each of ``RELATIONS`` the share of errors with its interval over families; nothing without errors."""
    wrong = predictions.predicted != predictions.label
    if not wrong.any():
        return []
    true, answered = predictions.label[wrong], predictions.predicted[wrong]
    units_N, _ = resampling_units(predictions)
    weights_RF = resampled_weights(int(units_N.max()) + 1, config.resamples, config.seed)
    n_units = int(units_N.max()) + 1
    errors_F = np.bincount(units_N[wrong], minlength=n_units).astype(np.float64)
    relation = relation_of[true, answered]
    shuffled = _by_chance(true, answered)
    found = []
    for index, name in enumerate(RELATIONS):
        own_F = np.bincount(units_N[wrong][relation == index], minlength=n_units).astype(np.float64)

        def share(weights: np.ndarray, own_F: np.ndarray = own_F) -> np.ndarray:
            errors = weights @ errors_F
            return np.divide(weights @ own_F, errors, out=np.full(len(errors), np.nan), where=errors > 0)

        between = interval(share, weights_RF, config.confidence)
        assert between is not None
        found.append(ErrorShare(name, int(own_F.sum()), between, float(shuffled[index])))
    return found


def _by_chance(true: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Return the expected share of each relation if truth and answer of the errors were independent, yet different."""
    expected = np.outer(np.bincount(true, minlength=231), np.bincount(answered, minlength=231)).astype(np.float64)
    np.fill_diagonal(expected, 0)
    sums = np.bincount(relation_of[expected > 0], weights=expected[expected > 0], minlength=len(RELATIONS))
    return sums / sums.sum() if sums.sum() else sums
