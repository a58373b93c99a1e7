"""The figures of a test set, each over stated samples, classes and families, each with an interval over families.

Every figure is written once, as a function of weights on the families: weights of one give the figure itself, the
bootstrap's weights (R, F) give it for R resamples. Sums over samples are first gathered family by family.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sgexp.crystallography.groups import crystal_system_of, laue_class_of, merged_219, point_group_of
from sgexp.errors import DataError
from sgexp.evaluation.bootstrap import Interval, interval, resampled_weights
from sgexp.evaluation.monitor import label_rank
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig

Figure = Callable[[np.ndarray], np.ndarray]

SYMMETRY_LEVELS = {
    "crystal_system": crystal_system_of,
    "laue_class": laue_class_of,
    "point_group": point_group_of,
    "merged_219": merged_219,
}
WORST_SHARE = 0.1


@dataclass(frozen=True)
class Evaluation:
    """The figures of one test set by name, what they are over, and what a reader must know beside them.

    ``counts``: samples, materials, families, classes (space groups present) and the classes among them that are
    many_shot, medium_shot and few_shot.
    """

    metrics: dict[str, Interval]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return name -> {value, low, high}."""
        return {name: figure.as_dict() for name, figure in self.metrics.items()}


def evaluate(
    predictions: Predictions,
    train_families_per_group: Mapping[int, int],
    config: EvaluationConfig,
    probabilistic: bool = True,
) -> Evaluation:
    """Return all figures of ``predictions``; a figure over no class (say no few-shot group present) is left out.

    ``train_families_per_group``: space group -> families it was trained on (0 where missing), which makes a group
    many-, medium- or few-shot. ``probabilistic``: whether the softmax of the logits is meant as a probability; if
    not, there is no calibration error.
    """
    bad = int(np.count_nonzero(~np.isfinite(predictions.logits).all(axis=1)))
    if bad:
        raise DataError(
            f"the logits of {bad} of {len(predictions)} samples are not finite numbers: training has diverged; "
            "lower the learning rate"
        )
    classes = np.unique(predictions.label)
    shots = shot_masks(classes, train_families_per_group, config)
    counts = {
        "samples": len(predictions),
        "materials": len(np.unique(predictions.material)),
        "families": len(np.unique(predictions.family[predictions.family != ""])),
        "classes": len(classes),
        **{name: int(mask.sum()) for name, mask in shots.items()},
    }
    if not len(predictions):
        return Evaluation({}, counts, ("no samples: no figures",))
    units, notes = resampling_units(predictions)
    weights_RF = resampled_weights(int(units.max()) + 1, config.resamples, config.seed)
    metrics: dict[str, Interval] = {}
    for name, figure in figures(predictions, units, shots, config.calibration_bins).items():
        found = interval(figure, weights_RF, config.confidence)
        if found is not None and (probabilistic or name != "ece"):
            metrics[name] = found
    return Evaluation(metrics, counts, notes)


def figures(
    predictions: Predictions, units_N: np.ndarray, shots: Mapping[str, np.ndarray], calibration_bins: int
) -> dict[str, Figure]:
    """Return name -> figure as a function of weights (R, F) on the units, in the order in which they are reported."""
    label, predicted = predictions.label, predictions.predicted
    column_of = {group: column for column, group in enumerate(predictions.classes.tolist())}
    rank = label_rank(np.array([column_of.get(group, -1) for group in label.tolist()]), predictions.logits)
    by_class = ClassSums(label, predicted, units_N)
    return {
        "top1": sample_mean(rank < 1, units_N),
        "top5": sample_mean(rank < 5, units_N),
        "balanced_accuracy": lambda weights: row_means(by_class.recall(weights)),
        "macro_f1": lambda weights: row_means(by_class.f1(weights)),
        **{name: sample_mean(level[label] == level[predicted], units_N) for name, level in SYMMETRY_LEVELS.items()},
        **{name: class_group_recall(by_class, mask) for name, mask in shots.items()},
        "worst10_recall": lambda weights: worst_mean(by_class.recall(weights), WORST_SHARE),
        "ece": calibration_error(predictions, units_N, calibration_bins),
    }


def resampling_units(predictions: Predictions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the unit of the bootstrap that each sample belongs to, (N,) 0..F-1: its family, else its material."""
    unknown = predictions.family == ""
    names = np.where(unknown, np.char.add("material ", predictions.material), predictions.family)
    notes = []
    if unknown.any():
        notes.append(
            f"the families of {np.count_nonzero(unknown)} samples are unknown: intervals resample materials there"
        )
    _, units = np.unique(names, return_inverse=True)
    if units.max() == 0:
        notes.append("all samples are of one family: no interval can be given")
    return units, tuple(notes)


def shot_masks(
    classes: np.ndarray, train_families_per_group: Mapping[int, int], config: EvaluationConfig
) -> dict[str, np.ndarray]:
    """Return which of ``classes`` (C,) are many-, medium- and few-shot by training families; few-shot comes first."""
    families = np.array([train_families_per_group.get(group, 0) for group in classes.tolist()], dtype=np.int64)
    many, few = families >= config.many_from, families <= config.few_to
    return {"many_shot": many & ~few, "medium_shot": ~many & ~few, "few_shot": few}


def sample_mean(values_N: np.ndarray, units_N: np.ndarray) -> Figure:
    """Return the weighted mean over samples, each weighing what its unit weighs."""
    sums_F = np.bincount(units_N, weights=values_N)
    sizes_F = np.bincount(units_N).astype(np.float64)
    return lambda weights_RF: (weights_RF @ sums_F) / (weights_RF @ sizes_F)


class ClassSums:
    """Per class present and per unit: samples, hits and how often the class was predicted; sparse, (F, C) each."""

    def __init__(self, label_N: np.ndarray, predicted_N: np.ndarray, units_N: np.ndarray) -> None:
        classes = np.unique(label_N)
        shape = (int(units_N.max()) + 1, len(classes))

        def counted(groups: np.ndarray, units: np.ndarray) -> sparse.csc_matrix:
            ones = np.ones(len(groups))
            return sparse.coo_matrix((ones, (units, np.searchsorted(classes, groups))), shape=shape).tocsc()

        hit = label_N == predicted_N
        among = np.isin(predicted_N, classes)
        self.samples = counted(label_N, units_N)
        self.hits = counted(label_N[hit], units_N[hit])
        self.predicted = counted(predicted_N[among], units_N[among])

    def recall(self, weights_RF: np.ndarray) -> np.ndarray:
        """Return hits / samples, (R, C); nan where a resample holds no sample of the class."""
        return _ratio(weights_RF @ self.hits, weights_RF @ self.samples)

    def f1(self, weights_RF: np.ndarray) -> np.ndarray:
        """Return 2 hits / (samples + predicted), (R, C); nan where a resample holds no sample of the class."""
        samples = weights_RF @ self.samples
        f1 = _ratio(2 * (weights_RF @ self.hits), samples + weights_RF @ self.predicted)
        return np.where(samples > 0, f1, np.nan)


def class_group_recall(by_class: ClassSums, mask_C: np.ndarray) -> Figure:
    """Return the mean recall over the classes chosen by ``mask_C``."""
    return lambda weights_RF: row_means(by_class.recall(weights_RF)[:, mask_C])


def row_means(values_RC: np.ndarray) -> np.ndarray:
    """Return the mean of each row over what is not nan, (R,); nan for a row without numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "mean of empty slice": nan is the answer
        return np.nanmean(values_RC, axis=1) if values_RC.shape[1] else np.full(len(values_RC), np.nan)


def worst_mean(recall_RC: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of the lowest ``share`` of each row's recalls (at least one class, rounded up), (R,)."""
    present_R = np.count_nonzero(~np.isnan(recall_RC), axis=1)
    taken_R = np.ceil(share * present_R - 1e-9).astype(int).clip(min=1)
    ascending = np.sort(recall_RC, axis=1)  # nan last
    sums = np.cumsum(ascending, axis=1)
    return sums[np.arange(len(sums)), taken_R - 1] / taken_R


def calibration_error(predictions: Predictions, units_N: np.ndarray, bins: int) -> Figure:
    """Return the expected calibration error: sum over bins of |hits - confidence summed|, over the number of samples.

    Equal bins of the largest probability, each open below and closed above. C. Guo et al., On Calibration of Modern
    Neural Networks, ICML 2017, eq. 3.
    """
    confidence = predictions.probabilities.max(axis=1)
    bin_N = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    gap = (predictions.predicted == predictions.label) - confidence
    n_units = int(units_N.max()) + 1
    gaps_FB = np.bincount(units_N * bins + bin_N, weights=gap, minlength=n_units * bins).reshape(n_units, bins)
    sizes_F = np.bincount(units_N).astype(np.float64)
    return lambda weights_RF: np.abs(weights_RF @ gaps_FB).sum(axis=1) / (weights_RF @ sizes_F)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return ``above / below``, nan where ``below`` is 0."""
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
