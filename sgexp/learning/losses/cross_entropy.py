"""Cross-entropy, plain and with weights on samples: by class, by effective number, by difficulty."""

from __future__ import annotations

import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from sgexp.learning.losses.base import Loss, effective_number_weights, power_weights, smoothed


class CrossEntropy(Loss):
    """-log softmax(logits)[label], with the target smoothed towards uniform by ``label_smoothing``."""

    def __init__(self, label_smoothing: float, *, class_counts: ArrayLike | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")

    def forward(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the mean over the batch, by torch's own sum."""
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing)


class Weighted(Loss):
    """Cross-entropy with each sample weighted by (drawn share of its class)^-power, mean weight 1 over the draws."""

    def __init__(self, power: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.weights: Tensor
        self.register_buffer("weights", power_weights(class_counts, power), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the weighted loss of each sample, (B,)."""
        losses = F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")
        return self.weights[labels_B] * losses


class Focal(Loss):
    """The focal loss -(1 - p)^gamma log p of the label's probability p: what is known already counts for less.

    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002, eq. 4, with the softmax's
    probability. It knows nothing of frequencies. A smoothed target is the mean of its labels' losses.
    """

    def __init__(self, gamma: float, label_smoothing: float, *, class_counts: ArrayLike | None = None) -> None:
        super().__init__()
        self.gamma, self.label_smoothing = gamma, label_smoothing

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        logp_BK = F.log_softmax(logits_BK, dim=1)
        losses_BK = -_missing(logp_BK).pow(self.gamma) * logp_BK
        if self.label_smoothing == 0:
            return losses_BK.gather(1, labels_B[:, None])[:, 0]
        return (smoothed(labels_B, logits_BK.shape[1], self.label_smoothing) * losses_BK).sum(1)


class ClassBalanced(Loss):
    """The focal loss (cross-entropy where gamma is 0) weighted by (1 - beta) / (1 - beta^n), n draws of the class.

    Cui et al. 2019 (see ``effective_number_weights``), with the softmax.
    """

    def __init__(self, beta: float, gamma: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.term: Loss = Focal(gamma, label_smoothing) if gamma else CrossEntropy(label_smoothing)
        self.weights: Tensor
        self.register_buffer("weights", effective_number_weights(class_counts, beta), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the weighted loss of each sample, (B,)."""
        return self.weights[labels_B] * self.term.each(logits_BK, labels_B)


def _missing(logp_BK: Tensor) -> Tensor:
    """Return 1 - p; never quite 0, where a power below 1 would have an infinite slope."""
    return -(logp_BK.clamp(max=-1e-7)).expm1()
