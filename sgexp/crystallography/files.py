"""Folders of files with one crystal each: CIF, POSCAR (.vasp), extended XYZ; what cannot be used, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sgexp.crystallography.cif import read_cif
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import assign_families, duplicates
from sgexp.crystallography.simple_files import read_poscar, read_xyz
from sgexp.errors import DataError

READERS: dict[str, Callable[[Path], Crystal]] = {".cif": read_cif, ".vasp": read_poscar, ".xyz": read_xyz}


def read_structure(path: str | Path) -> Crystal:
    """Return the crystal of a file, by its ending; ``DataError`` says what is wrong with a bad one."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: is none of {', '.join(READERS)}.")
    return reader(path)


def structure_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that can hold a crystal, by their ending in any case, sorted."""
    folder = Path(folder)
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS) if folder.is_dir() else []


def read_structures(
    path: str | Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return the crystals of a folder's files, with families assigned, and (file, reason) for each one refused.

    Of files that hold one structure the first is taken: copies on two sides of a split would be a leak. ``progress``
    is called with (steps done, steps): reading a file is a step, and finding its family another. ``DataError`` when
    there is no folder or no readable file in it.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder of structure files.")
    files = structure_files(path)
    if not files:
        raise DataError(f"{path}: holds no file that ends in {', '.join(READERS)}.")
    crystals: list[Crystal] = []
    bad: list[tuple[str, str]] = []
    file_of: dict[str, str] = {}
    for done, file in enumerate(files, start=1):
        try:
            if file.stem in file_of:
                raise DataError(f"{file}: another file gives the same material name {file.stem!r}; rename one.")
            crystals.append(read_structure(file))
            file_of[file.stem] = file.name
        except DataError as error:
            bad.append((file.name, str(error).removeprefix(f"{file}: ")))
        if progress is not None:
            progress(done, 2 * len(files))
    if not crystals:
        raise DataError(f"{path}: none of {len(files)} files can be used; the first: {bad[0][0]}: {bad[0][1]}")
    copies = duplicates(crystals)
    bad += [(file_of[name], f"is a copy of {file_of[first]}") for name, first in copies.items()]
    kept = [crystal for crystal in crystals if crystal.name not in copies]

    def compared(done: int, total: int) -> None:
        if progress is not None:
            progress(2 * len(files) - (total - done), 2 * len(files))

    return assign_families(kept, compared), sorted(bad)
