"""Phase gratings of the slices of a slab, by exact structure factors: no atom is moved to a pixel.

The phase that slice s adds to the wave is (Kirkland 2010, eqs. 5.9 and 5.19, see ``physics.phase_of_form_factor``)

    phi_s(r) = (gamma lambda / A) sum_k sum_{j in s} f_j(|k|) exp(2 pi i k.(r - r_j)),

A the area of the box, k the frequencies of the box inside the Nyquist circle. Because exp(2 pi i k.r) factors into x
and y, the sum over atoms is one real matrix product a slice and element: with c_m = cos(2 pi m x / Lx) and
s_m = sin(...), the four products of (c, s)_x with (c, s)_y over the quarter plane m >= 0 hold all that the four
quadrants need (f is even). This is four times fewer operations than complex products over the whole plane, and matrix
products run near a processor's peak. Slices with many atoms of an element are quicker by ``gridding``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import gemmi
import numpy as np
import torch
from torch import Tensor

from sgexp.errors import DataError
from sgexp.simulation import gridding
from sgexp.simulation.physics import phase_of_form_factor
from sgexp.simulation.protocol import Slab

FormFactors = Callable[[int, np.ndarray], np.ndarray]
"""Of an atomic number at |k|^2 in 1/Å^2; hashable by what it gives, because tables of it are kept."""

_GROUPS_A_SLICE = 256  # more than there are elements: slice index and atomic number in one integer
_LOW = 8  # harmonics that one table of cosines holds
_PIXELS_AT_ONCE = {"cpu": 2**16, "cuda": 2**24}  # of all slices of a chunk; on a CPU it should stay in the cache

_MANY_ATOMS = 400  # of an element in a slice, in the mean: from here on gridding is quicker than products, on a CPU


@lru_cache(maxsize=128)
def electron_coefficients(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a_i in Å and b_i in Å^2 of an element's electron form factor, a sum of five Gaussians."""
    table = gemmi.Element(number).c4322
    if table is None:
        raise DataError(f"element {number} has no electron form factor (International Tables C give Z = 1 to 98).")
    return np.array(table.a), np.array(table.b)


def form_factor(number: int, k_squared: np.ndarray) -> np.ndarray:
    """Return the electron form factor in Å at |k|^2 in 1/Å^2: sum_i a_i exp(-b_i k^2 / 4).

    International Tables for Crystallography C (1992), table 4.3.2.2 (Peng 1996), as tabulated by gemmi.
    """
    a, b = electron_coefficients(number)
    return (a * np.exp(-b * k_squared[..., None] / 4.0)).sum(axis=-1)


@lru_cache(maxsize=256)
def _form_factor_YX(
    factors: FormFactors, number: int, grid: tuple[int, int], box: tuple[float, float], device: str
) -> Tensor:
    """Return f / A over the quarter plane, (Ny/2, Nx/2), zero outside Nyquist's circle."""
    (ny, nx), (lx, ly) = grid, box
    ky, kx = np.arange(ny // 2) / ly, np.arange(nx // 2) / lx
    k_squared = ky[:, None] ** 2 + kx[None] ** 2
    nyquist = min(nx / lx, ny / ly) / 2.0
    values = factors(number, k_squared) / (lx * ly) * (k_squared < nyquist**2)
    return torch.from_numpy(values.astype(np.float32)).to(device)


@lru_cache(maxsize=256)
def _form_factor_over_window_YX(
    factors: FormFactors, number: int, grid: tuple[int, int], box: tuple[float, float]
) -> Tensor:
    """Return f / A over the transform of gridding's window for k_x >= 0, (Ny, Nx/2 + 1), 0 outside Nyquist's circle."""
    (ny, nx), (lx, ly) = grid, box
    my, mx = gridding.finer(grid)
    along_y: np.ndarray = np.fft.fftfreq(ny, 1.0 / ny)
    along_x: np.ndarray = np.arange(nx // 2 + 1, dtype=np.float64)
    k_squared = (along_y[:, None] / ly) ** 2 + (along_x[None] / lx) ** 2
    inside = k_squared < (min(nx / lx, ny / ly) / 2.0) ** 2
    window = gridding.window_transform(along_y, my)[:, None] * gridding.window_transform(along_x, mx)[None]
    return torch.from_numpy((factors(number, k_squared) / (lx * ly) * inside / window).astype(np.float32))


def _harmonics(turns_N: np.ndarray, count: int, device: str) -> Tensor:
    """Return cos and sin of 2 pi m t for m = 0 ... count - 1, stacked to (2 count, N), for t in [0, 1) turns.

    m = h + l, h a multiple of ``_LOW`` and l below it: the addition theorems need cosines of few angles, which are
    reduced to one turn in double precision.
    """
    rows = -(-count // _LOW)
    parts = [np.outer(multiples, turns_N) for multiples in (_LOW * np.arange(rows), np.arange(_LOW))]
    angles = [torch.from_numpy((2.0 * math.pi * (part - np.floor(part))).astype(np.float32)) for part in parts]
    high, low = angles[0].to(device)[:, None], angles[1].to(device)[None]
    cos_high, sin_high, cos_low, sin_low = high.cos(), high.sin(), low.cos(), low.sin()
    result = torch.empty(2, rows, _LOW, len(turns_N), device=device)
    torch.mul(cos_high, cos_low, out=result[0]).addcmul_(sin_high, sin_low, value=-1.0)
    torch.mul(sin_high, cos_low, out=result[1]).addcmul_(cos_high, sin_low)
    return result.view(2, rows * _LOW, -1)[:, :count].reshape(2 * count, -1)


def slice_phases(slab: Slab, grid: tuple[int, int], energy_kev: float, device: str = "cpu") -> Iterator[Tensor]:
    """Yield the phases in rad that the slices add to the wave, some slices at a time: (s, Ny, Nx) float32, in order."""
    scale = phase_of_form_factor(energy_kev)
    for sums in slice_sums(slab, grid, form_factor, device):
        yield sums.mul_(scale)


def slice_sums(
    slab: Slab, grid: tuple[int, int], factors: FormFactors = form_factor, device: str = "cpu"
) -> Iterator[Tensor]:
    """Yield sum_k sum_j f_j(|k|) exp(2 pi i k.(r - r_j)) / A of the slices, some at a time: (s, Ny, Nx) float32.

    They come in order. ``grid`` = (Ny, Nx), both even; ``factors``: f in Å. An atom belongs to the slice that its
    height falls into; atoms that thermal motion has moved out of the slab stay in the first or last slice.
    """
    slice_of = np.floor(slab.positions[:, 2] / slab.slice_thickness + 1e-6).astype(np.int64)
    group_of = slice_of.clip(0, slab.slices - 1) * _GROUPS_A_SLICE + slab.numbers
    # Two bytes are sorted in linear time; slabs of 128 slices and more need four.
    narrow = np.int16 if slab.slices * _GROUPS_A_SLICE <= np.iinfo(np.int16).max else np.int32
    order = np.argsort(group_of.astype(narrow), kind="stable")
    ordered = group_of[order]
    turns = slab.positions[order, :2] / np.array(slab.box)
    turns -= np.floor(turns)  # reduced in double precision, before the step to single
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    groups, edges = ordered[starts], np.append(starts, len(ordered))
    step = max(1, _PIXELS_AT_ONCE[device] // (grid[0] * grid[1]))
    # On a GPU products are as quick, and atoms spread at once would be added up in another order every time.
    many = device == "cpu" and len(ordered) >= _MANY_ATOMS * len(groups)
    for first in range(0, slab.slices, step):
        last = min(first + step, slab.slices)
        inside = slice(*np.searchsorted(groups, [first * _GROUPS_A_SLICE, last * _GROUPS_A_SLICE]).tolist())
        own = groups[inside] - first * _GROUPS_A_SLICE
        some = _Atoms(turns, own, edges[inside.start : inside.stop + 1], last - first, grid, slab.box)
        half_plane = _gridded(factors, some) if many else _half_plane(_products(factors, some, device))
        yield torch.fft.irfft2(half_plane, s=grid, norm="forward")


class _Atoms(NamedTuple):
    """The atoms of some slices, in groups of one element in one slice: ``edges[g]`` to ``edges[g + 1]``."""

    turns_N2: np.ndarray
    groups_G: np.ndarray
    edges: np.ndarray
    slices: int
    grid: tuple[int, int]
    box: tuple[float, float]


def _gridded(factors: FormFactors, atoms: _Atoms) -> Tensor:
    """Return the structure factors over A for k_x >= 0 of some slices, (s, Ny, Nx/2 + 1) complex64."""
    grid = atoms.grid
    result = torch.zeros(atoms.slices, grid[0], grid[1] // 2 + 1, dtype=torch.complex64)
    for group, (first, last) in zip(atoms.groups_G.tolist(), pairwise(atoms.edges.tolist()), strict=True):
        slice_index, number = divmod(group, _GROUPS_A_SLICE)
        sums = gridding.spread_sums(atoms.turns_N2[first:last], grid)
        result[slice_index].addcmul_(sums, _form_factor_over_window_YX(factors, number, grid, atoms.box))
    return result


def _products(factors: FormFactors, atoms: _Atoms, device: str) -> Tensor:
    """Return sum over atoms of f / A x (cos, sin)_y x (cos, sin)_x for some slices: (s, 2, Ny/2, 2, Nx/2)."""
    ny, nx = atoms.grid
    quarter = torch.zeros(atoms.slices, 2, ny // 2, 2, nx // 2, device=device)
    origin = int(atoms.edges[0])
    inside = atoms.turns_N2[origin : atoms.edges[-1]]
    along_x, along_y = _harmonics(inside[:, 0], nx // 2, device), _harmonics(inside[:, 1], ny // 2, device)
    for group, (first, last) in zip(atoms.groups_G.tolist(), pairwise((atoms.edges - origin).tolist()), strict=True):
        slice_index, number = divmod(group, _GROUPS_A_SLICE)
        products = along_y[:, first:last] @ along_x[:, first:last].T
        table = _form_factor_YX(factors, number, atoms.grid, atoms.box, device)[None, :, None, :]
        quarter[slice_index].addcmul_(products.view(2, ny // 2, 2, nx // 2), table)
    return quarter


def _half_plane(quarter: Tensor) -> Tensor:
    """Return the structure factors for k_x >= 0, (S, Ny, Nx/2 + 1) complex64, from the products of cosines and sines.

    ``quarter`` is (S, 2, Ny/2, 2, Nx/2), the axes of two being (cos, sin) in y and in x. With a = 2 pi k_x x and
    b = 2 pi k_y y, exp(-i (a + b)) and exp(-i (a - b)) follow from the addition theorems. Nyquist's row and
    column stay 0.
    """
    slices, _, half_y, _, half_x = quarter.shape
    result = torch.zeros(slices, 2 * half_y, half_x + 1, 2, device=quarter.device)
    cos_cos, cos_sin = quarter[:, 0, :, 0], quarter[:, 0, :, 1]
    sin_cos, sin_sin = quarter[:, 1, :, 0], quarter[:, 1, :, 1]
    result[:, :half_y, :half_x, 0] = cos_cos - sin_sin
    result[:, :half_y, :half_x, 1] = -(cos_sin + sin_cos)
    result[:, half_y + 1 :, :half_x, 0] = (cos_cos + sin_sin)[:, 1:].flip(1)
    result[:, half_y + 1 :, :half_x, 1] = (sin_cos - cos_sin)[:, 1:].flip(1)
    return torch.view_as_complex(result)


def transmission(phases_SYX: Tensor) -> Tensor:
    """Return exp(i phase) as complex64."""
    return torch.polar(phases_SYX.new_ones(1).expand_as(phases_SYX), phases_SYX)
