"""Can the confidence be believed? Reliability, and risk against coverage, with intervals over families."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgexp.evaluation.bootstrap import Interval, resampled_weights
from sgexp.evaluation.metrics import resampling_units
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.shares import Shares, shares

_AT_ONCE = 4_000_000  # weights of samples held at once (float64): 32 MB


@dataclass(frozen=True)
class Reliability:
    """Equal bins of the largest probability, each open below and closed above, as in the calibration error.

    ``edges`` (B + 1,); ``confidence`` (B,) its mean in the bin, nan where it is empty; ``accuracy``: the share of right
    answers in each bin.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: Shares


def reliability_diagram(predictions: Predictions, config: EvaluationConfig) -> Reliability:
    """Return how often answers of each confidence are right. C. Guo et al., ICML 2017, sect. 2."""
    bins = config.calibration_bins
    confidence_N = predictions.probabilities.max(axis=1)
    bin_N = np.ceil(confidence_N * bins).astype(int).clip(1, bins) - 1
    units_N, _ = _units(predictions)
    right = shares(bin_N, predictions.predicted == predictions.label, units_N, config.confidence, bins)
    confidence = _ratio(np.bincount(bin_N, weights=confidence_N, minlength=bins), right.samples.astype(np.float64))
    return Reliability(np.linspace(0, 1, bins + 1), confidence, right)


@dataclass(frozen=True)
class RiskCoverage:
    """The share of wrong answers among the most confident ones, against how many are answered.

    ``coverage`` (G,) ascending, up to 1; ``risk``, ``low``, ``high`` (G,); ``area``: the mean risk over all coverages
    (AURC: 0 is best; an order that says nothing gives the error rate, ``risk[-1]``); ``best_area``: of an order that
    puts every right answer first.
    """

    coverage: np.ndarray
    risk: np.ndarray
    low: np.ndarray
    high: np.ndarray
    area: Interval
    best_area: float


def risk_coverage(predictions: Predictions, config: EvaluationConfig, points: int = 50) -> RiskCoverage:
    """Return the risk at ``points`` equal steps of coverage. Y. Geifman, R. El-Yaniv, NeurIPS 2017, sect. 2."""
    order = np.argsort(-predictions.probabilities.max(axis=1), kind="stable")
    wrong_N = (predictions.predicted != predictions.label)[order].astype(np.float64)
    units_N, n_units = _units(predictions)
    units_N = units_N[order]
    coverage = np.arange(1, points + 1) / points
    risk, area = _risks(np.ones((1, len(order))), wrong_N, coverage)
    weights_RF = resampled_weights(n_units, config.resamples, config.seed)
    rows = max(1, _AT_ONCE // len(order))
    resampled = [
        _risks(weights_RF[start : start + rows][:, units_N], wrong_N, coverage)
        for start in range(0, len(weights_RF), rows)
    ]
    risks_RG, areas_R = (np.concatenate(parts) for parts in zip(*resampled, strict=True))
    low, high = _band(risks_RG, risk[0], config.confidence, n_units)
    area_low, area_high = _band(areas_R[:, np.newaxis], area, config.confidence, n_units)
    best = _risks(np.ones((1, len(order))), np.sort(wrong_N), coverage)[1]
    between = Interval(float(area[0]), float(area_low[0]), float(area_high[0]))
    return RiskCoverage(coverage, risk[0], low, high, between, float(best[0]))


def _risks(weights_RN: np.ndarray, wrong_N: np.ndarray, coverage_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the risk at each coverage (R, G), and its mean over all coverages (R,), of samples in falling confidence.

    At a coverage that falls inside a sample the sample counts in full.
    """
    answered = np.cumsum(weights_RN, axis=1)
    wrong = np.cumsum(weights_RN * wrong_N, axis=1)
    total_R1 = answered[:, -1:]
    risks = _ratio(wrong, answered)
    wanted_RG = coverage_G * total_R1 * (1 - 1e-12)
    at = np.stack([np.searchsorted(row, wanted) for row, wanted in zip(answered, wanted_RG, strict=True)])
    areas = np.nansum(risks * weights_RN, axis=1) / total_R1[:, 0]
    return np.take_along_axis(risks, at.clip(max=risks.shape[1] - 1), axis=1), areas


def _units(predictions: Predictions) -> tuple[np.ndarray, int]:
    units_N, _ = resampling_units(predictions)
    return units_N, int(units_N.max()) + 1


def _band(values_RX: np.ndarray, value_X: np.ndarray, confidence: float, n_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of each column, widened to hold the figure; 0 ... 1 from a single family."""
    known = ~np.isnan(value_X)
    low, high = np.where(known, 0.0, np.nan), np.where(known, 1.0, np.nan)
    if n_units > 1 and known.any():
        tail = (1 - confidence) / 2
        low[known], high[known] = np.nanquantile(values_RX[:, known], [tail, 1 - tail], axis=0)
    return np.fmin(low, value_X), np.fmax(high, value_X)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return ``above / below``, nan where ``below`` is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
