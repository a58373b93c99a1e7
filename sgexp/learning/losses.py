"""What training minimises. Frequencies are those of the *drawn* classes, so that no resampler is corrected twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """-log softmax(logits)[label], with the target smoothed towards uniform by ``label_smoothing``."""

    def __init__(self, label_smoothing: float, *, class_counts: ArrayLike | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing)


class Weighted(nn.Module):
    """Cross-entropy with each sample weighted by (drawn share of its class)^-power, mean weight 1 over the draws.

    The weighted losses are divided by the number of samples, not by the sum of their weights: then the gradient of a
    batch is the mean of its parts' gradients, however it is shared among devices.
    """

    def __init__(self, power: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        weights = torch.where(counts > 0, counts.clamp(min=1).pow(-power), 0.0)
        self.weights: Tensor
        self.register_buffer("weights", (weights * counts.sum() / (weights * counts).sum()).float(), persistent=False)

    def forward(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the mean over the batch."""
        losses = F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")
        return (self.weights[labels_B] * losses).mean()


class LogitAdjusted(nn.Module):
    """Cross-entropy of logits + tau log(drawn class frequency).

    A. K. Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv:2007.07314, eq. 10. The network's
    own logits then aim at the balanced error: predicting adds nothing. Classes never drawn count as half a draw.
    """

    def __init__(self, tau: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        counts = torch.as_tensor(class_counts, dtype=torch.float64).clamp(min=0.5)
        self.adjustment: Tensor
        self.register_buffer("adjustment", (tau * (counts / counts.sum()).log()).float(), persistent=False)

    def forward(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(logits_BK + self.adjustment, labels_B, label_smoothing=self.label_smoothing)
