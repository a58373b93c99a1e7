"""Cross-entropy of logits that were moved first, so that a class has to win by more, or by less, than its frequency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from sgexp.learning.losses.base import Loss, counts_of


class LogitAdjusted(Loss):
    """Cross-entropy of logits + tau log(drawn class frequency).

    A. K. Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv:2007.07314, eq. 10. The network's
    own logits then aim at the balanced error: predicting adds nothing. Classes never drawn count as half a draw.
    """

    def __init__(self, tau: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        counts = counts_of(class_counts, least=0.5)
        self.adjustment: Tensor
        self.register_buffer("adjustment", (tau * (counts / counts.sum()).log()).float(), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        moved_BK = logits_BK + self.adjustment
        return F.cross_entropy(moved_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")

    def forward(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the mean over the batch, by torch's own sum."""
        return F.cross_entropy(logits_BK + self.adjustment, labels_B, label_smoothing=self.label_smoothing)


class BalancedSoftmax(LogitAdjusted):
    """-log (n_y exp z_y / sum_j n_j exp z_j) with n_j draws of class j.

    J. Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, arXiv:2007.10740, eq. 3.
    It is the logit-adjusted loss with tau = 1, found in another way in the same year.
    """

    def __init__(self, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__(1.0, label_smoothing, class_counts=class_counts)


class LDAM(Loss):
    """Cross-entropy with a margin that the label's cosine must win by: larger for rarer classes.

    K. Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
    arXiv:1906.07413, eq. 13: margin_j = C / n_j^(1/4), with C so that the largest is ``margin``. The logits must be
    ``scale`` times cosines, which ``CosineHead`` sees to, as there (sect. 3.2 and appendix).
    """

    def __init__(self, margin: float, scale: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        counts = counts_of(class_counts)
        roots = counts.clamp(min=1).pow(-0.25)
        largest = roots[counts > 0].max()
        self.margins: Tensor
        self.register_buffer("margins", (scale * margin * (roots / largest).clamp(max=1)).float(), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        own_BK = F.one_hot(labels_B, logits_BK.shape[1])
        moved_BK = logits_BK - own_BK * self.margins[labels_B, None]
        return F.cross_entropy(moved_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")


class Seesaw(Loss):
    """Cross-entropy in which a frequent label y pushes a rarer class j down less, and a mistaken one more.

    J. Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", CVPR 2021, arXiv:2008.10032, eqs. 3-7:
    exp z_j counts S_yj times, S_yj = M_yj C_yj, with the mitigation M_yj = min(1, (n_j / n_y)^p) and the compensation
    C_yj = max(1, (s_j / s_y)^q) of the probabilities s, which carry no gradient. Counts are those of the plan, known
    from the start, not gathered while training.
    """

    def __init__(self, p: float, q: float, label_smoothing: float, *, class_counts: ArrayLike) -> None:
        super().__init__()
        self.q, self.label_smoothing = q, label_smoothing
        log_n = counts_of(class_counts, least=0.5).log()
        mitigation_KK = (p * (log_n[None, :] - log_n[:, None])).clamp(max=0.0)
        self.log_mitigation: Tensor
        self.register_buffer("log_mitigation", mitigation_KK.float(), persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,)."""
        with torch.no_grad():
            ahead_BK = logits_BK - logits_BK.gather(1, labels_B[:, None])  # log s_j - log s_y
            log_factor_BK = self.log_mitigation[labels_B] + self.q * ahead_BK.clamp(min=0.0)
        moved_BK = logits_BK + log_factor_BK
        return F.cross_entropy(moved_BK, labels_B, label_smoothing=self.label_smoothing, reduction="none")
