"""Thermal motion without thermal configurations: what is left of an atom on average, and where the rest goes.

Atoms that move independently of one another (Einstein's model), with an rms displacement u along each axis, transmit on
average <exp(i phi(r - u))> = exp(i <phi> - var(phi) / 2 + ...). The first term is the potential smeared by the motion
(Debye and Waller), the second is an absorption: the part of the wave that leaves the Bragg beams for thermal diffuse
scattering. With form factors that are sums of Gaussians both are sums of Gaussians (Hall & Hirsch, Proc. R. Soc. A 286,
158 (1965); Bird & King, Acta Cryst. A46, 202 (1990); Weickenmeier & Kohl, Acta Cryst. A47, 590 (1991)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgexp.simulation.potential import electron_coefficients, form_factor

Array = NDArray[np.float64]

_DIFFUSE_PIXELS = 128  # the diffuse background is smooth: it is computed on no more pixels a side than this
_RADIUS, _STEPS = 12.0, 2400  # 1/Å and points of the integral of the diffuse scattering over all angles


def smeared_form_factor(number: int, k_squared: Array, b: float) -> Array:
    """Return f exp(-B k^2 / 4) in Å, B = 8 pi^2 u^2 in Å^2."""
    return form_factor(number, k_squared) * np.exp(-b * k_squared / 4.0)


def absorptive_form_factor(number: int, k_squared: Array, b: float) -> Array:
    """Return the Fourier transform of half the variance of an atom's phase, for gamma lambda = 1 / Å, in Å^2.

    With p_i(r) = (4 pi a_i / b_i) exp(-4 pi^2 r^2 / b_i) the phase is sum p_i, the variance <phi^2> - <phi>^2. Products
    of Gaussians are Gaussians, and the motion adds B to each b.
    """
    a, width = electron_coefficients(number)
    weight = 2.0 * np.pi * np.outer(a, a).ravel()
    total = np.add.outer(width, width).ravel()
    still = np.multiply.outer(width, width).ravel() / total + b
    moved = np.multiply.outer(width + b, width + b).ravel() / (total + 2.0 * b)
    quarter = k_squared[..., None] / 4.0
    return (weight / total * np.exp(-still * quarter) - weight / (total + 2.0 * b) * np.exp(-moved * quarter)).sum(-1)


@dataclass(frozen=True)
class MeanFactors:
    """The form factors of atoms that move, each element with its B: ``b`` lists (atomic number, B in Å^2).

    Smeared ones in Å for the mean phase, or (``absorptive``) those of half its variance in Å^2.
    """

    b: tuple[tuple[int, float], ...]
    absorptive: bool = False

    def __call__(self, number: int, k_squared: Array) -> Array:
        """Return the form factor of an atomic number at |k|^2 in 1/Å^2."""
        factor = absorptive_form_factor if self.absorptive else smeared_form_factor
        return factor(number, k_squared, dict(self.b)[number])


def diffuse_intensity(numbers: NDArray[np.int64], q: Array, b: Mapping[int, float]) -> Array:
    """Return the single diffuse scattering sum_j f_j^2 (1 - exp(-B_j q^2 / 2)) over its integral, at |q|: Å^2.

    ``b``: atomic number -> B in Å^2, at least one of them above 0.
    So it is the fraction of what is scattered diffusely that goes into a square of 1 / Å^2.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    radii, values = _diffuse_profile(tuple((z, n, b[z]) for z, n in zip(kinds.tolist(), counts.tolist(), strict=True)))
    return np.interp(q, radii, values)


@lru_cache(maxsize=64)
def _diffuse_profile(atoms: tuple[tuple[int, int, float], ...]) -> tuple[Array, Array]:
    radii = np.linspace(0.0, _RADIUS, _STEPS)
    values = np.zeros(_STEPS)
    for number, count, b in atoms:
        values += count * form_factor(number, radii**2) ** 2 * (1.0 - np.exp(-b * radii**2 / 2.0))
    return radii, values / np.trapezoid(2.0 * np.pi * radii * values, radii)


def diffuse_background(
    elastic: Tensor,
    numbers: NDArray[np.int64],
    absorbed: float,
    b: Mapping[int, float],
    box: tuple[float, float],
) -> Tensor:
    """Return the diffuse background of a pattern, (Ny, Nx): single diffuse scattering, spread by the Bragg beams.

    What the absorption took (``absorbed``, of the beam) is given back with the angles of single diffuse scattering,
    convolved with the elastic pattern, because Bragg scattering goes on before and after. A factor fitted to averages
    over frozen phonons is 0.99 +- 0.06 (``benchmarks/diffuse.py``), so there is none.
    """
    ny, nx = elastic.shape
    factor = max(1, max(ny, nx) // _DIFFUSE_PIXELS)
    if ny % factor or nx % factor:
        factor = 1
    coarse = torch.nn.functional.avg_pool2d(elastic[None, None], factor)[0, 0]
    rows, columns = coarse.shape
    # On twice the picture what is wrapped around falls outside the picture.
    y, x = (np.arange(n + 1) * factor / length for n, length in zip((rows, columns), box[::-1], strict=True))
    quarter = diffuse_intensity(numbers, np.hypot(y[:, None], x[None]), b) * factor**2 / (box[0] * box[1])
    kernel = quarter[np.ix_(np.abs(np.arange(-rows, rows)), np.abs(np.arange(-columns, columns)))]
    shape = (2 * rows, 2 * columns)
    source = coarse / coarse.sum()
    spread = torch.fft.rfft2(source, s=shape) * torch.fft.rfft2(torch.from_numpy(kernel.astype(np.float32)), s=shape)
    result = torch.fft.irfft2(spread, s=shape)[rows:, columns:]
    result = result.clamp_(min=0.0) * (absorbed / factor**2)
    if factor == 1:
        return result
    return torch.nn.functional.interpolate(result[None, None], scale_factor=factor, mode="bilinear")[0, 0]
