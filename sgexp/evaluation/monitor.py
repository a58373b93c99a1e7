"""The figures that training watches: cheap, on class indices and logits, without intervals."""

from __future__ import annotations

import numpy as np

NEVER = int(np.iinfo(np.int64).max)  # the rank of a class that cannot be answered


def top_k(labels_N: np.ndarray, logits_NK: np.ndarray, k: int) -> float:
    """Return the share of samples whose class is among the ``k`` largest logits (``labels_N`` are columns)."""
    return float(np.mean(label_rank(labels_N, logits_NK) < k))


def top1(labels_N: np.ndarray, logits_NK: np.ndarray) -> float:
    """Return the share of samples whose class has the largest logit."""
    return top_k(labels_N, logits_NK, 1)


def top5(labels_N: np.ndarray, logits_NK: np.ndarray) -> float:
    """Return the share of samples whose class is among the five largest logits."""
    return top_k(labels_N, logits_NK, 5)


def label_rank(labels_N: np.ndarray, logits_NK: np.ndarray) -> np.ndarray:
    """Return how many classes come before the true one, (N,) int64; ``NEVER`` for a label of -1 (no column).

    Of equal logits the first column comes first, as in ``argmax``. A logit that is not a number comes before all
    others, so that a diverged network is never right by accident.
    """
    known = labels_N >= 0
    own_N1 = np.take_along_axis(logits_NK, np.where(known, labels_N, 0)[:, np.newaxis], axis=1)
    before = ~(logits_NK <= own_N1)  # larger, or either of the two not a number
    tied_earlier = (logits_NK == own_N1) & (np.arange(logits_NK.shape[1]) < labels_N[:, np.newaxis])
    rank = np.count_nonzero(before | tied_earlier, axis=1)
    return np.where(known & np.isfinite(own_N1[:, 0]), rank, NEVER)


def macro_f1(labels_N: np.ndarray, predicted_N: np.ndarray) -> float:
    """Return F1 averaged over the classes present among the labels: F1_c = 2 TP_c / (samples of c + predicted as c).

    A class that is predicted but absent is not averaged over; its samples are misses of their own classes.
    """
    present, label_index = np.unique(labels_N, return_inverse=True)
    support = np.bincount(label_index, minlength=len(present))
    hits = np.bincount(label_index[labels_N == predicted_N], minlength=len(present))
    at = np.searchsorted(present, predicted_N).clip(max=len(present) - 1)
    predicted = np.bincount(at[present[at] == predicted_N], minlength=len(present))
    return float(np.mean(2 * hits / (support + predicted)))
