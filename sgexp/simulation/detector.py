"""The instrument: from ideal intensities to what a camera writes down, in one fixed order.

    geometry -> blur -> background -> Poisson counts at the dose -> saturation -> beam stop

Everything is batched over patterns (n, h, w), runs on the device of its tensors, and is decided by a
``torch.Generator``: the same generator on the same device gives the same counts. The logarithm comes after the counts,
in ``data.transforms``. Settings are recorded in electrons and stored pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Instrument(Protocol):
    """A choice of ``simulation/detector``: what is done to ideal patterns before they are stored."""

    name: str
    ideal: bool  # stores patterns as they were computed

    def record(self, patterns: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the patterns (n, h, w), the direct beam in their middle, as they are stored, and what is recorded."""


@dataclass(frozen=True)
class Detector:
    """What happens to each of n patterns; every field is a tensor (n,) unless it says otherwise.

    Attributes
    ----------
    shift
        (n, 2): how far the direct beam lies from the middle of the picture, right and down, in pixels.
    ellipticity, ellipse_angle
        A circle becomes an ellipse of the same area with the axial ratio 1 + ellipticity, its long axis turned by
        ``ellipse_angle`` in rad from the columns' direction (+x) towards the rows' (+y).
    blur
        Standard deviation of the camera's point spread in pixels: MTF(f) = exp(-2 pi^2 blur^2 f^2), f in 1/pixel.
    background, background_width
        The share of the electrons that arrive spread about the direct beam, and the radius in pixels within which their
        density falls to 1/2^(3/2): (1 + (r / width)^2)^(-3/2).
    dose
        Incident electrons of a pattern.
    saturation
        Counts that a pixel holds at most; inf: no limit.
    beam_stop, beam_stop_angle
        Half the width in pixels of a bar with a round end over the direct beam, 0 for none; and the direction it comes
        from, in rad from +x towards +y.
    """

    shift: Tensor
    ellipticity: Tensor
    ellipse_angle: Tensor
    blur: Tensor
    background: Tensor
    background_width: Tensor
    dose: Tensor
    saturation: Tensor
    beam_stop: Tensor
    beam_stop_angle: Tensor

    def to(self, device: torch.device | str) -> Detector:
        """Return the same settings on another device."""
        return Detector(*(getattr(self, field.name).to(device) for field in fields(self)))

    @torch.no_grad()
    def expected(self, ideal: Tensor) -> Tensor:
        """Return the mean fraction of the incident electrons in each pixel, (n, h, w): geometry, blur, background."""
        seen = move(ideal, self.shift, self.ellipticity, self.ellipse_angle)
        seen = blurred(seen, self.blur)
        return with_background(seen, self.background, self.background_width, self.shift)

    @torch.no_grad()
    def counts(self, ideal: Tensor, generator: torch.Generator) -> Tensor:
        """Return counts, (n, h, w) float32 whole numbers, for ``ideal`` fractions of the incident beam (n, h, w)."""
        mean = self.expected(ideal.to(torch.float32)).clamp_(min=0.0)
        counts = torch.poisson(mean * self.dose[:, None, None], generator=generator)
        counts = torch.minimum(counts, self.saturation[:, None, None])
        return stopped(counts, self.beam_stop, self.beam_stop_angle, self.shift)


# --- the steps -------------------------------------------------------------------------------------------------------


def move(images: Tensor, shift: Tensor, ellipticity: Tensor, angle: Tensor) -> Tensor:
    """Return images (n, h, w) made elliptical about their middle at constant area, then shifted (bilinear).

    What lies outside is dark. Nothing is resampled where neither is asked for.
    """
    if not (shift.any() or ellipticity.any()):
        return images
    _, height, width = images.shape
    along = (1.0 + ellipticity).sqrt()
    cos, sin = angle.cos(), angle.sin()
    # Where light comes from: the inverse of stretching by ``along`` on one axis and by 1 / ``along`` on the other.
    xx = cos**2 / along + sin**2 * along
    yy = sin**2 / along + cos**2 * along
    xy = cos * sin * (1.0 / along - along)
    x, y = _offsets(images, shift)
    from_x = xx[:, None, None] * x + xy[:, None, None] * y
    from_y = xy[:, None, None] * x + yy[:, None, None] * y
    places = torch.stack([from_x * (2.0 / width), from_y * (2.0 / height)], dim=-1)
    return torch.nn.functional.grid_sample(images[:, None], places, padding_mode="zeros", align_corners=False)[:, 0]


def blurred(images: Tensor, blur: Tensor) -> Tensor:
    """Return images (n, h, w) spread by a Gaussian of standard deviation ``blur`` (n,) pixels; none at 0.

    The Gaussian is integrated over each pixel, so that nothing rings and nothing is negative; light that would leave
    the picture is kept in it, so that every image's sum stays what it was.
    """
    if not blur.any():
        return images
    rows, columns = (_spread(blur, size) for size in images.shape[1:])
    return rows @ images @ columns.transpose(1, 2)


def _spread(blur: Tensor, size: int) -> Tensor:
    """Return (n, size, size): the share of pixel j's light that falls into pixel i."""
    pixels = torch.arange(size, device=blur.device, dtype=torch.float64)
    apart = pixels[:, None] - pixels
    narrow = 1.0 / (math.sqrt(2.0) * blur.double().clamp(min=1e-6))[:, None, None]
    share = 0.5 * (torch.erf((apart + 0.5) * narrow) - torch.erf((apart - 0.5) * narrow))
    return (share / share.sum(dim=1, keepdim=True)).float()


def with_background(images: Tensor, background: Tensor, width: Tensor, shift: Tensor) -> Tensor:
    """Return images (n, h, w) with the share ``background`` of their electrons spread about the direct beam."""
    if not background.any():
        return images
    x, y = _offsets(images, shift)
    halo = (1.0 + (x**2 + y**2) / width[:, None, None] ** 2) ** -1.5
    halo = halo * (images.sum(dim=(1, 2)) / halo.sum(dim=(1, 2)))[:, None, None]
    return torch.lerp(images, halo, background[:, None, None])


def stopped(images: Tensor, radius: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Return images (n, h, w) that are 0 behind a bar with a round end at the direct beam; none where radius is 0."""
    x, y = _offsets(images, shift)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = x * cos + y * sin, y * cos - x * sin
    distance = torch.where(along > 0, across.abs(), torch.hypot(x, y))
    return images.masked_fill(distance < radius[:, None, None], 0.0)


def _offsets(images: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (n, 1, w) and y (n, h, 1) of the pixels from the direct beam, which is ``shift`` from the middle."""
    height, width = images.shape[1:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2.0
    y = torch.arange(height, device=images.device) - (height - 1) / 2.0
    return x - shift[:, 0, None, None], y[:, None] - shift[:, 1, None, None]


# --- choices of simulation/detector ----------------------------------------------------------------------------------


class Ideal:
    """No instrument: fractions of the incident beam, as computed."""

    name, ideal = "ideal", True

    def record(self, patterns: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the patterns as they are."""
        return patterns, {}


class Camera:
    """Draws a detector for every pattern, each setting from its range, and records with it.

    What is stored is counts over the dose, in the unit of ideal patterns (fractions of the incident beam): all that is
    made for those, STEMDL's logarithm too, goes on to work, and stored times ``dose`` is the counts.

    Parameters
    ----------
    dose
        Smallest and largest number of incident electrons of a pattern, drawn evenly in the logarithm.
    background, background_width
        Ranges of the share of electrons in the background, and of its radius over the width of the picture.
    blur
        Range of the point spread's standard deviation in stored pixels.
    saturation
        Range of the most counts of a pixel, drawn evenly in the logarithm; None: no pixel saturates.
    beam_stop, beam_stop_width
        Share of the patterns that have one, and the range of its width over the width of the picture.
    miscentring
        Largest distance of the direct beam from the middle, over the width of the picture; even over that disk.
    ellipticity
        Largest excess of the axial ratio over 1.
    """

    name, ideal = "camera", False

    def __init__(
        self,
        dose: list[float],
        background: list[float],
        background_width: list[float],
        blur: list[float],
        saturation: list[float] | None,
        beam_stop: float,
        beam_stop_width: list[float],
        miscentring: float,
        ellipticity: float,
    ) -> None:
        self.dose, self.saturation, self.blur = dose, saturation, blur
        self.background, self.background_width = background, background_width
        self.beam_stop, self.beam_stop_width = beam_stop, beam_stop_width
        self.miscentring, self.ellipticity = miscentring, ellipticity

    def draw(self, count: int, pixels: int, generator: torch.Generator) -> Detector:
        """Return the settings of ``count`` patterns of ``pixels`` x ``pixels``, on the generator's device.

        As many numbers are drawn for each pattern whatever the ranges are, so that changing one leaves the others.
        """
        drawn = torch.rand(count, 12, generator=generator, device=generator.device).unbind(1)
        away, turn = self.miscentring * pixels * drawn[0].sqrt(), 2.0 * math.pi * drawn[1]
        half_width = 0.5 * pixels * _even(self.beam_stop_width, drawn[10])
        return Detector(
            shift=torch.stack([away * turn.cos(), away * turn.sin()], dim=1),
            ellipticity=self.ellipticity * drawn[2],
            ellipse_angle=math.pi * drawn[3],
            blur=_even(self.blur, drawn[4]),
            background=_even(self.background, drawn[5]),
            background_width=pixels * _even(self.background_width, drawn[6]),
            dose=_even_in_log(self.dose, drawn[7]),
            saturation=torch.full_like(drawn[8], math.inf)
            if self.saturation is None
            else _even_in_log(self.saturation, drawn[8]).floor(),
            beam_stop=torch.where(drawn[9] < self.beam_stop, half_width, 0.0),
            beam_stop_angle=2.0 * math.pi * drawn[11],
        )

    def record(self, patterns: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return counts over the dose, (n, h, w) float32, and the settings by name."""
        generator = torch.Generator().manual_seed(seed)
        detector = self.draw(len(patterns), patterns.shape[-1], generator)
        counts = detector.counts(torch.from_numpy(np.ascontiguousarray(patterns)), generator)
        stored = counts / detector.dose[:, None, None]
        return stored.numpy(), {field.name: getattr(detector, field.name).numpy() for field in fields(detector)}


def _even(limits: list[float], drawn: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * drawn


def _even_in_log(limits: list[float], drawn: Tensor) -> Tensor:
    return limits[0] * (limits[1] / limits[0]) ** drawn
