"""The few things we ask spglib, with its types and its two ways of failing (``None`` or an exception) made one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from sgexp.errors import DataError


def hall_type(hall_number: int) -> spglib.SpaceGroupType:
    """Return spglib's description of one of the 530 Hall settings."""
    kind = spglib.get_spacegroup_type(hall_number)
    if kind is None:
        raise DataError(f"There is no Hall number {hall_number}: they run from 1 to 530.")
    return kind


@cache
def operations(hall_number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotations (M, 3, 3) and translations (M, 3) of a Hall setting, centring included."""
    symmetry = spglib.get_symmetry_from_database(hall_number)
    if symmetry is None:
        raise DataError(f"There is no Hall number {hall_number}: they run from 1 to 530.")
    return symmetry["rotations"].astype(np.float64), symmetry["translations"]


def dataset(
    cell: NDArray[np.float64], positions: NDArray[np.float64], numbers: NDArray[np.int64], symprec: float
) -> Any | None:
    """Return spglib's symmetry dataset at a tolerance of ``symprec`` angstrom, or ``None`` where it finds none."""
    structure: Any = (cell, positions, numbers)
    try:
        return spglib.get_symmetry_dataset(structure, symprec=symprec)
    except spglib.error.SpglibError:
        return None


def primitive(
    cell: NDArray[np.float64], positions: NDArray[np.float64], numbers: NDArray[np.int64], symprec: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return cell, positions and numbers of a primitive cell (as given where spglib finds none)."""
    structure: Any = (cell, positions, numbers)
    try:
        found = spglib.find_primitive(structure, symprec=symprec)
    except spglib.error.SpglibError:
        found = None
    return (cell, positions, numbers) if found is None else (found[0], found[1], np.asarray(found[2], dtype=np.int64))
