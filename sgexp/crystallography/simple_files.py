"""Crystals from VASP's POSCAR files and from extended XYZ files: every atom of a cell is listed, no symmetry is named.

Such cells are often primitive ones. They are brought into the conventional cell of their space group, as CIF files and
the built-in crystals have it, because the zones of SMC-19's protocol are named in it; no atom is moved by that.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import MOST_ATOMS, SYMPRECS, Crystal, checked
from sgexp.crystallography.elements import ATOMIC_NUMBERS, ELEMENTS
from sgexp.crystallography.symmetry import conventional
from sgexp.errors import DataError

MOST_BYTES = 2_000_000  # of a file; one of 5,000 atoms has some 500,000
_LONGEST_COMMENT = 4000  # characters: searching a line of words takes time that grows with its square

LONGEST = 1000.0
"""Lengths in a file beyond this are no crystal's, angstrom."""

Array = NDArray[np.float64]


def read_poscar(path: str | Path) -> Crystal:
    """Return the crystal of a POSCAR file (VASP 5: with the elements' names), named after the file."""
    path = Path(path)
    lines = _lines(path)
    if len(lines) < 8:
        raise DataError(f"{path}: ends before the first atom; a POSCAR has at least eight lines.")
    cell = np.array([_numbers(path, lines, row, 3) for row in (2, 3, 4)])
    scale = _scale(path, lines, cell)
    cell = cell * scale
    kinds = lines[5].split()
    if not kinds or not all(re.match(r"[A-Z][a-z]?", kind) for kind in kinds):
        raise DataError(f"{path}: line 6 names no elements (the form before VASP 5); add a line such as 'Ga As' there.")
    counts = [_whole(word) for word in lines[6].split()[: len(kinds)]]
    if len(counts) != len(kinds) or min(counts) < 1:
        raise DataError(f"{path}: line 7 does not say how many atoms there are of each element of line 6.")
    _check_count(path, sum(counts))
    first = 8 if lines[7].strip()[:1] in ("S", "s") else 7  # "Selective dynamics" has a line of its own
    kind_of = lines[first].strip()[:1].lower() if len(lines) > first else ""
    if kind_of not in ("d", "c", "k"):
        raise DataError(f"{path}: line {first + 1} says neither Direct nor Cartesian.")
    places = np.array([_numbers(path, lines, first + 1 + atom, 3) for atom in range(sum(counts))])
    symbols = [re.split(r"[_/.]", kind)[0] for kind in kinds]  # "Fe_pv", "Si/9a1b": names of VASP's potentials
    numbers = np.repeat([_atomic_number(path, symbol) for symbol in symbols], counts)
    if kind_of != "d":
        _check_cell(path, cell)
        places = places * scale @ np.linalg.inv(cell)
    return _crystal(path, cell, numbers, places)


def _scale(path: Path, lines: list[str], cell: Array) -> Array | float:
    """Return what line 2 multiplies lengths with: a factor, one for each axis x, y, z, or a volume (negative)."""
    given = _numbers(path, lines, 1, 3) if len(lines[1].split()) >= 3 else _numbers(path, lines, 1, 1)
    if len(given) == 3 and min(given) > 0:
        return given
    if len(given) == 1 and given[0] > 0:
        return float(given[0])
    volume = abs(float(np.linalg.det(cell)))
    if len(given) == 1 and given[0] < 0 and volume > 0:
        return float((-given[0] / volume) ** (1.0 / 3.0))
    raise DataError(
        f"{path}: line 2 must hold a scaling factor, three of them, or the cell's volume as a negative number."
    )


def read_xyz(path: str | Path) -> Crystal:
    """Return the crystal of an extended XYZ file (``Lattice="..."`` in its second line), named after the file."""
    path = Path(path)
    lines = _lines(path)
    count = _whole(lines[0].strip()) if lines else 0
    if count < 1:
        raise DataError(f"{path}: line 1 does not hold the number of atoms.")
    _check_count(path, count)
    comment = lines[1] if len(lines) > 1 else ""
    if len(comment) > _LONGEST_COMMENT:
        raise DataError(f"{path}: line 2 has more than {_LONGEST_COMMENT} characters.")
    fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(comment)}
    if "lattice" not in fields:
        raise DataError(
            f'{path}: has no Lattice="..." in line 2: a plain XYZ file says nothing of the cell; write extended XYZ.'
        )
    if [flag for flag in fields.get("pbc", "").split() if flag.upper() not in ("T", "TRUE", "1")]:
        raise DataError(f"{path}: pbc={fields['pbc']} is no crystal; it must repeat along all three vectors.")
    cell = np.array(_floats(path, fields["lattice"].split(), 9, 2)).reshape(3, 3)
    _check_cell(path, cell)
    kind, place = _columns(path, fields.get("properties", "species:S:1:pos:R:3"))
    if len(lines) < count + 2:
        raise DataError(f"{path}: ends after {max(0, len(lines) - 2)} of {count} atoms.")
    if any(line.strip() for line in lines[count + 2 :]):
        raise DataError(f"{path}: holds more than one structure; give each a file of its own.")
    numbers, places = [], []
    for row in range(2, count + 2):
        words = lines[row].split()
        numbers.append(_atomic_number(path, words[kind] if len(words) > kind else ""))
        places.append(_floats(path, words[place : place + 3], 3, row + 1))
    return _crystal(path, cell, np.array(numbers), np.array(places) @ np.linalg.inv(cell))


_FIELD = re.compile(r"(\w+)\s*=\s*(?:[\"{\[]([^\"}\]]*)[\"}\]]|([^\s\"{\[]+))")


def _columns(path: Path, properties: str) -> tuple[int, int]:
    """Return the columns of the species and of the first coordinate."""
    words = properties.split(":")
    starts, column = {}, 0
    for name, _, width in zip(words[::3], words[1::3], words[2::3], strict=False):
        starts[name.lower()] = column
        column += _whole(width)
    kind = starts.get("species", starts.get("z"))
    if kind is None or "pos" not in starts:
        raise DataError(f"{path}: Properties={properties[:80]} names no species or no pos.")
    return kind, starts["pos"]


# --- what both have --------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({type(error).__name__}).") from error
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{path}: has more than {MOST_BYTES // 10**6} MB, too many for a cell of up to {MOST_ATOMS} atoms."
        )
    return text.splitlines()


def _numbers(path: Path, lines: list[str], row: int, count: int) -> Array:
    if row >= len(lines):
        raise DataError(f"{path}: ends at line {len(lines)}, before its last atom.")
    return np.array(_floats(path, lines[row].split()[:count], count, row + 1))


def _floats(path: Path, words: list[str], count: int, line: int) -> list[float]:
    """Return ``count`` finite numbers of a reasonable size."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(abs(value) < 1e6 for value in values):
        raise DataError(f"{path}: line {line} does not hold the {count} numbers that belong there.")
    return values


def _atomic_number(path: Path, symbol: str) -> int:
    number = ATOMIC_NUMBERS.get(symbol) or _whole(symbol)
    if number not in ELEMENTS:
        raise DataError(f"{path}: {symbol[:20]!r} is no element from H to Cf.")
    return number


def _whole(word: str) -> int:
    """Return a short whole number, 0 for anything else."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 7 else 0


def _check_count(path: Path, count: int) -> None:
    if count > MOST_ATOMS:
        raise DataError(f"{path}: has more than {MOST_ATOMS} atoms in the cell; use a smaller cell.")


def _check_cell(path: Path, cell: Array) -> None:
    edges = np.linalg.norm(cell, axis=1)
    volume = abs(float(np.linalg.det(cell)))
    if not (0.5 < edges.min() and edges.max() < LONGEST) or volume < 1e-2 * float(edges.prod()):
        raise DataError(f"{path}: its three cell vectors span no cell that a crystal could have.")


def _crystal(path: Path, cell: Array, numbers: NDArray[np.int64], places: Array) -> Crystal:
    _check_cell(path, cell)
    if np.linalg.det(cell) < 0:  # the same atoms, on right-handed vectors
        cell, places = -cell, -places
    found = checked(path, cell, numbers, places)
    cell, places, numbers = conventional(found.cell, found.positions, found.numbers, SYMPRECS[1])
    _check_count(path, len(numbers))
    return checked(path, cell, numbers, places)
