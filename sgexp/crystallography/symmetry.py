"""The few things we ask spglib, with its types and its two ways of failing (``None`` or an exception) made one."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from sgexp.errors import DataError

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # it complains of tolerances that we then change

SAME_PLACE = 0.05
"""Two symmetry images closer than this are one atom, angstrom (files round coordinates to 1e-3 ... 1e-5 of an edge)."""


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
    if found is None:
        return cell, positions, numbers
    return np.asarray(found[0]), np.asarray(found[1]), np.asarray(found[2], dtype=np.int64)


def conventional(
    cell: NDArray[np.float64], positions: NDArray[np.float64], numbers: NDArray[np.int64], symprec: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return cell, positions and numbers of the conventional cell, no atom moved (as given where spglib finds none)."""
    structure: Any = (cell, positions, numbers)
    try:
        found = spglib.standardize_cell(structure, to_primitive=False, no_idealize=True, symprec=symprec)
    except spglib.error.SpglibError:
        found = None
    if found is None:
        return cell, positions, numbers
    return np.asarray(found[0]), np.asarray(found[1]), np.asarray(found[2], dtype=np.int64)


def orbit(
    site: NDArray[np.float64],
    rotations: NDArray[np.float64],
    translations: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (M, 3) distinct images of a site, first moved onto the special position that it was rounded from."""
    shift = rotations @ site + translations - site
    shift -= np.round(shift)
    itself = ((shift @ cell) ** 2).sum(axis=1) < SAME_PLACE**2
    images = rotations @ (site + shift[itself].mean(axis=0)) + translations
    if itself.sum() == 1:
        return images
    # Images are exact now: each is met once per operation that keeps the site.
    difference = images[:, None] - images[None]
    difference -= np.round(difference)
    same = ((difference @ cell) ** 2).sum(axis=2) < SAME_PLACE**2
    return images[same.argmax(axis=1) == np.arange(len(images))]


def exact_operations(found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rotations and translations of a dataset in the axes of the cell given, translations free of rounding.

    spglib finds translations to within its tolerance; here they are those of the group in its standard setting, carried
    over with the change of axes that the dataset names. They may be off by one common shift of the origin.
    """
    change, shift = found.transformation_matrix, found.origin_shift
    inverse = np.linalg.inv(change)
    known, steps = operations(int(found.hall_number))
    rotations = found.rotations.astype(np.float64)
    standard = change @ rotations @ inverse
    moved = found.translations @ change.T + shift - standard @ shift
    same = np.abs(standard[:, None] - known[None]).max(axis=(2, 3)) < 1e-3
    difference = moved[:, None] - steps[None]
    difference -= np.round(difference)
    size = np.where(same, (difference**2).sum(axis=2), np.inf)
    error = difference[np.arange(len(size)), size.argmin(axis=1)]
    return rotations, found.translations - error @ inverse.T


def shift_to_mean(
    cell: NDArray[np.float64],
    places: NDArray[np.float64],
    numbers: NDArray[np.int64],
    rotations: NDArray[np.float64],
    translations: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Return (N, 3) fractional steps from each atom to the mean of all images that fall on it.

    ``None`` where an operation brings two atoms to one: it is no symmetry, not even nearly.
    """
    total = np.zeros_like(places)
    unlike = numbers[:, None] != numbers[None]
    for rotation, translation in zip(rotations, translations, strict=True):
        images = places @ rotation.T + translation
        difference = images[:, None] - places[None]
        difference -= np.round(difference)
        squared = ((difference @ cell) ** 2).sum(axis=2)
        squared[unlike] = np.inf
        partner = squared.argmin(axis=1)
        if len(np.unique(partner)) != len(partner):
            return None
        total[partner] += difference[np.arange(len(partner)), partner]
    return total / len(rotations)


def mean_strain(cell: NDArray[np.float64], wanted: NDArray[np.float64], rotations: NDArray[np.float64]) -> Any:
    """Return the (3, 3) symmetric strain, in Cartesian axes, from ``cell`` to the mean of ``wanted`` over rotations.

    Rows of ``cell @ (1 + strain)`` span, to first order, the cell whose metric is that of ``wanted`` averaged.
    """
    metric = np.mean([rotation.T @ (wanted @ wanted.T) @ rotation for rotation in rotations], axis=0)
    inverse = np.linalg.inv(cell)
    return 0.5 * inverse @ (metric - cell @ cell.T) @ inverse.T
