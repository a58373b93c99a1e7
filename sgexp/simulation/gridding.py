"""Sums of exp(-2 pi i k.r_j) over many atoms, by spreading each on a grid: a transform for points that are on no grid.

Every atom is spread over W x W pixels of a grid finer by a quarter, with the window exp(beta (sqrt(1 - z^2) - 1)) of
Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019); the transform of that grid, over the window's
own transform, is the sum that is sought, at all k of the coarser grid at once. The cost hardly grows with the atoms,
where a matrix product's (``potential``) is proportional to them. What the window leaves out is some 1e-6 of the whole.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

WIDTH = 9  # pixels that an atom is spread over, along each axis
_FINER = 1.25
_BETA = 0.97 * math.pi * WIDTH * (1.0 - 0.5 / _FINER)  # eq. 4.5 of the paper: as wide as aliasing allows
_QUADRATURE = 200  # points of the window's transform, exact to the last digit


def finer(grid: tuple[int, int]) -> tuple[int, int]:
    """Return the grid that atoms are spread over, for sums on the frequencies of ``grid``."""
    ny, nx = (fast_size(_FINER * n) for n in grid)
    return ny, nx


def fast_size(least: float) -> int:
    """Return the smallest even 2^a 3^b 5^c that is not below ``least``."""
    size = max(2, 2 * math.ceil(least / 2.0 - 1e-9))
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def window_transform(k: Array, size: int) -> Array:
    """Return the window's Fourier transform at the integer frequencies ``k`` of a grid of ``size`` pixels a side."""
    z, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    values = weights * np.exp(_BETA * (np.sqrt(1.0 - z**2) - 1.0))
    return WIDTH / 2.0 * np.cos(np.pi * WIDTH / size * np.outer(k, z)) @ values


def spread_sums(turns_N2: Array, grid: tuple[int, int]) -> Tensor:
    """Return sum_j exp(-2 pi i k.t_j) times the window's transform, (Ny, Nx/2 + 1) complex64, k_x >= 0, FFT's order.

    ``turns_N2``: x and y in [0, 1) of the box's edges, N atoms. Nyquist's row and column mean nothing.
    """
    my, mx = finer(grid)
    ny, nx = grid
    places = turns_N2 * [mx, my]
    first = np.ceil(places - WIDTH / 2.0)
    steps = torch.arange(WIDTH)
    off = torch.from_numpy((first - places).astype(np.float32))[:, :, None] + steps
    weights = (_BETA * ((1.0 - (off * (2.0 / WIDTH)).square()).clamp_(min=0.0).sqrt() - 1.0)).exp()
    pixels = torch.from_numpy(first.astype(np.int64))[:, :, None] + steps
    rows, columns = pixels[:, 1] % my * mx, pixels[:, 0] % mx
    spread = torch.zeros(my * mx)
    values = weights[:, 1, :, None] * weights[:, 0, None, :]
    spread.index_add_(0, (rows[:, :, None] + columns[:, None]).flatten(), values.flatten())
    sums = torch.fft.rfft2(spread.view(my, mx))
    return torch.cat([sums[: ny // 2, : nx // 2 + 1], sums[my - ny // 2 :, : nx // 2 + 1]])
