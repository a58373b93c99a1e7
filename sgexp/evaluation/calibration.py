"""Probabilities that mean what they say: one temperature, fitted on validation, by which all logits are divided.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599),
sect. 4.2. A temperature moves no class past another: top-1 and top-5 stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from sgexp.errors import DataError
from sgexp.evaluation.metrics import calibration_error
from sgexp.evaluation.predictions import Predictions

LOWEST, HIGHEST = 0.02, 50.0  # a fit that ends at the upper end found no minimum: no answer is better than chance


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature (1 where none could be fitted), and what it was fitted on.

    ``samples``: how many; ``note``: what a reader must know beside it, or "".
    """

    value: float
    samples: int
    note: str = ""

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"a temperature is a number above 0, not {self.value}")


def fit_temperature(predictions: Predictions) -> Temperature:
    """Return the temperature with the smallest mean negative log-likelihood of these (validation) predictions.

    Samples whose group is not among the classes say nothing about a temperature and are left out. The likelihood is
    convex in 1/T (log-sum-exp of linear functions), so it has one minimum in ln T too, and a bounded search finds it.
    """
    columns_N = label_columns(predictions)
    logits_NK = predictions.logits[columns_N >= 0].astype(np.float64)
    columns_N = columns_N[columns_N >= 0]
    if not np.isfinite(logits_NK).all():
        raise DataError("the validation logits are not finite numbers: training has diverged; lower the learning rate")
    if len(columns_N) == 0:
        return Temperature(1.0, 0, "there are no validation samples to fit a temperature on: probabilities are raw")
    if (logits_NK.argmax(axis=1) == columns_N).all():  # ever lower temperatures would be ever better
        return Temperature(1.0, len(columns_N), "all of validation is right, which sets no temperature: left at 1")

    found = minimize_scalar(
        lambda log_t: _nll(logits_NK * np.exp(-log_t), columns_N),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    value = float(np.exp(found.x))
    chance = value > 0.99 * HIGHEST
    note = "validation is hardly better than chance: the temperature makes all groups about equal" if chance else ""
    return Temperature(value, len(columns_N), note)


def at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions with their logits divided by the temperature."""
    return predictions.answered_by(predictions.logits.astype(np.float64) / temperature)


def negative_log_likelihood(predictions: Predictions) -> float:
    """Return the mean of -ln p(true group) over samples whose group is among the classes; nan where there is none."""
    columns_N = label_columns(predictions)
    known = columns_N >= 0
    return _nll(predictions.logits[known].astype(np.float64), columns_N[known]) if known.any() else float("nan")


def expected_calibration_error(predictions: Predictions, bins: int) -> float:
    """Return the expected calibration error over equal bins of the largest probability (see ``metrics``)."""
    if not len(predictions):
        return float("nan")
    return float(calibration_error(predictions, np.zeros(len(predictions), np.int64), bins)(np.ones((1, 1)))[0])


def reliability(predictions: Predictions, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per bin (B,): samples, mean largest probability, share of right answers (nan where a bin is empty)."""
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.label
    bin_N = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    samples = np.bincount(bin_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_N, weights=confidence, minlength=bins) / samples
        share = np.bincount(bin_N, weights=right, minlength=bins) / samples
    return samples, mean, share


def label_columns(predictions: Predictions) -> np.ndarray:
    """Return the column of each sample's group, (N,) int64; -1 for a group that is not among the classes."""
    column_of_group = np.full(max(231, int(predictions.classes.max(initial=0)) + 1), -1, dtype=np.int64)
    column_of_group[predictions.classes] = np.arange(len(predictions.classes))
    return column_of_group[predictions.label]


def _nll(logits_NK: np.ndarray, columns_N: np.ndarray) -> float:
    own_N = np.take_along_axis(logits_NK, columns_N[:, np.newaxis], axis=1)[:, 0]
    return float(np.mean(logsumexp(logits_NK, axis=1) - own_N))
