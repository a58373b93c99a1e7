"""A fitted temperature is the one that was put in, and the one scikit-learn finds; levels add up and nest."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from sgexp.errors import DataError
from sgexp.evaluation.calibration import (
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.schema import EvaluationConfig

from .examples import confident, predictions, random_predictions

CLASSES = np.array([2, 14, 62, 166, 225])


def overconfident(temperature, n=20_000, seed=0):
    """Answers whose labels were drawn from their own probabilities, before the logits were multiplied."""
    rng = np.random.default_rng(seed)
    true = 2.0 * rng.normal(size=(n, len(CLASSES)))
    p = np.exp(log_softmax(true, axis=1))
    columns = (rng.random(n)[:, None] > p.cumsum(1)).sum(1)
    return predictions(CLASSES[columns], true * temperature, CLASSES)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    made = overconfident(temperature)
    assert fit_temperature(made).value == pytest.approx(temperature, rel=0.03)


def test_it_is_the_temperature_that_scikit_learn_fits():
    made = random_predictions(seed=3, n_families=400, skill=3.0)
    columns = np.searchsorted(made.classes, made.label)

    class Logits(ClassifierMixin, BaseEstimator):
        """Answers with the logits that it is handed as features."""

        def fit(self, features, labels):
            self.classes_ = np.arange(len(made.classes))
            return self

        def decision_function(self, features):
            return features

        def predict(self, features):
            return features.argmax(1)

    peer = CalibratedClassifierCV(FrozenEstimator(Logits().fit(None, None)), method="temperature", ensemble=False)
    labels = np.concatenate([columns, np.arange(len(made.classes))])  # it must meet each class
    every = predictions(made.classes[labels], np.concatenate([made.logits, np.eye(len(made.classes))]), made.classes)
    probabilities = peer.fit(every.logits.astype(np.float64), labels).predict_proba(every.logits.astype(np.float64))
    ours = at_temperature(every, fit_temperature(every).value).probabilities
    np.testing.assert_allclose(ours, probabilities, atol=2e-4)


def test_the_likelihood_is_scikit_learns_log_loss():
    made = random_predictions(seed=1)
    expected = log_loss(made.label, made.probabilities, labels=made.classes)
    assert negative_log_likelihood(made) == pytest.approx(expected, rel=1e-5)


def test_it_lowers_likelihood_and_calibration_error_and_moves_no_class():
    fitted, judged = overconfident(4.0, seed=1), overconfident(4.0, seed=2)
    after = at_temperature(judged, fit_temperature(fitted).value)
    assert negative_log_likelihood(after) < negative_log_likelihood(judged)
    assert expected_calibration_error(after, 15) < 0.02 < 0.2 < expected_calibration_error(judged, 15)
    assert (after.predicted == judged.predicted).all()


def test_the_calibration_error_is_the_one_of_the_results_table():
    made = random_predictions(seed=5)
    figures = evaluate(made, {}, EvaluationConfig(resamples=100))
    assert expected_calibration_error(made, 15) == pytest.approx(figures.metrics["ece"].value)


def test_reliability_gives_the_calibration_error_back():
    made = random_predictions(seed=6)
    samples, confidence, right = reliability(made, 15)
    filled = samples > 0
    error = np.sum(samples[filled] * np.abs(confidence - right)[filled]) / samples.sum()
    assert samples.sum() == len(made) and error == pytest.approx(expected_calibration_error(made, 15))


def test_samples_of_unknown_groups_say_nothing_about_the_temperature():
    made = overconfident(2.0, n=2000)
    label = made.label.copy()
    label[::2] = 230
    mixed = predictions(label, made.logits, CLASSES)
    assert fit_temperature(mixed) == fit_temperature(mixed.take(label != 230))
    assert fit_temperature(mixed).samples == 1000


def test_where_validation_sets_no_temperature_it_says_so():
    right = fit_temperature(confident(CLASSES, CLASSES, CLASSES))
    assert right.value == 1.0 and "all of validation is right" in right.note
    wrong = fit_temperature(confident(CLASSES, np.roll(CLASSES, 1), CLASSES))
    assert 40 < wrong.value <= 50 and "chance" in wrong.note


def test_without_validation_samples_the_temperature_is_one():
    found = fit_temperature(confident([], [], CLASSES))
    assert found.value == 1.0 and found.samples == 0 and found.note


def test_a_diverged_network_is_told():
    made = predictions([2], [[np.nan] * 5], CLASSES)
    with pytest.raises(DataError, match="diverged"):
        fit_temperature(made)
