"""Intervals from resampled families: the samples of one family (its materials, their energies) stand or fall together.

B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), ch. 13 (percentile intervals); A. C. Davison,
D. V. Hinkley, Bootstrap Methods and their Application (1997), sect. 3.8 (resampling whole clusters).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A figure and the interval around it; figures lie between 0 and 1, differences of them between -1 and 1."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return ``{"value": ..., "low": ..., "high": ...}``."""
        return {"value": self.value, "low": self.low, "high": self.high}


def resampled_weights(n_units: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each unit occurs in each resample, (R, F) float64: F units drawn from F with replacement.

    A figure of resampled data is a figure of weighted data, so one matrix product serves all resamples.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=resamples).astype(np.float64)


def interval(figure: Callable[[np.ndarray], np.ndarray], weights_RF: np.ndarray, confidence: float) -> Interval | None:
    """Return ``figure`` of the data as they are and its percentile interval over the resamples.

    ``figure`` maps weights (R, F) to values (R,), nan where a resample leaves it undefined (such resamples are passed
    over). ``None`` if it is undefined for the data themselves; 0 ... 1 (nothing is known) from a single unit. The
    interval is widened to hold the figure itself: resamples of a curved figure (calibration error) may all lie above.
    """
    value = float(figure(np.ones((1, weights_RF.shape[1])))[0])
    if np.isnan(value):
        return None
    if weights_RF.shape[1] < 2:
        return Interval(value, 0.0, 1.0)
    values_R = figure(weights_RF)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values_R, [tail, 1 - tail])
    return Interval(value, min(float(low), value), max(float(high), value))
