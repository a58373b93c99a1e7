"""Structure families: which crystals are one structure type, whatever their elements, size and hand.

Two crystals are of one family when they agree in the *family key* - space group with enantiomorphs merged, anonymised
formula, Wyckoff sequence - and pymatgen's ``StructureMatcher`` maps one onto the other with the elements renamed
(Ong et al. 2013, Comput. Mater. Sci. 68, 314). Names play no part. Children made by substitution inherit the family of
their parent.
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from math import gcd
from typing import Any

import numpy as np

from sgexp.crystallography.crystal import SYMPRECS, Crystal
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.symmetry import dataset, primitive

Orbit = tuple[int, str]
"""Multiplicity of an occupied Wyckoff position in the conventional cell, and its site symmetry."""

FamilyKey = tuple[int, tuple[tuple[int, tuple[Orbit, ...]], ...]]
"""Merged group, and for each element (unnamed, sorted) its share of the formula and its orbits."""

MOST_RENAMINGS = 720
"""Elements that play alike roles are tried in every order; a pair that would need more counts as not matched."""


def reduced_counts(crystal: Crystal) -> dict[int, int]:
    """Return atomic number -> count in the reduced formula."""
    values, counts = np.unique(crystal.numbers, return_counts=True)
    divisor = gcd(*counts.tolist())
    return {int(z): int(count) // divisor for z, count in zip(values, counts, strict=True)}


@lru_cache(maxsize=4096)
def roles(crystal: Crystal) -> dict[int, tuple[int, tuple[Orbit, ...]]]:
    """Return atomic number -> role: count in the reduced formula and sorted orbits.

    An orbit is given by multiplicity and kind of site symmetry, not by its Wyckoff letter: letters change with the
    choice of origin and axes, for one and the same structure.
    """
    found = dataset(crystal.cell, crystal.positions, crystal.numbers, SYMPRECS[1])
    counts = reduced_counts(crystal)
    if found is None:
        return {z: (count, ()) for z, count in counts.items()}
    # Atoms in the conventional cell for each atom of this cell: 1 unless the cell given is not conventional.
    scale = len(found.std_types) / len(crystal)
    orbits: dict[int, list[Orbit]] = defaultdict(list)
    members, sizes = np.unique(found.crystallographic_orbits, return_counts=True)
    for member, size in zip(members, sizes, strict=True):
        kind = "".join(sorted(found.site_symmetry_symbols[member].replace(".", "")))
        orbits[int(crystal.numbers[member])].append((round(size * scale), kind))
    return {z: (count, tuple(sorted(orbits[z]))) for z, count in counts.items()}


def family_key(crystal: Crystal) -> FamilyKey:
    """Return what two crystals of one family must share; equal keys alone do not make a family."""
    return int(merged_219[crystal.space_group]), tuple(sorted(roles(crystal).values()))


@cache
def _matcher() -> Any:
    """Return pymatgen's matcher with its own default tolerances (imported late: it takes most of a second)."""
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=False, scale=True)


def _structure(crystal: Crystal, rename: dict[int, int] | None = None) -> Any:
    """Return the primitive cell as a pymatgen ``Structure``, with elements renamed."""
    from pymatgen.core import Lattice, Structure

    cell, positions, numbers = primitive(crystal.cell, crystal.positions, crystal.numbers, SYMPRECS[1])
    species: list[Any] = [int(z) if rename is None else rename[int(z)] for z in numbers]
    return Structure(Lattice(cell), species, positions)


def same_structure(one: Crystal, other: Crystal) -> bool:
    """Return whether two crystals of one formula are the same material (positions matched, volume scaled)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(_matcher().fit(_structure(one), _structure(other)))


def _renamings(one: Crystal, other: Crystal) -> Iterator[dict[int, int]]:
    """Yield each way to name the elements of ``other`` after those of ``one`` that play the same role."""
    players: dict[Hashable, list[int]] = defaultdict(list)
    for z, role in roles(one).items():
        players[role].append(z)
    namesakes: dict[Hashable, list[int]] = defaultdict(list)
    for z, role in roles(other).items():
        namesakes[role].append(z)
    orders = [itertools.permutations(players[role]) for role in namesakes]
    for choice in itertools.islice(itertools.product(*orders), MOST_RENAMINGS):
        yield {
            z: name
            for members, names in zip(namesakes.values(), choice, strict=True)
            for z, name in zip(members, names, strict=True)
        }


def same_type(one: Crystal, other: Crystal) -> bool:
    """Return whether two crystals with equal family keys are one structure type, the elements being renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = _structure(one)
        return any(_matcher().fit(target, _structure(other, rename)) for rename in _renamings(one, other))


def _classes(crystals: Sequence[Crystal], same: Callable[[Crystal, Crystal], bool]) -> list[int]:
    """Return for each crystal the index of its class's first one; a crystal is compared with these alone."""
    leaders: list[int] = []
    leader_of = []
    for i, crystal in enumerate(crystals):
        leader = next((j for j in leaders if same(crystals[j], crystal)), i)
        if leader == i:
            leaders.append(i)
        leader_of.append(leader)
    return leader_of


def assign_families(crystals: Sequence[Crystal], progress: Callable[[int, int], None] | None = None) -> list[Crystal]:
    """Return the crystals with ``family`` set to the name of the first crystal of their structure type.

    ``progress`` is called with (crystals done, crystals).
    """
    buckets: dict[FamilyKey, list[int]] = defaultdict(list)
    for index, crystal in enumerate(crystals):
        buckets[family_key(crystal)].append(index)
    family = [""] * len(crystals)
    done = 0
    for rows in buckets.values():
        leaders = _classes([crystals[row] for row in rows], same_type)
        for row, leader in zip(rows, leaders, strict=True):
            family[row] = crystals[rows[leader]].name
        done += len(rows)
        if progress is not None:
            progress(done, len(crystals))
    return [replace(crystal, family=name) for crystal, name in zip(crystals, family, strict=True)]


def duplicates(crystals: Sequence[Crystal]) -> dict[str, str]:
    """Return name -> name of the earlier crystal that is the same material (equal group, formula and structure)."""
    buckets: dict[Hashable, list[Crystal]] = defaultdict(list)
    for crystal in crystals:
        buckets[crystal.space_group, tuple(sorted(reduced_counts(crystal).items()))].append(crystal)
    copies = {}
    for members in buckets.values():
        for crystal, leader in zip(members, _classes(members, same_structure), strict=True):
            if members[leader] is not crystal:
                copies[crystal.name] = members[leader].name
    return copies
