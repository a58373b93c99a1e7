"""Single steps of a comparison: McNemar's test and its form for families, Holm's correction, what can be detected.

Q. McNemar, Psychometrika 12, 153 (1947); S. Holm, Scand. J. Statist. 6, 65 (1979); M. W. Fagerland et al., BMC Med.
Res. Methodol. 13, 91 (2013) for the mid-p form.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from sgexp.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same samples: where only one is right.

    ``only_a``, ``only_b``: samples that only the one gets right. ``exact``, ``mid_p``: two-sided p-values of McNemar's
    test, ``None`` where several samples belong to one family: they succeed or fail together, and the test would take
    them for independent. ``by_family``: exact p-value of the same test with whole families as units, which fits always
    and equals ``exact`` where every family has one sample.
    """

    only_a: int
    only_b: int
    exact: float | None
    mid_p: float | None
    by_family: float


def mcnemar(right_a_N: np.ndarray, right_b_N: np.ndarray, units_N: np.ndarray) -> McNemar:
    """Return McNemar's test of two classifiers that are right (N,) or wrong on the same samples.

    ``units_N`` (N,) 0..F-1: the family of each sample.
    """
    lead_N = right_a_N.astype(np.int64) - right_b_N.astype(np.int64)
    only_a, only_b = int(np.count_nonzero(lead_N > 0)), int(np.count_nonzero(lead_N < 0))
    exact = mid_p = None
    if len(np.unique(units_N)) == len(units_N):
        exact, mid_p = mcnemar_p(only_a, only_b), mcnemar_p(only_a, only_b, mid_p=True)
    lead_F = np.rint(np.bincount(units_N, weights=lead_N)).astype(np.int64)
    return McNemar(only_a, only_b, exact, mid_p, sign_flip_p(lead_F))


def mcnemar_p(only_a: int, only_b: int, mid_p: bool = False) -> float:
    """Return the two-sided exact (binomial) p-value of McNemar's test, or its less conservative mid-p form."""
    n, fewer = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    p = 2 * stats.binom.cdf(fewer, n, 0.5)
    return float(min(1.0, p - stats.binom.pmf(fewer, n, 0.5)) if mid_p else min(1.0, p))


def sign_flip_p(lead_F: np.ndarray) -> float:
    """Return the exact two-sided p-value of ``sum(lead_F)`` if each family's lead were as likely of the other sign.

    ``lead_F`` (F,) int: samples of a family that only A gets right, less those that only B does. If A and B are
    equally good, exchanging them within a family changes nothing (R. A. Fisher, The Design of Experiments, 1935, ch.
    3). The distribution of the sum over all 2^F exchanges is built family by family.
    """
    sizes = np.abs(lead_F[lead_F != 0])
    if not len(sizes):
        return 1.0
    distribution = np.ones(1)  # of (sum of the sizes with sign +), 0 ... total
    for size in sizes.tolist():
        longer = np.zeros(len(distribution) + size)
        longer[: len(distribution)] = distribution / 2
        longer[size:] += distribution / 2
        distribution = longer
    total, observed = int(sizes.sum()), abs(int(lead_F.sum()))
    sums = 2 * np.arange(total + 1) - total
    return float(min(1.0, distribution[np.abs(sums) >= observed].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values in the order given: rejecting those below alpha keeps the chance of
    even one false rejection at alpha or less, whatever the comparisons have in common.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = steps
    return adjusted.tolist()


def detectable(standard_error: float, df: float, alpha: float, power: float) -> float:
    """Return the true difference that a two-sided t-test at level ``alpha`` finds with probability ``power``.

    ``standard_error`` of the difference, in its unit, with ``df`` degrees of freedom; the noncentral t-distribution.
    """
    if standard_error == 0 or np.isinf(standard_error):
        return standard_error
    threshold, chi = float(stats.t.isf(alpha / 2, df)), chi_quantiles(float(f"{df:.3g}"))

    def missing(shift: float) -> float:
        # a finding in the wrong direction is too rare to count where the power is of interest
        return 1 - noncentral_t_cdf(threshold, chi, shift) - power

    upper = threshold + 3.0
    while missing(upper) < 0:
        upper *= 1.5
    return standard_error * float(optimize.brentq(missing, 0.0, upper, xtol=1e-4))


def noncentral_t_cdf(t: float, chi: np.ndarray, shift: float) -> float:
    """Return P(T <= t) of Student's t with noncentrality ``shift``, to about 1e-3.

    T = (Z + shift) / sqrt(v / df), averaged over ``chi_quantiles(df)``; SciPy's own (1.17) is nan far out in the tails.
    """
    return float(np.mean(special.ndtr(t * chi - shift)))


@functools.lru_cache
def chi_quantiles(df: float) -> np.ndarray:
    """Return sqrt(v / df), v chi-squared, in the middle of 500 equal slices of its probability."""
    return np.sqrt(stats.chi2.ppf((np.arange(500) + 0.5) / 500, df) / df)


def standardised_effect(values_a: np.ndarray, values_b: np.ndarray, confidence: float) -> Interval | None:
    """Return Hedges' g: the difference of means in standard deviations between seeds, with an interval.

    ``values_a``, ``values_b``: the figure of each seed. Pooled standard deviation, small-sample factor J; the interval
    by inverting the noncentral t-distribution (L. V. Hedges, I. Olkin, Statistical Methods for Meta-Analysis, 1985,
    ch. 5). It is a statement on this one test set. ``None`` from a single seed on either side, or without any spread.
    """
    n_a, n_b = len(values_a), len(values_b)
    if min(n_a, n_b) < 2:
        return None
    df = n_a + n_b - 2
    variance = ((n_a - 1) * np.var(values_a, ddof=1) + (n_b - 1) * np.var(values_b, ddof=1)) / df
    if variance <= 1e-24:
        return None
    unit = np.sqrt(1 / n_a + 1 / n_b)  # of d in the scale of t
    t = float((np.mean(values_a) - np.mean(values_b)) / np.sqrt(variance) / unit)
    tail = (1 - confidence) / 2
    chi = chi_quantiles(df)
    reach = abs(t) * float(chi[-1]) + 6.0

    def shift(probability: float) -> float:
        return float(optimize.brentq(lambda nc: noncentral_t_cdf(t, chi, nc) - probability, -reach, reach))

    correction = 1 - 3 / (4 * df - 1)
    value, low, high = (float(correction * unit * item) for item in (t, shift(1 - tail), shift(tail)))
    return Interval(value, low, high)
