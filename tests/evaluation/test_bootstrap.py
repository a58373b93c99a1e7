"""Do the intervals cover what they promise? On simulated families of correlated samples, whose truth is known."""

import numpy as np
from scipy.stats import bootstrap

from sgexp.evaluation.bootstrap import interval, resampled_weights
from sgexp.evaluation.metrics import evaluate, sample_mean
from sgexp.evaluation.schema import EvaluationConfig

from .examples import predictions

TRIALS = 200
TRUTH = 0.4  # chance of being right in the simulated population of families
FAMILIES, SAMPLES = 60, 10  # families of a trial, samples of a family


def simulated(seed):
    """Which samples are right (N,), and their families: each family has its own chance, Beta(0.8, 1.2), mean 0.4."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(FAMILIES), SAMPLES)
    return rng.random(len(family)) < rng.beta(0.8, 1.2, FAMILIES)[family], family


def coverage(units_of):
    """The share of trials whose interval holds the truth, and the mean width of the intervals."""
    found = []
    for seed in range(TRIALS):
        right, family = simulated(seed)
        units = units_of(family)
        found.append(interval(sample_mean(right, units), resampled_weights(units.max() + 1, 300, seed), 0.95))
    return np.mean([i.low <= TRUTH <= i.high for i in found]), np.mean([i.high - i.low for i in found])


def test_resampling_families_covers_the_truth_and_resampling_samples_does_not():
    covered, width = coverage(lambda family: family)
    covered_by_sample, width_by_sample = coverage(lambda family: np.arange(len(family)))
    assert 0.92 <= covered <= 0.98
    assert covered_by_sample < 0.75
    assert width > 1.7 * width_by_sample


def test_evaluate_resamples_families():
    right, family = simulated(0)
    logits = np.where(right[:, np.newaxis], [1, 0], [0, 1])
    made = predictions(np.full(len(family), 14), logits, [14, 62], family)
    config = EvaluationConfig(resamples=300, seed=5)
    _, units = np.unique(made.family, return_inverse=True)
    wanted = interval(sample_mean(right, units), resampled_weights(FAMILIES, 300, 5), 0.95)
    assert evaluate(made, {}, config).metrics["top1"] == wanted


def test_the_interval_of_a_mean_agrees_with_scipy():
    rng = np.random.default_rng(0)
    values = rng.random(80)
    found = interval(sample_mean(values, np.arange(80)), resampled_weights(80, 20_000, seed=0), 0.95)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose((found.low, found.high), theirs, atol=2e-3)
    assert found.value == np.mean(values)


def test_each_resample_draws_as_many_families_as_there_are():
    weights = resampled_weights(30, 50, seed=3)
    assert weights.shape == (50, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert (weights == resampled_weights(30, 50, seed=3)).all()
