"""Jitter: another crystal of the same group, its free Wyckoff parameters and its cell moved a little.

A random displacement of all atoms and a random strain of the cell are averaged over the group's operations. What is
left is exactly what the group leaves free: the parameters of Wyckoff positions, and edges and angles of the cell. It is
scaled to the size wanted, labelled by spglib, and refused where a higher symmetry has come too near.

Isostructural compounds differ so in nature: not by their size alone, as substituted children without jitter do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sgexp.crystallography.crystal import SYMPRECS, Crystal
from sgexp.crystallography.margin import reduced_primitive, rms, symmetry_margin
from sgexp.crystallography.symmetry import dataset, exact_operations, mean_strain, shift_to_mean
from sgexp.errors import DataError

CLEAR = 0.1
"""Rms displacement, angstrom, that must separate a jittered crystal from every higher symmetry, unless its parent is
nearer than that to one; then it must stay as far."""

TRIAL = 1e-3
"""Size of the random field before averaging, as a fraction of the cell: small enough that no atom is mistaken."""

FIXED = 1e-6
"""A field of which averaging leaves less than this share is one that the group forbids."""

ATTEMPTS = 5


def jittered(crystal: Crystal, size: float, rng: np.random.Generator, margin: float | None = None) -> Crystal | None:
    """Return the crystal with its free parameters and its cell moved at random, or None where no try keeps the group.

    Parameters
    ----------
    crystal
        Any crystal with labels; name, parent and family are kept.
    size
        Rms displacement, angstrom: of the atoms in the cell and, as ``margin`` counts it, of the cell, half of the
        square each. Where no position has a free parameter, the cell alone moves.
    rng
        The random numbers to use.
    margin
        The crystal's own ``symmetry_margin``, computed when left out.
    """
    found: Any = dataset(crystal.cell, crystal.positions, crystal.numbers, SYMPRECS[1])
    if found is None:
        return None
    rotations, translations = exact_operations(found)
    clear = min(CLEAR, symmetry_margin(crystal) if margin is None else margin)
    for _ in range(ATTEMPTS):
        moved = _moved(crystal, size, rng, rotations, translations)
        try:
            child = None if moved is None else moved.relabelled()
        except DataError:
            continue
        if child is None or child.space_groups[:2] != (crystal.space_group,) * 2:
            continue
        if symmetry_margin(child) >= clear - 1e-9:
            return child
    return None


def _moved(crystal: Crystal, size: float, rng: np.random.Generator, rotations: Any, translations: Any) -> Any:
    """Return the crystal moved by ``size``, not labelled."""
    field = TRIAL * rng.normal(size=crystal.positions.shape) @ np.linalg.inv(crystal.cell)
    rest = shift_to_mean(crystal.cell, crystal.positions, crystal.numbers, rotations, translations)
    steps = shift_to_mean(crystal.cell, crystal.positions + field, crystal.numbers, rotations, translations)
    if rest is None or steps is None:
        return None
    steps = field + steps - rest
    steps -= steps.mean(axis=0)  # a shift of all atoms along a polar axis is no change
    lengths = np.linalg.norm(steps @ crystal.cell, axis=1)
    free = np.sqrt((lengths**2).mean()) > FIXED * TRIAL
    noise = rng.normal(size=(3, 3))
    strained = crystal.cell @ (np.eye(3) + TRIAL * (noise + noise.T) / 2.0)
    strain = mean_strain(crystal.cell, strained, rotations)
    part = size / np.sqrt(2.0) if free else size
    strain *= part / rms(np.zeros((1, 3)), reduced_primitive(crystal) @ strain)
    if free:
        steps *= part / rms(steps @ crystal.cell, np.zeros((3, 3)))
    places = (crystal.positions + (steps if free else 0.0)) % 1.0
    return replace(crystal, cell=crystal.cell @ (np.eye(3) + strain), positions=places % 1.0)
