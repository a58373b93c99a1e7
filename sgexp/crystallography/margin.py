"""How far a crystal is from more symmetry: ``symmetry_margin``, and the nearest more symmetric structures.

The margin is the smallest root-mean-square displacement, in angstrom, that turns the crystal into one of higher
symmetry. Which symmetries are near is asked of spglib with growing tolerances (``LADDER``). For each of them the
displacement is found exactly: the group's own operations, free of rounding, are applied in its standard setting, each
atom moves to the mean of its images, the whole moves so that the sum of squares is least, and the cell's metric becomes
the mean over the rotations. The atoms' displacements u and the change d of the three edges of the reduced primitive
cell add up as

    margin^2 = mean_i |u_i|^2 + (|d_a|^2 + |d_b|^2 + |d_c|^2) / 12

where the second term is the mean square displacement that the strain gives a point of the cell, seen from its middle.
For a perovskite whose B atom is off by z this is z sqrt(1/5 - 1/25); for one stretched by the factor 1 + e along c it
is a e / sqrt(18).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from sgexp.crystallography.crystal import SYMPRECS, Crystal
from sgexp.crystallography.symmetry import dataset, exact_operations, mean_strain, shift_to_mean

LADDER = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 0.9)
"""Tolerances at which spglib is asked for more symmetry, angstrom."""

NONE_NEAR = LADDER[-1]
"""The margin of a crystal that has no higher symmetry up to the last tolerance: it is this or more, angstrom."""


def symmetry_margin(crystal: Crystal) -> float:
    """Return the smallest rms displacement (angstrom) found that raises the symmetry; at most ``NONE_NEAR``.

    The search stops at the first tolerance that is larger than the best displacement so far times 2: structures that
    come in later have an atom that moves further than that.
    """
    own = _order(dataset(crystal.cell, crystal.positions, crystal.numbers, SYMPRECS[1]))
    best = NONE_NEAR
    seen = {own}
    for tolerance in LADDER:
        if tolerance > 2.0 * best:
            break
        found = dataset(crystal.cell, crystal.positions, crystal.numbers, tolerance)
        if found is None or _order(found) in seen or len(found.rotations) <= own[0]:
            continue
        seen.add(_order(found))
        distance = _distance(crystal, found)
        if distance is not None:
            best = min(best, distance)
    return best


def _order(found: Any) -> tuple[int, int]:
    """Return (operations in the given cell, group number): what tells symmetries of one crystal apart."""
    return (0, 0) if found is None else (len(found.rotations), int(found.number))


def _distance(crystal: Crystal, found: Any) -> float | None:
    """Return the rms displacement to the structure with the symmetry found, None where atoms cannot be paired."""
    rotations, translations = exact_operations(found)
    steps = shift_to_mean(crystal.cell, crystal.positions, crystal.numbers, rotations, translations)
    if steps is None:
        return None
    steps -= steps.mean(axis=0)  # the best origin for these operations: it leaves the least sum of squares
    strain = mean_strain(crystal.cell, crystal.cell, rotations)
    return rms((steps @ crystal.cell), reduced_primitive(crystal) @ strain)


def rms(steps: NDArray[np.float64], edges: NDArray[np.float64]) -> float:
    """Return the size of a change: (N, 3) steps of the atoms and (3, 3) changes of the edges, angstrom."""
    return float(np.sqrt((steps**2).sum(axis=1).mean() + (edges**2).sum() / 12.0))


def reduced_primitive(crystal: Crystal) -> NDArray[np.float64]:
    """Return the rows of the Delaunay-reduced primitive cell (angstrom), in the crystal's own orientation."""
    structure: Any = (crystal.cell, crystal.positions, crystal.numbers)
    try:
        primitive = spglib.standardize_cell(structure, to_primitive=True, no_idealize=True, symprec=SYMPRECS[1])
        reduced = None if primitive is None else spglib.delaunay_reduce(primitive[0], eps=1e-5)
    except spglib.error.SpglibError:
        reduced = None
    return crystal.cell if reduced is None else np.asarray(reduced)
