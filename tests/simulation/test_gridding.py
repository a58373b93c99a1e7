"""Sums over atoms by gridding against the same sums atom by atom, and against matrix products in whole patterns."""

import numpy as np
import pytest
import torch

from sgexp.simulation import gridding, potential
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.potential import slice_phases
from sgexp.simulation.protocol import Slab

GRIDS = [(32, 32), (40, 24), (50, 128)]


@pytest.mark.parametrize("grid", GRIDS)
def test_sums_are_those_over_atoms_at_any_place(grid):
    turns = np.random.default_rng(0).random((25, 2))
    turns[:3] = [[0, 0], [0.5, 1 - 1e-12], [1 / 3, 0]]  # on pixels, and beside the box's edge
    ny, nx = grid
    ky, kx = np.fft.fftfreq(ny, 1 / ny), np.arange(nx // 2 + 1)
    exact = np.exp(-2j * np.pi * np.outer(ky, turns[:, 1])) @ np.exp(-2j * np.pi * np.outer(turns[:, 0], kx))
    my, mx = gridding.finer(grid)
    window = gridding.window_transform(ky, my)[:, None] * gridding.window_transform(kx.astype(float), mx)
    ours = gridding.spread_sums(turns, grid).numpy() / window
    middle = (np.abs(ky) < 0.4 * ny)[:, None] & (kx < 0.4 * nx)
    assert np.abs(ours - exact)[middle].max() < 1e-5 * len(turns)
    inside = (np.abs(ky) < ny / 2)[:, None] & (kx < nx / 2)
    assert np.abs(ours - exact)[inside].max() < 1e-4 * len(turns)  # aliases are strongest at Nyquist's edge


def crowded(seed=2, atoms=6_000, slices=3):
    """Enough atoms of two elements in each slice for gridding, and too few of a third."""
    rng = np.random.default_rng(seed)
    places = rng.random((atoms, 3)) * [30.0, 24.0, 2.0 * slices]
    numbers = rng.choice([14, 79, 8], atoms, p=[0.55, 0.44, 0.01])
    return Slab(numbers, places, (30.0, 24.0), 2.0, slices)


def by_products(monkeypatch, compute):
    with monkeypatch.context() as changed:
        changed.setattr(potential, "_MANY_ATOMS", 10**9)
        return compute()


def test_phases_are_those_of_matrix_products(monkeypatch):
    def phases(slab, grid):
        return torch.cat(list(slice_phases(slab, grid, 100.0)))

    few = crowded(atoms=1_000)  # too few to be gridded
    assert torch.equal(phases(few, (80, 100)), by_products(monkeypatch, lambda: phases(few, (80, 100))))
    for grid in ((80, 100), (256, 320)):  # several slices at once, and one
        ours = phases(crowded(), grid)
        reference = by_products(monkeypatch, lambda grid=grid: phases(crowded(), grid))
        assert not torch.equal(ours, reference)
        assert float((ours - reference).norm() / reference.norm()) < 5e-6


def test_patterns_are_those_of_matrix_products(monkeypatch):
    slab = crowded(slices=6, atoms=12_000)
    beam = Illumination(100.0, 4e-3, 80.0, np.array([[15.0, 12.0], [9.0, 14.0]]))
    ours = Multislice().pattern(slab, beam, (160, 200))
    reference = by_products(monkeypatch, lambda: Multislice().pattern(slab, beam, (160, 200)))
    ky, kx = (np.fft.fftshift(np.fft.fftfreq(n, length / n)) for n, length in zip((160, 200), (24, 30), strict=True))
    outside = np.hypot(ky[:, None], kx) > 0.15  # of the direct disk
    assert np.abs(ours - reference)[outside].sum() < 1e-5 * reference[outside].sum()
    assert np.array_equal(ours, Multislice().pattern(slab, beam, (160, 200)))
