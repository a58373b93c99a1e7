"""The 230 space-group types and how they group into systems, classes and enantiomorphic pairs.

All symbols come from ``tables/space_groups.json``, which ``tables/build.py`` generates from spglib, gemmi and pymatgen.
Arrays are indexed by the group number itself (length 231; entry 0 is unused).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.tables import read_table
from sgexp.errors import DataError


@dataclass(frozen=True)
class SpaceGroup:
    """One of the 230 space-group types.

    Attributes
    ----------
    number
        1 ... 230 (International Tables).
    symbol, symbol_full
        Hermann-Mauguin symbol, short ("P2_1/c") and full ("P 1 2_1/c 1").
    hall, hall_number
        Hall symbol and spglib's Hall number (1 ... 530) of the setting that spglib standardises to.
    point_group, laue_class, crystal_system
        For instance "mm2", "mmm", "orthorhombic".
    bravais
        One of the 14 Bravais lattices: crystal family (a, m, o, t, h, c) and centring (P, S, I, F, R).
    enantiomorph
        Number of the mirror image's group where that is another type (11 pairs), else ``None``.
    maximal_subgroups
        Numbers of the types of its maximal subgroups, translationengleiche and klassengleiche, without its own number
        (every space group has isomorphic maximal subgroups).
    """

    number: int
    symbol: str
    symbol_full: str
    hall: str
    hall_number: int
    point_group: str
    laue_class: str
    crystal_system: str
    bravais: str
    enantiomorph: int | None
    maximal_subgroups: tuple[int, ...]


SPACE_GROUPS: tuple[SpaceGroup, ...] = tuple(
    SpaceGroup(**{**row, "maximal_subgroups": tuple(row["maximal_subgroups"])})
    for row in read_table("space_groups.json")
)


def space_group(number: int) -> SpaceGroup:
    """Return the space group with that number, 1 ... 230."""
    if not 1 <= number <= len(SPACE_GROUPS):
        raise DataError(f"There is no space group {number}: numbers run from 1 to 230.")
    return SPACE_GROUPS[number - 1]


def _names(values: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct names in the order in which the group numbers meet them (low to high symmetry)."""
    return tuple(dict.fromkeys(values))


CRYSTAL_SYSTEMS: tuple[str, ...] = _names([group.crystal_system for group in SPACE_GROUPS])
LAUE_CLASSES: tuple[str, ...] = _names([group.laue_class for group in SPACE_GROUPS])
POINT_GROUPS: tuple[str, ...] = _names([group.point_group for group in SPACE_GROUPS])


def _table(values: Sequence[int]) -> NDArray[np.int64]:
    """Return a read-only array indexed by group number, with -1 at the unused index 0."""
    table = np.array([-1, *values], dtype=np.int64)
    table.setflags(write=False)
    return table


crystal_system_of = _table([CRYSTAL_SYSTEMS.index(group.crystal_system) for group in SPACE_GROUPS])
"""Group number -> index into ``CRYSTAL_SYSTEMS``."""

laue_class_of = _table([LAUE_CLASSES.index(group.laue_class) for group in SPACE_GROUPS])
"""Group number -> index into ``LAUE_CLASSES``."""

point_group_of = _table([POINT_GROUPS.index(group.point_group) for group in SPACE_GROUPS])
"""Group number -> index into ``POINT_GROUPS``."""

enantiomorph_of = _table([group.enantiomorph or group.number for group in SPACE_GROUPS])
"""Group number -> group of the mirror image (itself but in 22 groups): the label of a mirrored pattern."""

merged_219 = _table([min(group.number, group.enantiomorph or group.number) for group in SPACE_GROUPS])
"""Group number -> representative among the 219 affine types: the lower number of an enantiomorphic pair."""
