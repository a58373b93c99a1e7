"""The influence-balanced loss: first plain training, then samples that bend the decision boundary count for less."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from sgexp.learning.losses.base import Loss, counts_of, smoothed

EPSILON = 1e-3  # keeps the weight of a sample that is known perfectly finite, as in the authors' code


class InfluenceBalanced(Loss):
    """Cross-entropy, divided from ``start`` on by each sample's influence ||p - y||_1 ||h||_1, times a class weight.

    S. Park et al., "Influence-Balanced Loss for Imbalanced Visual Classification", ICCV 2021, arXiv:2110.02444, eqs. 8
    to 10: p are the probabilities, y the (smoothed) target, h the features before the last layer, so the product is the
    L1 norm of the gradient of that layer's weights. Class weights are proportional to 1 / n with mean 1 over the
    classes, all times ``alpha``. The weight carries no gradient: it says how much a sample counts, not what to learn.
    """

    needs_features = True

    def __init__(self, alpha: float, start: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.alpha, self.start, self.label_smoothing = alpha, start, label_smoothing
        counts = counts_of(class_counts)
        inverse = torch.where(counts > 0, 1.0 / counts.clamp(min=1), 0.0)
        self.weights: Tensor
        self.register_buffer("weights", (inverse * (counts > 0).sum() / inverse.sum()).float(), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        losses = F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")
        if self.progress < self.start:
            return losses
        assert features_BF is not None, "this loss needs features"
        with torch.no_grad():
            target_BK = smoothed(labels_B, logits_BK.shape[1], self.label_smoothing)
            influence_B = (logits_BK.softmax(1) - target_BK).abs().sum(1) * features_BF.float().abs().sum(1)
            weight_B = self.weights[labels_B] * self.alpha / (influence_B + EPSILON)
        return weight_B * losses
