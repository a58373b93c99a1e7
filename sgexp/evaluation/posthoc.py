"""Corrections of a trained network's answers for class frequency: one number is chosen on validation, nothing trained.

- ``logit_adjustment``: z_k - tau log(share of class k among the draws). A. K. Menon et al., "Long-tail learning via
  logit adjustment", ICLR 2021, arXiv:2007.07314, eq. 9.
- ``tau_normalisation``: the last layer's weights divided by the tau-th power of their length, w_k / ||w_k||^tau, and no
  bias. B. Kang et al., "Decoupling Representation and Classifier", ICLR 2020, arXiv:1910.09217, eq. 5. Where logits are
  w_k h + b_k this is (z_k - b_k) / ||w_k||^tau, so the features h need not be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgexp.evaluation.calibration import label_columns
from sgexp.evaluation.monitor import macro_f1
from sgexp.evaluation.predictions import Predictions

METHODS = ("logit_adjustment", "tau_normalisation")
TAUS = np.arange(41) / 20  # 0, 0.05 ... 2
Correction = Callable[[Predictions, float], Predictions]
"""(predictions, tau) -> corrected predictions."""


@dataclass(frozen=True)
class Chosen:
    """The tau with the best macro-F1 on validation, the smallest of equals, and what each tau gave there.

    ``curve`` (T,) belongs to ``TAUS``; ``plain`` is the macro-F1 without a correction.
    """

    tau: float
    samples: int
    plain: float
    curve: np.ndarray

    @property
    def best(self) -> float:
        """The macro-F1 on validation with this tau."""
        return float(self.curve.max())


def logit_adjustment(drawn_counts_K: np.ndarray) -> Correction:
    """Return the adjustment for classes drawn so often; a class never drawn counts as half a draw."""
    counts_K = np.maximum(np.asarray(drawn_counts_K, np.float64), 0.5)
    log_share_K = np.log(counts_K / counts_K.sum())
    return lambda predictions, tau: predictions.answered_by(
        predictions.logits.astype(np.float64) - tau * log_share_K[np.newaxis]
    )


def tau_normalisation(weights_KF: np.ndarray, bias_K: np.ndarray) -> Correction:
    """Return the normalisation of a last layer; lengths count relative to their geometric mean (no answer changes)."""
    log_length_K = np.log(np.maximum(np.linalg.norm(np.asarray(weights_KF, np.float64), axis=1), 1e-12))
    log_length_K -= log_length_K.mean()
    bias_K = np.asarray(bias_K, np.float64)
    return lambda predictions, tau: predictions.answered_by(
        (predictions.logits.astype(np.float64) - bias_K) * np.exp(-tau * log_length_K)
    )


def choose(correction: Correction, validation: Predictions) -> Chosen:
    """Return the tau that is best on validation."""
    columns_N = label_columns(validation)

    def score(predictions: Predictions) -> float:
        return float(macro_f1(columns_N, predictions.logits.argmax(axis=1)))

    curve = np.array([score(correction(validation, float(tau))) for tau in TAUS])
    return Chosen(float(TAUS[curve.argmax()]), len(validation), score(validation), curve)
