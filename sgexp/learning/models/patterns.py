"""Three patterns, one crystal, one answer: as the channels of one picture, or through one encoder that all share."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Encoder(nn.Module):
    """A network from pictures (N, C, H, W) to feature vectors (N, n_features)."""

    n_features: int


class PatternClassifier(nn.Module):
    """An encoder and a linear head over the patterns of a crystal.

    Parameters
    ----------
    encoder : takes ``n_patterns`` channels when stacked, one when shared.
    n_classes : length of the answer.
    patterns : "stacked", the patterns are channels of one picture; "shared", each is a picture of its own and the
        encoder sees all of them, so it learns from three times as many pictures, whatever their order.
    pool : for shared patterns, average their "features" before the head, their "logits" after it, or the
        "probabilities" of their softmax, whose logarithm is then the answer.
    dropout : probability that a feature is dropped before the head.
    """

    def __init__(
        self,
        encoder: Encoder,
        n_classes: int,
        *,
        patterns: str = "stacked",
        pool: str = "features",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.patterns, self.pool = encoder, patterns, pool
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.n_features, n_classes)

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return logits (B, K) of patterns (B, C, H, W)."""
        if self.patterns == "stacked":
            return self.head(self.dropout(self.encoder(patterns_BCHW)))
        batch, count, height, width = patterns_BCHW.shape
        features = self.encoder(patterns_BCHW.reshape(batch * count, 1, height, width))
        if self.pool == "features":
            return self.head(self.dropout(features.unflatten(0, (batch, count)).mean(1)))
        logits = self.head(self.dropout(features)).unflatten(0, (batch, count))
        if self.pool == "logits":
            return logits.mean(1)
        return logits.log_softmax(-1).logsumexp(1) - math.log(count)


def in_channels(patterns: str, n_patterns: int) -> int:
    """Return how many channels the encoder sees."""
    return n_patterns if patterns == "stacked" else 1


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Return batch normalisation, or group normalisation (Wu & He 2018), whose result no other sample can change."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    groups = next(count for count in (32, 16, 8, 4, 2, 1) if channels % count == 0 and channels // count >= 4)
    return nn.GroupNorm(groups, channels)


def initialise(network: nn.Module) -> None:
    """Draw convolution weights as He et al. 2015 (arXiv:1502.01852) do for rectifiers, from torch's generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers training can change."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
