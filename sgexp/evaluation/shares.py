"""Shares of few samples (recall of a rare group, hits in a bin), with intervals where there is nothing to resample.

A class may have one or two families; to resample them would give an interval without width when all are wrong. Samples
of a family are taken to stand or fall together instead, so that families of m samples are worth (sum m)^2 / sum m^2
independent trials (L. Kish, Survey Sampling, 1965, sect. 8.2), and E. B. Wilson's score interval holds for few trials
(J. Am. Stat. Assoc. 22, 209, 1927).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri


@dataclass(frozen=True)
class Shares:
    """The share of hits in each of C bins; all arrays (C,), nan where a bin is empty.

    ``samples``, ``families``: what it is over; ``effective``: worth so many independent trials; ``low``, ``high``: the
    ends of the interval.
    """

    samples: np.ndarray
    families: np.ndarray
    effective: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def shares(
    bin_N: np.ndarray, hit_N: np.ndarray, units_N: np.ndarray, confidence: float, bins: int | None = None
) -> Shares:
    """Return the share of ``hit_N`` in each bin, ``bin_N`` 0 ... bins - 1; ``units_N`` are the samples' families."""
    bins = int(bin_N.max()) + 1 if bins is None else bins
    samples = np.bincount(bin_N, minlength=bins)
    pairs, sizes = np.unique(np.stack([bin_N, units_N]), axis=1, return_counts=True)
    squares = np.bincount(pairs[0], weights=sizes.astype(np.float64) ** 2, minlength=bins)
    with np.errstate(invalid="ignore"):
        share = np.bincount(bin_N, weights=hit_N, minlength=bins) / samples
        effective = samples**2 / squares
    low, high = wilson(share, effective, confidence)
    return Shares(samples, np.bincount(pairs[0], minlength=bins), effective, share, low, high)


def wilson(share: np.ndarray, trials: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a ``share`` of ``trials``, which need not be a whole number."""
    z = float(ndtri(1 - (1 - confidence) / 2))
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # the ends hold the share exactly where it is 0 or 1
    return np.minimum(centre - half, share).clip(min=0), np.maximum(centre + half, share).clip(max=1)
