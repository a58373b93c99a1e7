"""The default network: a thin residual network with an early-shrinking stem, made to train on two CPU cores.

Built from the blocks of ``resnet.py`` (variant "d"). The first convolution has stride 2 and few channels, because on a
CPU most of the time of a usual stem goes into full-resolution pictures.
"""

from __future__ import annotations

from torch import Tensor, nn

from sgexp.learning.models.patterns import Encoder, PatternClassifier, in_channels, initialise
from sgexp.learning.models.resnet import ConvNorm, Residual


class SmallEncoder(Encoder):
    """Stem at half resolution, then four stages of residual blocks with width, 2, 4 and 8 times width channels.

    The first stage halves the picture too, so 64 x 64 pixels become 16, 8, 4 and 2 pixels wide.
    """

    def __init__(self, channels: int, width: int = 24, blocks: int = 1, norm: str = "batch") -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(channels, width, 5, 2, norm=norm)]
        n_in = width
        for stage in range(4):
            n_out = width * 2**stage
            for index in range(blocks):
                stride = 2 if index == 0 else 1
                layers.append(Residual(n_in, n_out, stride, bottleneck=False, variant="d", norm=norm))
                n_in = n_out
        self.layers = nn.Sequential(*layers)
        self.n_features = n_in
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features (N, n_features), averaged over the picture."""
        return self.layers(x_NCHW).mean((-2, -1))


def small_net(
    width: int,
    blocks: int,
    norm: str,
    dropout: float,
    patterns: str,
    pool: str,
    *,
    n_classes: int,
    n_patterns: int = 3,
) -> PatternClassifier:
    """Return a classifier of stacks of patterns with the small encoder."""
    encoder = SmallEncoder(in_channels(patterns, n_patterns), width, blocks, norm)
    return PatternClassifier(encoder, n_classes, patterns=patterns, pool=pool, dropout=dropout)
