"""Crystals from CIF files: read by gemmi, labelled by spglib; what cannot be simulated is refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import MOST_ATOMS, Crystal, checked
from sgexp.crystallography.elements import ELEMENTS
from sgexp.crystallography.symmetry import orbit
from sgexp.errors import DataError

FULL = 0.999
"""Occupancies below this are partial."""

MOST_OPERATIONS = 1000
"""Longer lists are refused: 192 is the most that a conventional cell has, and memory grows with the square."""


def _small_structure(path: Path) -> gemmi.SmallStructure:
    """Return the first block that has atoms."""
    try:
        document = gemmi.cif.read(str(path))
    except (OSError, ValueError, RuntimeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not readable as CIF ({detail}).") from error
    for block in document:
        try:
            structure = gemmi.make_small_structure_from_block(block)
        except (ValueError, RuntimeError) as error:
            raise DataError(f"{path}: block {block.name!r} is no crystal structure ({error}).") from error
        if len(structure.sites):
            return structure
    raise DataError(f"{path}: holds no atoms (no _atom_site_fract_x ...); give a CIF with atomic positions.")


def _check_sites(path: Path, structure: gemmi.SmallStructure) -> None:
    """Refuse sites that are shared, unplaced or of no element that form factors exist for."""
    for site in structure.sites:
        if site.occ < FULL:
            raise DataError(
                f"{path}: site {site.label} has a partial occupancy of {site.occ:g}; only ordered crystals can be "
                "simulated: use an ordered model of it."
            )
        if not np.isfinite(site.fract.tolist()).all():
            raise DataError(f"{path}: site {site.label} has no coordinates; complete or remove it.")
        if site.element.atomic_number not in ELEMENTS:
            raise DataError(f"{path}: site {site.label} is no element from H to Cf ({site.type_symbol or '?'}).")


def _operations(path: Path, structure: gemmi.SmallStructure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotations and translations: those listed, else of the group named, else the identity (all atoms given)."""
    group = structure.spacegroup
    try:
        if structure.symops:
            listed = [gemmi.Op(text) for text in structure.symops]
        elif group is not None:
            listed = list(group.operations())
        elif structure.spacegroup_hm or structure.spacegroup_hall or structure.spacegroup_number:
            name = structure.spacegroup_hm or structure.spacegroup_hall or structure.spacegroup_number
            raise DataError(f"{path}: the space group {name!r} is not known and no operations are listed; list them.")
        else:
            listed = [gemmi.Op("x,y,z")]
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{path}: a symmetry operation cannot be read ({error}).") from error
    if len(listed) > MOST_OPERATIONS:
        raise DataError(
            f"{path}: lists {len(listed)} symmetry operations, more than {MOST_OPERATIONS}; use a conventional cell."
        )
    rotations = np.array([operation.rot for operation in listed], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([operation.tran for operation in listed], dtype=np.float64) / gemmi.Op.DEN
    return rotations, translations


def _mean_square(site: gemmi.SmallStructure.Site, cell: gemmi.UnitCell) -> float:
    """Return the U in Å^2 that a file gives for a site, the equivalent one of an anisotropic site, or 0."""
    u = site.u_iso or (cell.calculate_u_eq(site.aniso) if site.aniso.nonzero() else 0.0)
    return float(u) if np.isfinite(u) and u > 0 else 0.0


def _displacements(structure: gemmi.SmallStructure, images: list[int]) -> tuple[tuple[int, float], ...]:
    """Return (atomic number, rms displacement in Å) of each element for which every site has a B or U.

    U is averaged over an element's sites, each with its number of ``images`` in the cell.
    """
    sums: dict[int, tuple[float, int]] = {}
    unknown: set[int] = set()
    for site, count in zip(structure.sites, images, strict=True):
        u, number = _mean_square(site, structure.cell), site.element.atomic_number
        total, atoms = sums.get(number, (0.0, 0))
        sums[number] = (total + count * u, atoms + count)
        if u == 0.0:
            unknown.add(number)
    return tuple((z, float(np.sqrt(sums[z][0] / sums[z][1]))) for z in sorted(sums) if z not in unknown)


def read_cif(path: str | Path) -> Crystal:
    """Return the crystal of a CIF file, named after the file; ``DataError`` says what is wrong with a bad one."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    structure = _small_structure(path)
    cell = np.array(structure.cell.orth.mat.tolist()).T
    # gemmi's default cell has edges of 1 A: what a file without cell parameters gets.
    if not np.isfinite(cell).all() or structure.cell.volume < 2.0:
        raise DataError(f"{path}: has no unit cell (_cell_length_a ... _cell_angle_gamma); add it.")
    _check_sites(path, structure)
    rotations, translations = _operations(path, structure)
    numbers: list[int] = []
    places: list[NDArray[np.float64]] = []
    for site in structure.sites:
        if max(len(numbers), len(structure.sites)) > MOST_ATOMS:  # told before more of them take memory
            raise DataError(f"{path}: has more than {MOST_ATOMS} atoms in the cell; use a smaller cell.")
        images = orbit(np.array(site.fract.tolist()), rotations, translations, cell)
        places.append(images)
        numbers += [site.element.atomic_number] * len(images)
    if len(numbers) > MOST_ATOMS:
        raise DataError(f"{path}: has more than {MOST_ATOMS} atoms in the cell; use a smaller cell.")
    crystal = checked(path, cell, np.array(numbers), np.concatenate(places))
    return replace(crystal, displacements=_displacements(structure, [len(images) for images in places]))
