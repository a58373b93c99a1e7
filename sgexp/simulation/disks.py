"""From a few incident tilts to pixels: polynomials over the disk of incident tilts, and painting disks on a picture."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

_TAIL = 3.0  # over the edge's softness in Å: how far in 1/Å a soft aperture is followed, to an intensity of 6e-6
_BEAMS_AT_ONCE = 512


@lru_cache(maxsize=32)
def tilts(degree: int) -> Array:
    """Return the nodes, (n, 2) in units of the disk's radius, for polynomials of total ``degree`` on a disk.

    n = (degree + 1) (degree + 2) / 2, as many as there are polynomials: concentric rings of Ramos-López et al., Appl.
    Math. Comput. 274, 247 (2016), "Optimal sampling patterns for Zernike polynomials".
    """
    placed = []
    for ring, (radius, count) in enumerate(rings(degree), start=1):
        angles = 2.0 * np.pi * (np.arange(count) + 0.5 * (ring % 2)) / count
        placed.append(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return np.concatenate(placed)


def rings(degree: int) -> list[tuple[float, int]]:
    """Return radius and number of tilts of each ring, from the outermost inwards."""
    zeros = [math.cos((2 * ring - 1) * math.pi / (2 * (degree + 1))) for ring in range(1, degree // 2 + 2)]
    radii = [1.1565 * zero - 0.76535 * zero**2 + 0.60517 * zero**3 for zero in zeros]
    return [(radius, 2 * degree + 1 - 4 * ring) for ring, radius in enumerate(radii)]


def least_squares(degree: int, nodes: Array) -> Array:
    """Return ``fit_matrix`` for other nodes, at least as many as there are polynomials."""
    columns, rows = (chebyshev(values, degree) for values in nodes.T)
    i, j = np.nonzero(np.add.outer(np.arange(degree + 1), np.arange(degree + 1)) <= degree)
    result = np.zeros((degree + 1, degree + 1, len(nodes)))
    result[i, j] = np.linalg.pinv(rows[:, i] * columns[:, j])
    return result


@lru_cache(maxsize=32)
def fit_matrix(degree: int) -> Array:
    """Return (degree + 1, degree + 1, n): from values at ``tilts`` to coefficients of T_i(y) T_j(x)."""
    x, y = tilts(degree).T
    columns, rows = chebyshev(x, degree), chebyshev(y, degree)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    values = np.stack([rows[:, i] * columns[:, j] for i, j in pairs], axis=1)
    inverse = np.linalg.inv(values)
    result = np.zeros((degree + 1, degree + 1, len(x)))
    for row, (i, j) in enumerate(pairs):
        result[i, j] = inverse[row]
    return result


def chebyshev(x: Array, degree: int) -> Array:
    """Return T_0 ... T_degree at ``x``, with a new last axis."""
    values = [np.ones_like(x), x]
    for _ in range(degree - 1):
        values.append(2.0 * x * values[-1] - values[-2])
    return np.stack(values[: degree + 1], axis=-1)


def disk_radius(aperture: float, edge: float) -> float:
    """Return the radius in 1/Å of the disk of tilts for an aperture of that radius: its soft edge included."""
    return aperture + _TAIL / edge


def paint(
    amplitudes: Tensor,
    beams: Array,
    aperture: float,
    edge: float,
    grid: tuple[int, int],
    box: tuple[float, float],
    fitted: Array | None = None,
) -> Tensor:
    """Return sum_G |A(q - G)|^2 |S_G(q - G)|^2 on the frequencies q of a box, (Ny, Nx), zero at [Ny/2, Nx/2].

    ``amplitudes`` (tilts, beams) complex at ``tilts(degree) * disk_radius(aperture, edge)``; ``beams`` (beams, 2): G as
    (x, y) in 1/Å. A is the soft aperture of ``multislice``, normalised so that it sums to 1 over the picture.
    ``fitted``: the ``least_squares`` of the tilts, where they are others.
    """
    (ny, nx), (lx, ly) = grid, box
    radius = disk_radius(aperture, edge)
    if fitted is None:
        fitted = fit_matrix(round((math.sqrt(8 * len(amplitudes) + 1) - 3) / 2))
    degree = len(fitted) - 1
    fit = torch.from_numpy(fitted.reshape(-1, len(amplitudes)).astype(np.float32))
    reach = (math.ceil(radius * ly), math.ceil(radius * lx))
    picture = torch.zeros((ny + 4 * reach[0] + 4) * (nx + 4 * reach[1] + 4))
    width = nx + 4 * reach[1] + 4
    offsets_y, offsets_x = (np.arange(-r, r + 1) for r in reach)
    for first in range(0, len(beams), _BEAMS_AT_ONCE):
        some = slice(first, first + _BEAMS_AT_ONCE)
        centres = np.rint(beams[some] * [lx, ly]).astype(np.int64)
        kx = (centres[:, :1] + offsets_x) / lx - beams[some, :1]
        ky = (centres[:, 1:] + offsets_y) / ly - beams[some, 1:]
        across = torch.from_numpy(chebyshev(kx / radius, degree).astype(np.float32))
        down = torch.from_numpy(chebyshev(ky / radius, degree).astype(np.float32))
        parts = torch.view_as_real(amplitudes[:, some]).flatten(1)
        coefficients = (fit @ parts).view(degree + 1, degree + 1, -1, 2).permute(3, 2, 0, 1)
        inside = down @ coefficients @ across.transpose(1, 2)
        disks = inside.square().sum(dim=0)
        distance = np.sqrt(ky[:, :, None] ** 2 + kx[:, None] ** 2)
        disks.mul_(torch.from_numpy(_transmitted(distance, aperture, edge, radius)))
        rows = centres[:, 1:] + offsets_y + ny // 2 + 2 * reach[0] + 2
        columns = centres[:, :1] + offsets_x + nx // 2 + 2 * reach[1] + 2
        places = torch.from_numpy(rows[:, :, None] * width + columns[:, None])
        picture.index_add_(0, places.flatten(), disks.flatten())
    whole = picture.view(-1, width)
    cut = whole[2 * reach[0] + 2 :, 2 * reach[1] + 2 :][:ny, :nx]
    return cut / _total(aperture, edge, grid, box)


def _transmitted(distance: Array, aperture: float, edge: float, radius: float) -> NDArray[np.float32]:
    """Return |A|^2 at ``distance`` from a disk's middle: 1 / (1 + exp(-2 edge (k0 - k)))^2, 0 beyond ``radius``."""
    exponent = np.clip(-2.0 * edge * (aperture - distance), -80.0, 80.0)
    return ((distance <= radius) / (1.0 + np.exp(exponent)) ** 2).astype(np.float32)


@lru_cache(maxsize=64)
def _total(aperture: float, edge: float, grid: tuple[int, int], box: tuple[float, float]) -> float:
    ky, kx = (np.arange(-(n // 2), n - n // 2) / length for n, length in zip(grid, box[::-1], strict=True))
    return float(_transmitted(np.hypot(ky[:, None], kx[None]), aperture, edge, np.inf).sum(dtype=np.float64))
