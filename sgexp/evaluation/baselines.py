"""What stands beside every score: three classifiers that know nothing of networks, answering in the same form.

Each takes features and labels of training samples and features of test samples and returns scores (N, K) over the same
classes, so that ``evaluate`` treats them as it treats a network. A class without training samples scores lowest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgexp.errors import ConfigError, did_you_mean

LOWEST = -1e9  # the score of a class that was never trained on: finite, below every other
BLOCK = 1024  # test samples compared at once: bounds the memory of distances

Scores = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """``features``: "none", "pooled" (pooled patterns) or "radial" (``radial_profile``); ``scores`` as the module says.

    ``probabilistic``: the softmax of the scores is meant as a probability, so that a calibration error has a meaning.
    """

    features: str
    scores: Scores
    probabilistic: bool


def majority(
    features_train: np.ndarray, labels_train: np.ndarray, features_test: np.ndarray, classes_K: np.ndarray
) -> np.ndarray:
    """Return the log frequency of each class in training for every test sample: the most frequent always wins.

    Of the features only the number of test rows counts.
    """
    counts_K = np.array([np.count_nonzero(labels_train == group) for group in classes_K])
    scores_K = np.full(len(classes_K), LOWEST)
    scores_K[counts_K > 0] = np.log(counts_K[counts_K > 0] / counts_K.sum())
    return np.tile(scores_K.astype(np.float32), (len(features_test), 1))


def nearest_neighbour(
    features_train: np.ndarray, labels_train: np.ndarray, features_test: np.ndarray, classes_K: np.ndarray
) -> np.ndarray:
    """Return minus the Euclidean distance to the nearest training sample of each class.

    The largest score is the class of the nearest neighbour; the next ones rank the other classes by their nearest.
    """
    order = np.argsort(labels_train, kind="stable")
    trained, first = np.unique(labels_train[order], return_index=True)
    train = features_train[order].astype(np.float32, copy=False)
    mean = train.mean(axis=0)  # distances do not change, rounding errors shrink
    train = train - mean
    squares_T = np.einsum("tf,tf->t", train, train)
    known, column = _columns(trained, classes_K)
    scores = np.full((len(features_test), len(classes_K)), LOWEST, np.float32)
    for start in range(0, len(features_test), BLOCK):
        block = features_test[start : start + BLOCK].astype(np.float32, copy=False) - mean
        squared = squares_T - 2 * (block @ train.T)
        nearest = np.minimum.reduceat(squared, first, axis=1) + np.einsum("bf,bf->b", block, block)[:, np.newaxis]
        scores[start : start + BLOCK, column] = -np.sqrt(nearest[:, known].clip(min=0))
    return scores


def radial_linear(
    features_train: np.ndarray, labels_train: np.ndarray, features_test: np.ndarray, classes_K: np.ndarray
) -> np.ndarray:
    """Return the log probabilities of a multinomial logistic regression on standardised features (L2, C = 1)."""
    # scikit-learn takes half a second to import: not in runs that leave this baseline out
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trained = np.unique(labels_train)
    known, column = _columns(trained, classes_K)
    scores = np.full((len(features_test), len(classes_K)), LOWEST, np.float32)
    if len(trained) == 1:
        scores[:, column] = 0
        return scores
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline needs no last digit
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # many groups of few samples
        model.fit(features_train.astype(np.float64), labels_train)
    log_probabilities = model.predict_log_proba(features_test.astype(np.float64))
    scores[:, column] = log_probabilities[:, known].clip(min=LOWEST)
    return scores


def radial_profile(patterns_BCHW: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Return the mean over rings around the centre of each pattern, (B, C * bins) float32.

    ``bins`` rings of equal width (default: one for every second pixel of the side, about a pixel wide) reach from the
    centre of the picture to its nearest edge; the corners are left out.
    """
    n, channels, height, width = patterns_BCHW.shape
    bins = bins or min(height, width) // 2
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    ring = np.floor(np.hypot(y, x) / (min(height, width) / 2) * bins).astype(int).ravel()
    inside = np.flatnonzero(ring < bins)
    weights = np.zeros((height * width, bins), np.float32)
    weights[inside, ring[inside]] = 1
    weights /= weights.sum(axis=0).clip(min=1)
    flat = patterns_BCHW.reshape(n * channels, height * width).astype(np.float32, copy=False)
    return (flat @ weights).reshape(n, channels * bins)


BASELINES: dict[str, Baseline] = {
    "majority": Baseline("none", majority, True),
    "nearest_neighbour": Baseline("pooled", nearest_neighbour, False),
    "radial_linear": Baseline("radial", radial_linear, True),
}


def baseline(name: str) -> Baseline:
    """Return the baseline with that name."""
    if name not in BASELINES:
        raise ConfigError(
            f"evaluation.baselines: there is no baseline '{name}'{did_you_mean(name, BASELINES)}; "
            f"known are {', '.join(BASELINES)}"
        )
    return BASELINES[name]


def _columns(trained: np.ndarray, classes_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the ``trained`` groups are among the classes (mask), and the columns of those."""
    column_of = {group: column for column, group in enumerate(classes_K.tolist())}
    known = np.array([group in column_of for group in trained.tolist()])
    return known, np.array([column_of[group] for group in trained[known].tolist()], dtype=np.int64)
