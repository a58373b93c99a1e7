"""An encoder in the manner of pycroscopy's DefectNet and AtomNet: fully convolutional, with dilated convolutions.

M. Ziatdinov et al., npj Computational Materials 5, 12 (2019) and ACS Nano 11, 12742 (2017), and their public code
(github.com/pycroscopy/AICrystallographer, folders DefectNet and AtomNet). Those networks find atoms and defects in
micrographs, pixel by pixel: a contracting path, dilated convolutions at its end (in AtomNet's code, with rates 2, 4
and 6, whose outputs are added up; DefectNet's published code has none), and an expanding path back to pixels. Here the
expanding path is left out: a crystal has one label. What follows is a mean over the picture and a linear head.
"""

from __future__ import annotations

from torch import Tensor, nn

from sgexp.learning.models.patterns import Encoder, PatternClassifier, in_channels, initialise, norm_layer

SLOPE = 0.01  # of leaky rectifiers below zero, as in AtomNet's code
RATES = (2, 4, 6)


def convolution(n_in: int, n_out: int, norm: str, rate: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution whose taps are ``rate`` pixels apart, a normalisation and a leaky rectifier."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=rate, dilation=rate, bias=False),
        norm_layer(norm, n_out),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class DilatedSum(nn.Module):
    """Dilated convolutions one after the other; all their outputs are added up, so fields of every size are seen."""

    def __init__(self, n_in: int, n_out: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            convolution(n_out if index else n_in, n_out, norm, rate) for index, rate in enumerate(RATES)
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the sum of the layers' outputs, (N, n_out, H, W)."""
        x_NCHW = total = self.layers[0](x_NCHW)
        for layer in self.layers[1:]:
            x_NCHW = layer(x_NCHW)
            total = total + x_NCHW
        return total


class DefectNetEncoder(Encoder):
    """One, two and two convolutions, halving the picture after each group, then the dilated ones.

    Parameters
    ----------
    channels : channels of a picture of 8 x 8 pixels or more.
    width : channels of the first convolution; doubled three times. AtomNet has 32, DefectNet 16.
    norm : "batch" or "group".
    """

    def __init__(self, channels: int, width: int = 16, norm: str = "batch") -> None:
        super().__init__()
        self.contract = nn.Sequential(
            convolution(channels, width, norm),
            nn.MaxPool2d(2),
            convolution(width, 2 * width, norm),
            convolution(2 * width, 2 * width, norm),
            nn.MaxPool2d(2),
            convolution(2 * width, 4 * width, norm),
            convolution(4 * width, 4 * width, norm),
            nn.MaxPool2d(2),
        )
        self.dilated = DilatedSum(4 * width, 8 * width, norm)
        self.n_features = 8 * width
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features (N, n_features), averaged over the picture."""
        return self.dilated(self.contract(x_NCHW)).mean((-2, -1))


def defectnet(
    width: int,
    norm: str,
    dropout: float,
    patterns: str,
    pool: str,
    *,
    n_classes: int,
    n_patterns: int = 3,
) -> PatternClassifier:
    """Return a classifier of stacks of patterns with the dilated encoder."""
    encoder = DefectNetEncoder(in_channels(patterns, n_patterns), width, norm)
    return PatternClassifier(encoder, n_classes, patterns=patterns, pool=pool, dropout=dropout)
