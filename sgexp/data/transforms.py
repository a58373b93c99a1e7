"""From intensities to what a network reads: an intensity code, an area-averaged resize, a standardisation.

``encode`` (code, then resize) is what the packed store keeps; ``standardise`` is cheap and runs on each batch. Both
work on any device. Patterns are written ``patterns_BCHW``: batch, the three zone axes, height, width.
"""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sgexp.errors import DataError

TRANSFORM_VERSION = 1
LOG_FLOOR = -17.0  # ln of the smallest intensity that is told apart from zero; STEMDL's value
LOG_GAIN = 10.0
LOG_TOP = 255.0
_EPSILON = 1e-6


class Transform:
    """How intensities are coded, resized and standardised.

    Parameters
    ----------
    code
        'log': STEMDL's ``clip(10 (max(-17, ln I) + 17), 0, 255)``, divided by 255.
        'power': ``(I / max I) ** exponent`` for each pattern. 'none': ``I / max I`` for each pattern.
        Every code is in [0, 1], so that half precision holds it.
    exponent
        Of the power code (0..1).
    pixels
        Width and height after the resize; at most that of the patterns.
    standardise
        Whether ``standardise`` gives each pattern mean 0 and standard deviation 1, or leaves the code as it is.
    """

    def __init__(self, code: str, exponent: float, pixels: int, standardise: bool) -> None:
        self.code, self.exponent, self.pixels, self.standardised = code, exponent, pixels, standardise

    def digest(self) -> str:
        """Return a hash of what ``encode`` depends on; it names packed stores."""
        facts = {"version": TRANSFORM_VERSION, "code": self.code, "pixels": self.pixels}
        if self.code == "power":
            facts["exponent"] = self.exponent
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def encode(self, patterns_BCHW: Tensor) -> Tensor:
        """Return the coded patterns in [0, 1], (B, C, pixels, pixels) float32; the code comes first, then the resize.

        Negative intensities count as zero. Pixels must be finite: look for others before, a code may hide them.
        """
        return resize_area(self.coded(patterns_BCHW.to(torch.float32)), self.pixels)

    def intensity(self, coded_BCHW: Tensor) -> Tensor:
        """Return the intensities of a code, float32: in their own unit (log), or over the strongest pixel's.

        Intensities at or below the log code's floor come back as 0, and those above its top as the top.
        """
        coded = coded_BCHW.to(torch.float32)
        if self.code == "log":
            intensity = torch.exp(coded * (LOG_TOP / LOG_GAIN) + LOG_FLOOR)
            return intensity.masked_fill(coded <= 0.0, 0.0)
        return coded if self.code == "none" else coded.pow(1.0 / self.exponent)

    def coded(self, patterns_BCHW: Tensor) -> Tensor:
        """Return float32 patterns coded, at the pixels they have."""
        intensity = patterns_BCHW.clamp(min=0.0)
        if self.code == "log":
            # max(-17, ln I) as a clamp of I: the same values, and ln 0 is never taken.
            logarithm = intensity.clamp(min=math.exp(LOG_FLOOR)).log_()
            return logarithm.sub_(LOG_FLOOR).mul_(LOG_GAIN / LOG_TOP).clamp_(0.0, 1.0)
        peak = intensity.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        relative = intensity / peak
        return relative if self.code == "none" else relative.pow(self.exponent)

    def blend(
        self, space: str, base_BCHW: NDArray[np.float32], partner_BCHW: NDArray[np.float32], weight_B: NDArray
    ) -> NDArray[np.float32]:
        """Return mixtures of coded patterns, coded: what lies ``weight_B`` (B,) of the way from base to partner.

        ``space``: 'coded', between the codes; 'intensity', between the intensities, as two crystals side by side in the
        beam would add up; 'log', between their logarithms (down to the smallest that the log code tells from zero),
        which with the log code is the same as 'coded'.
        """
        weight = np.asarray(weight_B, np.float32)[:, None, None, None]
        if space == "coded" or (space == "log" and self.code == "log"):
            return base_BCHW + weight * (partner_BCHW - base_BCHW)
        base, partner = (self.intensity(torch.from_numpy(side)) for side in (base_BCHW, partner_BCHW))
        if space == "log":
            base, partner = (side.clamp(min=math.exp(LOG_FLOOR)).log() for side in (base, partner))
        mixed = torch.lerp(base, partner, torch.from_numpy(weight))
        return self.coded(mixed.exp() if space == "log" else mixed).numpy()

    def standardise(self, coded_BCHW: Tensor) -> Tensor:
        """Return the network's input, float32: mean 0 and standard deviation 1 for each pattern where asked for.

        A constant pattern becomes zero. A batch of no pattern, which a device gets where there are more devices than
        samples, stays one.
        """
        coded = coded_BCHW.to(torch.float32)
        if not self.standardised or not len(coded):
            return coded
        variance, mean = torch.var_mean(coded, dim=(-2, -1), correction=0, keepdim=True)
        return (coded - mean) / (variance.sqrt() + _EPSILON)


def resize_area(images_BCHW: Tensor, pixels: int) -> Tensor:
    """Return images of ``pixels`` x ``pixels``, each new pixel the mean of the area it covers, fractions included.

    The mean of an image is kept. Enlarging is refused: it would show detail that was never there.
    """
    height, width = images_BCHW.shape[-2:]
    if pixels > min(height, width):
        raise DataError(
            f"The patterns have {height} x {width} pixels and cannot be enlarged to {pixels}: "
            f"set transform.pixels (or size.train_pixels) to {min(height, width)} or less."
        )
    if height == width == pixels:
        return images_BCHW
    if height % pixels == 0 and width % pixels == 0:
        return functional.avg_pool2d(images_BCHW, (height // pixels, width // pixels))
    rows = _area_weights(height, pixels, images_BCHW)
    columns = _area_weights(width, pixels, images_BCHW)
    return rows @ images_BCHW @ columns.T


def _area_weights(size: int, pixels: int, like: Tensor) -> Tensor:
    """Return (pixels, size) weights: the share of each old pixel in each new one."""
    edges = torch.arange(pixels + 1, dtype=torch.float64) * (size / pixels)
    old = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], old + 1) - torch.maximum(edges[:-1, None], old)
    return (overlap.clamp(min=0.0) * (pixels / size)).to(like)
