import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from sgexp.errors import ConfigError
from sgexp.evaluation.baselines import BASELINES, baseline, majority, nearest_neighbour, radial_linear, radial_profile
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.schema import BASELINES as NAMES
from sgexp.evaluation.schema import EvaluationConfig

from .examples import predictions

CLASSES = np.array([2, 14, 62, 148, 225])


def samples(seed, n=300, n_features=20):
    rng = np.random.default_rng(seed)
    labels = rng.choice([2, 14, 62, 225], n, p=[0.1, 0.5, 0.3, 0.1])  # 148 is never trained on
    features = rng.normal(size=(n, n_features)).astype(np.float32) + 5
    features += 0.5 * np.random.default_rng(99).normal(size=(231, n_features))[labels].astype(np.float32)
    return features, labels


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_baseline_scores_every_class_and_never_prefers_an_untrained_one(name):
    (train, labels), (test, _) = samples(0), samples(1)
    scores = baseline(name).scores(train, labels, test, CLASSES)
    assert scores.shape == (len(test), len(CLASSES))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (scores.argmin(axis=1) == 3).all()


def test_the_majority_always_answers_the_most_frequent_group():
    (train, labels), (test, _) = samples(0), samples(1)
    scores = majority(train, labels, test, CLASSES)
    assert (CLASSES[scores.argmax(axis=1)] == 14).all()
    np.testing.assert_allclose(np.exp(scores[0]), [np.mean(labels == group) for group in CLASSES], atol=1e-6)


def test_the_nearest_neighbour_is_that_of_scikit_learn():
    (train, labels), (test, _) = samples(0), samples(1, n=1500)  # more than one block
    scores = nearest_neighbour(train, labels, test, CLASSES)
    theirs = KNeighborsClassifier(1).fit(train, labels).predict(test)
    assert (CLASSES[scores.argmax(axis=1)] == theirs).all()
    distance = np.linalg.norm(train[labels == 62] - test[7], axis=1).min()
    assert scores[7, 2] == pytest.approx(-distance, rel=1e-4)


def test_the_radial_classifier_is_scikit_learns_logistic_regression():
    (train, labels), (test, _) = samples(0), samples(1)
    scores = radial_linear(train, labels, test, CLASSES)
    scaler = StandardScaler().fit(train.astype(float))
    model = LogisticRegression(max_iter=200).fit(scaler.transform(train.astype(float)), labels)
    theirs = model.predict_log_proba(scaler.transform(test.astype(float)))
    np.testing.assert_allclose(scores[:, [0, 1, 2, 4]], theirs, atol=1e-4)


def test_training_groups_outside_the_classes_are_left_out():
    (train, labels), (test, _) = samples(0), samples(1)
    for name in ("nearest_neighbour", "radial_linear"):
        whole = baseline(name).scores(train, labels, test, CLASSES)
        part = baseline(name).scores(train, labels, test, CLASSES[1:])
        np.testing.assert_array_equal(part, whole[:, 1:])


def test_one_trained_group_is_always_answered():
    train, test = samples(0)[0], samples(1)[0]
    for entry in BASELINES.values():
        scores = entry.scores(train, np.full(len(train), 62), test, CLASSES)
        assert (CLASSES[scores.argmax(axis=1)] == 62).all()


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_is_evaluated_as_a_network_is(name):
    (train, labels), (test, test_labels) = samples(0), samples(1)
    entry = baseline(name)
    scores = entry.scores(train, labels, test, CLASSES)
    network = predictions(test_labels, np.zeros((len(test), len(CLASSES))), CLASSES)
    found = evaluate(network.answered_by(scores), {}, EvaluationConfig(resamples=100), entry.probabilistic).metrics
    assert found["top1"].value == np.mean(CLASSES[scores.argmax(axis=1)] == test_labels)
    assert ("ece" in found) == (name != "nearest_neighbour")


def test_an_unknown_baseline_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'majority'"):
        baseline("majorit")
    assert list(BASELINES) == list(NAMES) == EvaluationConfig().baselines


@pytest.mark.parametrize(("size", "bins"), [(16, None), (64, None), (63, 20), (32, 7)])
def test_the_radial_profile_is_the_mean_over_rings(size, bins):
    patterns = np.random.default_rng(size).random((2, 3, size, size), dtype=np.float32)
    profile = radial_profile(patterns, bins)
    n = bins or size // 2
    assert profile.shape == (2, 3 * n)
    offset = np.arange(size) - (size - 1) / 2
    ring = (np.hypot(offset[:, np.newaxis], offset) / (size / 2) * n).astype(int)
    wanted = ndimage.mean(patterns[1, 2].astype(float), ring, np.arange(n))
    np.testing.assert_allclose(profile[1, -n:], wanted, rtol=1e-4)


def test_the_radial_profile_does_not_see_turns_and_mirrors():
    patterns = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    for turned in (np.rot90(patterns, axes=(2, 3)), patterns[..., ::-1]):
        np.testing.assert_allclose(radial_profile(turned), radial_profile(patterns), rtol=1e-5)
