"""Answers that a second stage learns on top of a network that the first one trained: pairs or levels of classes.

Both look at what the network's last layer is given. Where that layer sees each pattern by itself, so do they, and the
probabilities of a crystal are the means over its patterns.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from sgexp.learning.losses.base import Loss
from sgexp.learning.models.heads import FeatureTap, head_of

_TINY = 1e-30  # a probability that is 0 has a logarithm after all


class Second(nn.Module):
    """What answers in the second stage: (logits (B, K), features (B, C, F)) -> log-probabilities (B, K)."""

    def begin(self, head: nn.Module) -> None:
        """Get ready for the second stage, with the last layer that the first one trained."""


def distributed() -> bool:
    """Say whether gradients are gathered from several processes, which wait for those of all parameters."""
    return torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()


def silent(*unused: Tensor) -> Tensor:
    """Return 0 with a gradient of 0 for each of them."""
    return 0.0 * torch.stack([part.sum() for part in unused]).sum()


class SecondAnswer(nn.Module):
    """A network whose own answers count in the first stage, and those of ``second`` from ``begin`` on.

    Which of the two answers is kept with the weights.
    """

    def __init__(self, network: nn.Module, second: Second) -> None:
        super().__init__()
        self.network, self.second = network, second
        self.patterns = getattr(network, "patterns", "stacked")
        self.begun = False
        self._tap = FeatureTap(network)

    @property
    def head(self) -> nn.Module:
        """The network's own last layer."""
        return head_of(self.network)

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return logits (B, K) of patterns (B, C, H, W)."""
        logits_BK = self.network(patterns_BCHW)
        if not self.begun:
            return logits_BK + silent(*self.second.parameters()) if distributed() else logits_BK
        answer_BK = self.second(logits_BK.float(), self.features(len(patterns_BCHW)))
        return answer_BK + silent(logits_BK) if distributed() else answer_BK

    def features(self, batch: int) -> Tensor:
        """Return what the last layer was given in the latest forward pass, (B, C, F); C is 1 where patterns had met."""
        return self._tap.each(batch).float()

    def begin(self) -> None:
        """Let the second answer count."""
        self.second.begin(self.head)
        self.begun = True

    def get_extra_state(self) -> Tensor:
        """Return, for the checkpoint, which answer counts."""
        return torch.tensor(self.begun)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with it."""
        self.begun = bool(state)


class PairFlow(Second):
    """Probability flow: two-class answers for every pair of classes, recombined with the network's own probabilities.

    J. Pan, "Probability Flow for Classifying Crystallographic Space Groups", SMC 2020, CCIS 1315,
    doi:10.1007/978-3-030-63393-6, and its code, github.com/jinpan/smc_challenge2. Among the ``top`` likeliest classes,
    probability p_i flows from class i to class j as far as the pair's classifier is for j: p <- (1 - flow) p + flow p M
    with M_ij = P(j over i) / (top - 1) and rows that sum to 1, so that the top's whole probability is kept. Pairs that
    agree with p, P(j over i) = p_j / (p_i + p_j), leave it as it is.

    There, K (K - 1) / 2 networks are trained (26,335 for 230 classes; 19,900 for SMC-19's 200). Here, they share the
    encoder, and each pair has a linear unit of its own on its features: P(i over j) = sigmoid(u_ij . h + b_ij). A unit
    begins as the difference of the two classes' rows of the last layer, where it says what the network says.

    Parameters
    ----------
    n_features, n_classes : of the network's last layer.
    top : likeliest classes among which probability flows, >= 2; 0: all of them.
    flow : share of the probability that flows in a round, 0..1.
    rounds : how often it flows.
    """

    def __init__(self, n_features: int, n_classes: int, *, top: int, flow: float, rounds: int) -> None:
        super().__init__()
        self.top = n_classes if top == 0 else min(top, n_classes)
        self.flow, self.rounds = flow, rounds
        first_P, second_P = torch.triu_indices(n_classes, n_classes, 1).unbind(0)
        pair_KK = torch.zeros(n_classes, n_classes, dtype=torch.int64)
        sign_KK = torch.zeros(n_classes, n_classes)
        pair_KK[first_P, second_P] = pair_KK[second_P, first_P] = torch.arange(len(first_P), device=first_P.device)
        sign_KK[first_P, second_P], sign_KK[second_P, first_P] = 1.0, -1.0
        self.pair: Tensor
        self.sign: Tensor
        self.register_buffer("pair", pair_KK, persistent=False)
        self.register_buffer("sign", sign_KK, persistent=False)
        self.units = nn.Linear(n_features, len(first_P))

    @torch.no_grad()
    def begin(self, head: nn.Module) -> None:
        """Make each unit the difference of two classes' rows of a linear last layer; leave them where it is another."""
        if not isinstance(head, nn.Linear):
            return
        n_classes = len(self.pair)
        first_P, second_P = torch.triu_indices(n_classes, n_classes, 1, device=self.pair.device).unbind(0)
        self.units.weight.copy_(head.weight[first_P] - head.weight[second_P])
        bias_K = torch.zeros(n_classes, device=self.pair.device) if head.bias is None else head.bias
        self.units.bias.copy_(bias_K[first_P] - bias_K[second_P])

    def forward(self, logits_BK: Tensor, features_BCF: Tensor) -> Tensor:
        """Return the logarithms of the recombined probabilities, (B, K)."""
        probabilities_BK = logits_BK.softmax(-1)
        p_BT, top_BT = probabilities_BK.topk(self.top, dim=-1)
        over_BTT = self._over(features_BCF, top_BT)
        for _ in range(self.rounds):
            p_BT = flowed(p_BT, over_BTT, self.flow)
        return probabilities_BK.scatter(1, top_BT, p_BT).clamp(min=_TINY).log()

    def _over(self, features_BCF: Tensor, top_BT: Tensor) -> Tensor:
        """Return P(i over j) of the top classes of each sample, (B, T, T), the mean over patterns; 1/2 at i = j."""
        rows_BTT, columns_BTT = top_BT[:, :, None], top_BT[:, None, :]
        pair_BTT, sign_BTT = self.pair[rows_BTT, columns_BTT], self.sign[rows_BTT, columns_BTT]
        if self.top == len(self.pair):
            scores_BCP = self.units(features_BCF)
            shape = (*scores_BCP.shape[:2], *pair_BTT.shape[1:])
            scores_BCTT = scores_BCP.gather(2, pair_BTT.flatten(1)[:, None].expand(-1, shape[1], -1)).reshape(shape)
        else:
            scores_BCTT = torch.einsum("bcf,bijf->bcij", features_BCF, self.units.weight[pair_BTT])
            scores_BCTT = scores_BCTT + self.units.bias[pair_BTT][:, None]
        return (sign_BTT[:, None] * scores_BCTT).sigmoid().mean(1)

    def each(self, features_BCF: Tensor, labels_B: Tensor) -> Tensor:
        """Return each sample's mean loss, -log P(label over another), over the other classes and patterns, (B,)."""
        scores_BCP = self.units(features_BCF)
        pair_BCK = self.pair[labels_B][:, None].expand(-1, scores_BCP.shape[1], -1)
        margin_BCK = self.sign[labels_B][:, None] * scores_BCP.gather(2, pair_BCK)
        other_BK = torch.arange(len(self.pair), device=labels_B.device) != labels_B[:, None]
        return (F.softplus(-margin_BCK).mean(1) * other_BK).sum(1) / max(1, len(self.pair) - 1)


def flowed(p_BT: Tensor, over_BTT: Tensor, flow: float) -> Tensor:
    """Return probabilities (B, T) after a share ``flow`` of them went one round; ``over`` is P(i over j), (B, T, T)."""
    count = p_BT.shape[-1]
    if count < 2:
        return p_BT
    off = 1.0 - torch.eye(count, device=p_BT.device)
    moved_BTT = over_BTT.transpose(-1, -2) * off / (count - 1)
    flown_BT = p_BT * (1.0 - moved_BTT.sum(-1)) + (p_BT[:, None] @ moved_BTT)[:, 0]
    return torch.lerp(p_BT, flown_BT, flow)


class PairLoss(Loss):
    """The loss of the pairs that a sample's class is in; with classes drawn evenly, each pair's two count alike.

    (The published entry weighs the two classes of each pair by their frequency instead, which is the same on average.)
    """

    def __init__(self, network: SecondAnswer) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple, so that the network is not a part of the loss

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the loss of each sample, (B,); pairs are asked about the features of the latest forward pass."""
        (network,) = self._network
        assert isinstance(network.second, PairFlow)
        losses_B = network.second.each(network.features(len(labels_B)), labels_B)
        return losses_B + silent(logits_BK) if distributed() else losses_B


class TrickleDown(Second):
    """Levels of classes: each level names its own classes or hands a sample down to the next one.

    S. Dash & A. Dasgupta, "Towards a Universal Classifier for Crystallographic Space Groups: A Trickle-Down Approach to
    Handle Data Imbalance", SMC 2020, CCIS 1315, doi:10.1007/978-3-030-63393-6_31 (its abstract: what a level misses is
    forwarded to the next). Classes are sorted by their number of training samples, so that those of a level are about
    as frequent. A class of level l has the probability P_1(rest) ... P_{l-1}(rest) P_l(class), which sum to 1 over all
    classes; its logarithm is the sum of the levels', so that cross-entropy trains each level on the samples that reach
    it. There, each level is a network; here, they share the encoder, and each has a linear layer of its own.

    Parameters
    ----------
    n_features, n_classes : of the network's last layer.
    per_level : classes of a level, >= 1; the last one has those that are left.
    """

    def __init__(self, n_features: int, n_classes: int, *, per_level: int) -> None:
        super().__init__()
        self.sizes = [min(per_level, n_classes - start) for start in range(0, n_classes, per_level)]
        self.levels = nn.Linear(n_features, n_classes + len(self.sizes) - 1)
        self.place: Tensor
        self.register_buffer("place", torch.arange(n_classes))

    def sort_by(self, class_counts: ArrayLike) -> None:
        """Put frequent classes into the first levels; equal ones in the order of their index."""
        order = torch.as_tensor(class_counts).argsort(descending=True, stable=True)
        self.place.copy_(order.argsort())

    def forward(self, logits_BK: Tensor, features_BCF: Tensor) -> Tensor:
        """Return log-probabilities (B, K), the mean of probabilities over patterns."""
        outputs_BCO = self.levels(features_BCF)
        handed_BC1 = torch.zeros_like(outputs_BCO[..., :1])
        parts, start = [], 0
        for level, size in enumerate(self.sizes):
            rest = level + 1 < len(self.sizes)
            log_p = outputs_BCO[..., start : start + size + rest].log_softmax(-1)
            parts.append(handed_BC1 + log_p[..., :size])
            if rest:
                handed_BC1 = handed_BC1 + log_p[..., size:]
            start += size + rest
        log_p_BCK = torch.cat(parts, -1)[..., self.place]
        return log_p_BCK.logsumexp(1) - math.log(log_p_BCK.shape[1])
