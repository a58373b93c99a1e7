"""Single tests and corrections, against statsmodels and SciPy."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from sgexp.evaluation.significance import (
    chi_quantiles,
    detectable,
    holm,
    mcnemar,
    mcnemar_p,
    noncentral_t_cdf,
    sign_flip_p,
    standardised_effect,
)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 22), (300, 240)])
def test_mcnemar_is_that_of_statsmodels_and_its_mid_p_less_conservative(only_a, only_b):
    theirs = statsmodels_mcnemar([[50, only_a], [only_b, 70]], exact=True).pvalue
    assert mcnemar_p(only_a, only_b) == pytest.approx(theirs)
    mid = mcnemar_p(only_a, only_b, mid_p=True)
    assert mid <= mcnemar_p(only_a, only_b)
    if only_a != only_b:  # Fagerland et al. (2013), eq. 3
        n, fewer = only_a + only_b, min(only_a, only_b)
        assert mid == pytest.approx(theirs - stats.binom.pmf(fewer, n, 0.5))


def test_mcnemar_counts_where_only_one_is_right_and_by_family_equals_it_where_families_have_one_sample():
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.5, rng.random(200) < 0.4
    found = mcnemar(a, b, np.arange(200))
    assert (found.only_a, found.only_b) == (np.sum(a & ~b), np.sum(b & ~a))
    assert found.by_family == pytest.approx(found.exact, abs=1e-12)


def test_mcnemar_of_samples_is_refused_where_families_have_several():
    right = np.array([1, 1, 1, 1, 0, 0], bool)
    found = mcnemar(right, ~right, np.array([0, 0, 0, 0, 1, 1]))
    assert found.exact is None and found.mid_p is None
    assert found.by_family == 1.0  # two families say nothing, however many samples they have


def test_the_sign_flip_test_is_the_enumeration_of_all_exchanges_of_families():
    lead = np.array([3, -1, 2, 0, 5, -2, 1, 1])
    sums = [abs(np.dot(signs, lead)) for signs in itertools.product((1, -1), repeat=len(lead))]
    assert sign_flip_p(lead) == pytest.approx(np.mean(np.array(sums) >= abs(lead.sum())))


def test_the_sign_flip_test_agrees_with_scipys_permutation_test():
    rng = np.random.default_rng(3)
    lead = rng.integers(-3, 6, 30)
    result = stats.permutation_test(
        (lead.astype(float), np.zeros(30)),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=rng,
    )
    assert sign_flip_p(lead) == pytest.approx(result.pvalue, abs=0.01)


def test_mcnemar_by_family_keeps_its_level_where_the_test_of_samples_does_not():
    by_sample, by_family = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        family = np.repeat(np.arange(40), 8)
        a, b = (rng.random(len(family)) < rng.beta(0.4, 0.6, 40)[family] for _ in range(2))
        by_sample.append(mcnemar_p(np.sum(a & ~b), np.sum(b & ~a)))
        by_family.append(mcnemar(a, b, family).by_family)
    assert np.mean(np.array(by_sample) < 0.05) > 0.2
    assert np.mean(np.array(by_family) < 0.05) < 0.08


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed):
    p = np.random.default_rng(seed).random(9) ** 3
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_of_nothing_and_of_equal_values():
    assert holm([]) == []
    assert holm([0.03, 0.03, 0.03]) == pytest.approx([0.09, 0.09, 0.09])


@pytest.mark.parametrize(("n", "alpha", "power"), [(3, 0.05, 0.8), (5, 0.05 / 6, 0.8), (50, 0.05, 0.9)])
def test_what_is_detectable_solves_statsmodels_power_equation(n, alpha, power):
    paired = TTestPower().solve_power(nobs=n, alpha=alpha, power=power)
    assert detectable(1 / np.sqrt(n), n - 1, alpha, power) == pytest.approx(paired, rel=5e-3)
    two = TTestIndPower().solve_power(nobs1=n, alpha=alpha, power=power)
    assert detectable(np.sqrt(2 / n), 2 * n - 2, alpha, power) == pytest.approx(two, rel=5e-3)


def test_the_noncentral_t_distribution_is_scipys_where_scipy_has_numbers():
    for t, df, shift in itertools.product((-2.0, 0.5, 3.0), (1.5, 4, 60), (-1.0, 0.0, 2.5)):
        assert noncentral_t_cdf(t, chi_quantiles(df), shift) == pytest.approx(stats.nct.cdf(t, df, shift), abs=1e-3)


def test_hedges_g_is_that_of_statsmodels_and_its_interval_covers():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 1, 6), rng.normal(0, 1, 4)
    theirs, _ = effectsize_smd(a.mean(), a.std(ddof=1), 6, b.mean(), b.std(ddof=1), 4)
    found = standardised_effect(a, b, 0.95)
    assert found.value == pytest.approx(float(theirs), rel=1e-2)  # they correct with the approximate factor of n
    inside = []
    for _ in range(400):
        ends = standardised_effect(rng.normal(1.0, 1, 3), rng.normal(0, 1, 3), 0.95)
        inside.append(ends.low <= 1.0 * (1 - 3 / 15) <= ends.high)
    assert 0.92 < np.mean(inside) < 0.98


def test_there_is_no_hedges_g_of_one_seed_or_without_spread():
    assert standardised_effect(np.array([0.1]), np.array([0.2, 0.3]), 0.95) is None
    assert standardised_effect(np.array([0.1, 0.1]), np.array([0.2, 0.2]), 0.95) is None
