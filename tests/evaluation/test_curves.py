"""Reliability and risk-coverage, against scikit-learn and against counting by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score

from sgexp.evaluation.curves import _risks, reliability_diagram, risk_coverage
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.schema import EvaluationConfig

from .examples import predictions, random_predictions

CONFIG = EvaluationConfig(resamples=200, calibration_bins=10)


def test_reliability_is_scikit_learns_calibration_curve():
    found = random_predictions(1)
    told = reliability_diagram(found, CONFIG)
    right, confidence = found.predicted == found.label, found.probabilities.max(axis=1)
    share, mean = calibration_curve(right, confidence, n_bins=10, strategy="uniform")
    filled = told.accuracy.samples > 0
    np.testing.assert_allclose(told.accuracy.share[filled], share)
    np.testing.assert_allclose(told.confidence[filled], mean)
    assert told.accuracy.samples.sum() == len(found)


def test_the_gaps_of_the_diagram_add_up_to_the_calibration_error():
    found = random_predictions(2)
    told = reliability_diagram(found, CONFIG)
    filled = told.accuracy.samples > 0
    gaps = np.abs(told.accuracy.share - told.confidence)[filled] * told.accuracy.samples[filled]
    assert gaps.sum() / len(found) == pytest.approx(evaluate(found, {}, CONFIG).metrics["ece"].value)


def test_risk_is_the_error_rate_of_the_surest_answers():
    found = random_predictions(3)
    told = risk_coverage(found, CONFIG, points=20)
    order = np.argsort(-found.probabilities.max(axis=1), kind="stable")
    for coverage, risk in zip(told.coverage, told.risk, strict=True):
        surest = order[: int(np.ceil(coverage * len(found) - 1e-9))]
        assert risk == pytest.approx(1 - accuracy_score(found.label[surest], found.predicted[surest]))
    assert told.risk[-1] == pytest.approx(1 - accuracy_score(found.label, found.predicted))
    assert (told.low <= told.risk).all() and (told.risk <= told.high).all()


def test_the_area_is_the_mean_risk_over_all_coverages():
    found = random_predictions(4)
    told = risk_coverage(found, CONFIG)
    order = np.argsort(-found.probabilities.max(axis=1), kind="stable")
    wrong = (found.predicted != found.label)[order]
    mean = np.mean([wrong[: n + 1].mean() for n in range(len(wrong))])
    assert told.area.value == pytest.approx(mean)
    assert told.best_area <= told.area.value and told.area.low <= mean <= told.area.high


def test_a_sample_of_weight_two_counts_as_two_samples():
    rng = np.random.default_rng(0)
    wrong, weights = rng.integers(0, 2, 40).astype(float), rng.integers(0, 3, 40)
    repeated = np.repeat(wrong, weights)
    ends = np.unique(np.cumsum(weights)[weights > 0])  # coverages that split no repeated sample
    risks, _ = _risks(weights[np.newaxis].astype(float), wrong, ends / weights.sum())
    np.testing.assert_allclose(risks[0], [repeated[:end].mean() for end in ends])


def test_one_family_gives_no_interval():
    classes = np.array([1, 2])
    found = predictions(np.array([1, 2, 1]), np.eye(2)[[0, 0, 1]] * 3, classes, family=["f"] * 3)
    told = risk_coverage(found, CONFIG, points=3)
    assert (told.low == 0).all() and (told.high == 1).all()
