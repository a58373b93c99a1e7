"""Training patterns as a camera would have counted them: point spread, background, and electrons at a dose.

Network input is coded (``data.transforms``), and electrons are not. So the code is undone, the steps of
``simulation.detector`` follow in its order, and what was counted is coded again, on the device, before patterns are
standardised. Where the code came before an average over pixels (the log code of finer stored patterns), what is undone
is that average: geometric means of intensities instead of their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sgexp.loading.counter import draw_keys, mix, uniform
from sgexp.simulation.detector import blurred, with_background

_OWN_STREAM = 0x646F_7365  # keeps these numbers apart from those of the other changes
BACKGROUND_WIDTH = (0.05, 0.3)
"""Radius of the background's halo over the width of the picture, as in the default camera of simulation/detector."""


class Code(Protocol):
    """How intensities are coded (``sgexp.data.transforms.Transform``)."""

    def intensity(self, coded_BCHW: Tensor, /) -> Tensor:
        """Return intensities, 0 where the code says no more than that they were small."""
        ...

    def coded(self, patterns_BCHW: Tensor, /) -> Tensor:
        """Return intensities coded, in [0, 1]."""
        ...


class Exposure(nn.Module):
    """Blur, background and Poisson counts of each pattern by itself, keyed by (seed, epoch, draw).

    A picture's electrons are those that fall into it: with intensities I of sum S, which blur and background keep, a
    pixel counts n ~ Poisson(dose I / S) electrons and becomes n S / dose, the best estimate of I in its own unit. So
    nothing need be known of the unit, nor of how many pixels one of the network's was made of.

    Parameters
    ----------
    dose : smallest and largest number of electrons of a picture, drawn evenly in the logarithm; None: all of them.
    blur : largest standard deviation of the point spread in the network's pixels; drawn evenly from 0.
    background : largest share of the electrons spread about the middle; drawn evenly from 0, its radius too.
    code : undoes and redoes the intensity code.
    seed : with epoch and draw it decides everything (counts on one kind of device).
    """

    def __init__(self, dose: Sequence[float] | None, blur: float, background: float, *, code: Code, seed: int) -> None:
        super().__init__()
        self.dose, self.blur, self.background = dose, blur, background
        self.code, self.seed = code, seed

    @torch.no_grad()
    def forward(self, coded_BCHW: Tensor, draws_B: Tensor, epoch: int) -> Tensor:
        """Return what the camera gave, coded again."""
        batch, patterns, height, width = coded_BCHW.shape
        keys_B = draw_keys(self.seed + _OWN_STREAM, epoch, draws_B)
        numbers_N4 = uniform(keys_B, 4 * patterns).reshape(batch * patterns, 4)
        images_NHW = self.code.intensity(coded_BCHW).reshape(batch * patterns, height, width)
        middle_N2 = torch.zeros(batch * patterns, 2, device=images_NHW.device)
        low, high = (width * share for share in BACKGROUND_WIDTH)
        images_NHW = blurred(images_NHW, self.blur * numbers_N4[:, 1])
        halo_N = low + (high - low) * numbers_N4[:, 3]
        images_NHW = with_background(images_NHW, self.background * numbers_N4[:, 2], halo_N, middle_N2)
        images_BCHW = images_NHW.reshape(coded_BCHW.shape)
        if self.dose is not None:
            least, most = self.dose
            dose_BC = least * (most / least) ** numbers_N4[:, 0].reshape(batch, patterns)
            images_BCHW = self._counted(images_BCHW, dose_BC, mix(keys_B))
        return self.code.coded(images_BCHW)

    @staticmethod
    def _counted(images_BCHW: Tensor, dose_BC: Tensor, keys_B: Tensor) -> Tensor:
        """Return estimates of the intensities from counts; each draw has a generator of its own."""
        unit_BC11 = images_BCHW.sum((-2, -1), keepdim=True) / dose_BC[..., None, None]
        tiny = torch.finfo(torch.float32).tiny
        mean_BCHW = images_BCHW / unit_BC11.clamp(min=tiny)  # a dark picture counts nothing
        counts = []
        for key, mean_CHW in zip(keys_B.tolist(), mean_BCHW, strict=True):
            generator = torch.Generator(device=mean_CHW.device).manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
            counts.append(torch.poisson(mean_CHW, generator=generator))
        return torch.stack(counts) * unit_BC11 if counts else images_BCHW
