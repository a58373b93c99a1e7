"""What every loss of ours can do, and the class weights that several of them share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn


class Loss(nn.Module):
    """A loss is a mean over samples, whose terms (``each``) can be weighted: by a stage, or by the shares of a mixture.

    The terms are divided by the number of samples and by nothing else: then the gradient of a batch is the mean of its
    parts' gradients, however it is shared among devices.

    Attributes
    ----------
    needs_features : whether ``each`` wants what the last layer of the network is given, (B, F).
    progress : share of the training's epochs that are over; the module says so at every step.
    """

    needs_features = False
    progress = 0.0

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        raise NotImplementedError

    def forward(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the mean over the batch."""
        return self.each(logits_BK, labels_B, features_BF).mean()


def smoothed(labels_B: Tensor, n_classes: int, label_smoothing: float) -> Tensor:
    """Return the target probabilities, (B, K): the label's, with a share of it spread evenly over all classes."""
    return F.one_hot(labels_B, n_classes) * (1 - label_smoothing) + label_smoothing / n_classes


def counts_of(class_counts: ArrayLike, least: float = 0.0) -> Tensor:
    """Return how often each class is drawn as float64, (K,); a class never drawn counts as ``least``."""
    return torch.as_tensor(class_counts, dtype=torch.float64).clamp(min=least)


def power_weights(class_counts: ArrayLike, power: float) -> Tensor:
    """Return (drawn share)^-power, scaled to mean 1 over the draws, float32 (K,); 0 for classes never drawn."""
    counts = counts_of(class_counts)
    weights = torch.where(counts > 0, counts.clamp(min=1).pow(-power), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def effective_number_weights(class_counts: ArrayLike, beta: float) -> Tensor:
    """Return the class-balanced weights (1 - beta) / (1 - beta^n), scaled to mean 1 over the classes, float32 (K,).

    Y. Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv:1901.05555, eq. 3 and
    sect. 4: the weights sum to the number of classes. beta = 0: all alike; beta -> 1: inverse frequency. 0 for classes
    never drawn, which do not count as classes here.
    """
    counts = counts_of(class_counts)
    drawn = counts > 0
    # 1 - beta^n without the loss of digits that beta near 1 would bring.
    number = -torch.expm1(counts.clamp(min=1) * torch.log(torch.tensor(beta, dtype=torch.float64)))
    weights = torch.where(drawn, 1.0 / number, 0.0)
    return (weights * drawn.sum() / weights.sum()).float()
