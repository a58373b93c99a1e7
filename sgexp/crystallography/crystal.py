"""``Crystal``: cell, atoms, and the space group that spglib finds at three tolerances."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgexp.crystallography.elements import ATOMIC_NUMBERS, ELEMENTS, formula_order
from sgexp.crystallography.symmetry import dataset
from sgexp.errors import DataError

SYMPRECS = (0.001, 0.01, 0.1)
"""Tolerances of the three space-group labels, in angstrom (spglib's ``symprec``)."""

AROUND = (0.0005, 0.2)
"""Tolerances below and above those, in angstrom, at which the groups of built-in crystals are stored as well."""

CLOSEST = 0.5
"""Atoms nearer to each other than this cannot both be there, angstrom (the shortest bond, H-H, is 0.74)."""

MOST_ATOMS = 5000
"""Larger cells are refused: finding symmetry and contacts takes memory and time that grow with the square."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """An ordered crystal with its labels.

    Attributes
    ----------
    cell
        (3, 3) float64: the conventional cell's vectors a, b, c as rows, angstrom.
    numbers
        (N,) int64: atomic numbers.
    positions
        (N, 3) float64: fractional coordinates in [0, 1).
    space_groups
        Group numbers at the tolerances ``SYMPRECS``; 0 where spglib finds none.
    name
        The material's id, unique in a data set.
    parent
        Name of the crystal this one was made from by substitution, or its own name.
    family
        Name of its structure family (see ``families``), or "" when none was assigned.
    displacements
        (atomic number, rms thermal displacement along each axis in Å) of the elements for which the crystal's file
        gives B or U; nothing for all others.
    groups_around
        Group numbers at the tolerances ``AROUND``; nothing where they are not known.
    """

    cell: NDArray[np.float64]
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    space_groups: tuple[int, int, int]
    name: str
    parent: str
    family: str = ""
    displacements: tuple[tuple[int, float], ...] = ()
    groups_around: tuple[int, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        cell: ArrayLike,
        species: Sequence[str] | Sequence[int] | NDArray[np.int64],
        positions: ArrayLike,
        *,
        name: str,
        parent: str = "",
        family: str = "",
        space_groups: tuple[int, int, int] | None = None,
    ) -> Crystal:
        """Return a crystal from cell rows (angstrom), symbols or atomic numbers, and fractional positions.

        Positions are wrapped into [0, 1); the groups are found by spglib unless given.
        """
        numbers = np.array([ATOMIC_NUMBERS[s] if isinstance(s, str) else int(s) for s in species], dtype=np.int64)
        wrapped = np.array(positions, dtype=np.float64).reshape(-1, 3) % 1.0
        wrapped[wrapped >= 1.0] = 0.0  # -1e-17 % 1.0 is 1.0 in floating point
        crystal = cls(
            cell=np.array(cell, dtype=np.float64).reshape(3, 3),
            numbers=numbers,
            positions=wrapped,
            space_groups=space_groups or (0, 0, 0),
            name=name,
            parent=parent or name,
            family=family,
        )
        return crystal if space_groups else crystal.relabelled()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def space_group(self) -> int:
        """The label: group number at symprec 0.01 angstrom."""
        return self.space_groups[1]

    @property
    def abc(self) -> NDArray[np.float64]:
        """Lengths of the cell vectors, angstrom."""
        return np.linalg.norm(self.cell, axis=1)

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles alpha, beta, gamma of the cell, degree."""
        unit = self.cell / self.abc[:, None]
        cosines = [unit[1] @ unit[2], unit[2] @ unit[0], unit[0] @ unit[1]]
        return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))

    @property
    def volume(self) -> float:
        """Volume of the cell, cubic angstrom."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def formula(self) -> str:
        """Formula of the cell in the style of SMC-19, by electronegativity: "Fe8 O14 F2"."""
        values, counts = np.unique(self.numbers, return_counts=True)
        pairs = sorted(zip(values.tolist(), counts.tolist(), strict=True), key=lambda pair: formula_order(pair[0]))
        return " ".join(f"{ELEMENTS[z].symbol}{count}" for z, count in pairs)

    def relabelled(self) -> Crystal:
        """Return the same crystal with the groups spglib finds; ``DataError`` when there is none at 0.01 angstrom."""
        first, third = group_number(self, SYMPRECS[0]), group_number(self, SYMPRECS[2])
        # Symmetry can only grow with the tolerance, so that equal ends leave no choice between them (and spglib takes
        # up to 40 ms a call for cubic crystals).
        second = first if first == third != 0 else group_number(self, SYMPRECS[1])
        if second == 0:
            raise DataError(
                f"{self.name}: spglib finds no space group at {SYMPRECS[1]} angstrom; "
                "check the cell and that no two atoms stand on one place."
            )
        return dataclasses.replace(self, space_groups=(first, second, third), groups_around=())

    def groups_if_scaled(self, scale: float) -> tuple[int, ...] | None:
        """Return the groups at ``SYMPRECS`` of this crystal with edges ``scale`` times as long; None if not known.

        They are its own at tolerances ``scale`` times as small. Symmetry can only grow with the tolerance: groups known
        below and above one of these, if equal, are the group there.
        """
        known = sorted(zip((*SYMPRECS, *AROUND), (*self.space_groups, *self.groups_around), strict=False))
        groups = []
        for symprec in SYMPRECS:
            below = [group for tolerance, group in known if tolerance <= symprec / scale][-1:]
            above = [group for tolerance, group in known if tolerance >= symprec / scale][:1]
            if not below or below != above or below == [0]:
                return None
            groups += below
        return tuple(groups)


def group_number(crystal: Crystal, symprec: float) -> int:
    """Return the group number that spglib finds with a tolerance of ``symprec`` angstrom, or 0."""
    found = dataset(crystal.cell, crystal.positions, crystal.numbers, symprec)
    return 0 if found is None else int(found.number)


def checked(
    path: Path, cell: NDArray[np.float64], numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> Crystal:
    """Return the crystal that a file describes, named after it and labelled; ``DataError`` where it cannot be one."""
    crystal = Crystal.from_arrays(cell, numbers, positions, name=path.stem, space_groups=(1, 1, 1))
    for i in range(len(crystal) - 1):
        difference = crystal.positions[i + 1 :] - crystal.positions[i]
        difference -= np.round(difference)
        distance = np.sqrt(((difference @ crystal.cell) ** 2).sum(axis=1))
        if distance.min() < CLOSEST:  # disorder written without occupancies
            j = i + 1 + int(distance.argmin())
            pair = " and ".join(ELEMENTS[int(crystal.numbers[k])].symbol for k in (i, j))
            raise DataError(
                f"{path}: {pair} atoms stand {distance.min():.2f} A apart; "
                "remove the disorder, or give coordinates with more digits."
            )
    return crystal.relabelled()
