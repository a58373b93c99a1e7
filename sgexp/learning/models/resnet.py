"""Residual networks: ResNet-18, -34, -50 and -101.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
Variant "b" strides in the 3x3 convolution of a bottleneck, as PyTorch's own ResNet does; variant "d" (T. He et al.,
"Bag of Tricks for Image Classification", CVPR 2019, arXiv:1812.01187) also replaces the 7x7 stem by three 3x3
convolutions and strided shortcuts by average pooling. Variant "d_bare" is "d" with nothing between the stem's three
convolutions, as in the code of J. Pan, "Probability Flow for Classifying Crystallographic Space Groups", SMC 2020
(github.com/jinpan/smc_challenge2). The last normalisation of each residual branch starts at zero (Goyal et al. 2017,
arXiv:1706.02677).
"""

from __future__ import annotations

from torch import Tensor, nn

from sgexp.learning.models.patterns import Encoder, PatternClassifier, in_channels, initialise, norm_layer

STAGES: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
"""Depth -> (blocks of the four stages, whether they are bottlenecks)."""


class ConvNorm(nn.Sequential):
    """A convolution without bias, a normalisation, and (unless told) a rectifier."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int = 1, *, norm: str = "batch", activate: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False),
            norm_layer(norm, n_out),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if activate else []))


class Residual(nn.Module):
    """A residual block: x -> relu(shortcut(x) + branch(x)).

    ``bottleneck`` squeezes to ``n_mid`` channels by 1x1 convolutions around the 3x3 one and gives ``4 n_mid``.
    """

    def __init__(self, n_in: int, n_mid: int, stride: int, *, bottleneck: bool, variant: str, norm: str) -> None:
        super().__init__()
        n_out = 4 * n_mid if bottleneck else n_mid
        if bottleneck:
            self.branch = nn.Sequential(
                ConvNorm(n_in, n_mid, 1, norm=norm),
                ConvNorm(n_mid, n_mid, 3, stride, norm=norm),
                ConvNorm(n_mid, n_out, 1, norm=norm, activate=False),
            )
        else:
            self.branch = nn.Sequential(
                ConvNorm(n_in, n_mid, 3, stride, norm=norm), ConvNorm(n_mid, n_out, 3, norm=norm, activate=False)
            )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            pooled = variant != "b" and stride != 1
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if pooled else nn.Identity(),
                ConvNorm(n_in, n_out, 1, 1 if pooled else stride, norm=norm, activate=False),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output; height and width shrink by its stride."""
        return self.relu(self.branch(x_NCHW) + self.shortcut(x_NCHW))


class ResNet(Encoder):
    """The four-stage encoder; ``n_features`` is 8 ``width``, four times that with bottlenecks.

    Parameters
    ----------
    depth : 18, 34, 50 or 101.
    channels : channels of a picture.
    width : channels of the first stage, 64 as published; doubled at each stage.
    variant : "b", "d" or "d_bare" (see the head of this file).
    norm : "batch" or "group".
    """

    def __init__(self, depth: int, channels: int, width: int = 64, variant: str = "b", norm: str = "batch") -> None:
        super().__init__()
        counts, bottleneck = STAGES[depth]
        self.stem = nn.Sequential(*_stem(channels, width, variant, norm), nn.MaxPool2d(3, 2, padding=1))
        blocks: list[nn.Module] = []
        n_in = width
        for stage, count in enumerate(counts):
            n_mid = width * 2**stage
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                blocks.append(Residual(n_in, n_mid, stride, bottleneck=bottleneck, variant=variant, norm=norm))
                n_in = 4 * n_mid if bottleneck else n_mid
        self.stages = nn.Sequential(*blocks)
        self.n_features = n_in
        initialise(self)
        for block in blocks:
            nn.init.zeros_(block.branch[-1][1].weight)  # type: ignore[union-attr, index, arg-type]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features (N, n_features), averaged over the picture."""
        return self.stages(self.stem(x_NCHW)).mean((-2, -1))


def _stem(channels: int, width: int, variant: str, norm: str) -> list[nn.Module]:
    half = width // 2
    if variant == "b":
        return [ConvNorm(channels, width, 7, 2, norm=norm)]
    if variant == "d":
        first: list[nn.Module] = [ConvNorm(channels, half, 3, 2, norm=norm), ConvNorm(half, half, 3, norm=norm)]
    else:
        first = [nn.Conv2d(channels, half, 3, 2, 1, bias=False), nn.Conv2d(half, half, 3, 1, 1, bias=False)]
    return [*first, ConvNorm(half, width, 3, norm=norm)]


def resnet(
    depth: int,
    width: int,
    variant: str,
    norm: str,
    dropout: float,
    patterns: str,
    pool: str,
    *,
    n_classes: int,
    n_patterns: int = 3,
) -> PatternClassifier:
    """Return a classifier of stacks of patterns with a ResNet encoder."""
    encoder = ResNet(depth, in_channels(patterns, n_patterns), width, variant, norm)
    return PatternClassifier(encoder, n_classes, patterns=patterns, pool=pool, dropout=dropout)
