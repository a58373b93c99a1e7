"""Crystals from CIF files: read by gemmi, labelled by spglib; what cannot be simulated is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ELEMENTS
from sgexp.crystallography.families import assign_families, duplicates
from sgexp.crystallography.symmetry import orbit
from sgexp.errors import DataError

FULL = 0.999
"""Occupancies below this are partial."""

CLOSEST = 0.5
"""Atoms nearer to each other than this cannot both be there, angstrom (the shortest bond, H-H, is 0.74)."""

MOST_ATOMS = 5000
"""Larger cells are refused: finding symmetry and contacts takes memory and time that grow with the square."""

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


def _refuse_overlaps(path: Path, crystal: Crystal) -> None:
    """Refuse two atoms on one place (disorder written without occupancies)."""
    for i in range(len(crystal) - 1):
        difference = crystal.positions[i + 1 :] - crystal.positions[i]
        difference -= np.round(difference)
        distance = np.sqrt(((difference @ crystal.cell) ** 2).sum(axis=1))
        if distance.min() < CLOSEST:
            j = i + 1 + int(distance.argmin())
            pair = " and ".join(ELEMENTS[int(crystal.numbers[k])].symbol for k in (i, j))
            raise DataError(
                f"{path}: {pair} atoms stand {distance.min():.2f} A apart; "
                "remove the disorder, or give coordinates with more digits."
            )


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
    crystal = Crystal.from_arrays(cell, numbers, np.concatenate(places), name=path.stem, space_groups=(1, 1, 1))
    _refuse_overlaps(path, crystal)
    return crystal.relabelled()


def cif_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that end in .cif, in any case, sorted; none where there is no folder."""
    folder = Path(folder)
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".cif") if folder.is_dir() else []


def read_cif_folder(
    path: str | Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return the crystals of a folder's CIF files, with families assigned, and (file, reason) for each one refused.

    Of files that hold one structure the first is taken: copies on two sides of a split would be a leak. ``progress``
    is called with (steps done, steps): reading a file is a step, and finding its family another. ``DataError`` when
    there is no folder or no readable CIF in it.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder of CIF files.")
    files = cif_files(path)
    if not files:
        raise DataError(f"{path}: holds no file that ends in .cif.")
    crystals: list[Crystal] = []
    bad: list[tuple[str, str]] = []
    file_of: dict[str, str] = {}
    for done, file in enumerate(files, start=1):
        try:
            if file.stem in file_of:
                raise DataError(f"{file}: another file gives the same material name {file.stem!r}; rename one.")
            crystals.append(read_cif(file))
            file_of[file.stem] = file.name
        except DataError as error:
            bad.append((file.name, str(error).removeprefix(f"{file}: ")))
        if progress is not None:
            progress(done, 2 * len(files))
    if not crystals:
        raise DataError(f"{path}: none of {len(files)} CIF files can be used; the first: {bad[0][0]}: {bad[0][1]}")
    copies = duplicates(crystals)
    bad += [(file_of[name], f"is a copy of {file_of[first]}") for name, first in copies.items()]
    kept = [crystal for crystal in crystals if crystal.name not in copies]

    def compared(done: int, total: int) -> None:
        if progress is not None:
            progress(2 * len(files) - (total - done), 2 * len(files))

    return assign_families(kept, compared), sorted(bad)
