"""Random crystals of chosen space groups, made by pyxtal (the extra ``random``) and labelled by spglib.

They are no compounds that exist: a few elements on random Wyckoff positions of the group, in a random cell of its
system, with atoms no nearer than pyxtal's radii allow. They show every group as often as one likes, and what a network
learns from them it has not learnt from chemistry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ELEMENTS
from sgexp.crystallography.families import assign_families
from sgexp.errors import DataError

_NOBLE = 18
_SPECIES = [one.symbol for one in ELEMENTS.values() if one.column != _NOBLE and not one.radioactive]
_ATTEMPTS, _SPECIAL = 40, 15  # so many cells for one crystal; so many of them without the general position
_MOST_ATOMS = 300


def random_crystals(
    groups: Sequence[int], each: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Crystal], list[tuple[str, str]]]:
    """Return ``each`` crystals of every group, and (name, reason) of those that could not be made.

    A crystal depends on (seed, group, its number) only. It has its group at all three tolerances. ``DataError`` where
    pyxtal is not installed, or no crystal at all can be made.
    """
    pyxtal = _pyxtal()
    made: list[Crystal] = []
    failed: list[tuple[str, str]] = []
    for group in groups:
        for number in range(each):
            name = f"random-{group}-{number}"
            crystal = _crystal(pyxtal, group, name, np.random.default_rng([seed, group, number]))
            if crystal is None:
                failed.append((name, f"no crystal with group {group} at all tolerances in {_ATTEMPTS} random cells"))
            else:
                made.append(crystal)
            if progress is not None:
                progress(len(made) + len(failed), each * len(groups))
    if not made:
        raise DataError(f"no random crystal could be made; the first, {failed[0][0]}: {failed[0][1]}.")
    return assign_families(made), failed


def _pyxtal() -> Any:
    try:
        import pyxtal
    except ImportError:
        raise DataError(
            "random crystals need pyxtal, which is not installed: pip install 'sgexp[random]' brings it."
        ) from None
    return pyxtal


def _crystal(pyxtal: Any, group: int, name: str, rng: np.random.Generator) -> Crystal | None:
    """Return the first random cell whose symmetry is neither more nor less than the group's, or None."""
    positions = [
        (f"{one.multiplicity}{one.letter}", int(one.multiplicity), int(one.get_dof()))
        for one in pyxtal.symmetry.Group(group).Wyckoff_positions
    ]
    for attempt in range(_ATTEMPTS):
        sites = _sites(positions, rng, general=attempt >= _SPECIAL)
        species = rng.choice(_SPECIES, size=len(sites), replace=False).tolist()
        counts = [sum(int("".join(filter(str.isdigit, site))) for site in of_one) for of_one in sites]
        found = pyxtal.pyxtal()
        try:
            found.from_random(3, group, species, counts, sites=sites, random_state=rng, max_count=1)
            atoms = found.to_ase(resort=False)
            crystal = Crystal.from_arrays(
                atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(), name=name, space_groups=(1, 1, 1)
            ).relabelled()
        except (RuntimeError, ValueError, AttributeError, DataError):
            continue  # pyxtal gives up on this cell, or spglib finds nothing in it: the next one
        if set(crystal.space_groups) == {group}:
            return crystal
    return None


def _sites(positions: list[tuple[str, int, int]], rng: np.random.Generator, general: bool) -> list[list[str]]:
    """Return Wyckoff positions for two to four elements; smaller ones are likelier, fixed ones are taken once."""
    left = [one for one in positions if one[1] <= _MOST_ATOMS]
    chosen: list[list[str]] = [[positions[0][0]]] if general else []
    atoms = positions[0][1] if general else 0
    for _ in range(int(rng.integers(2, 5)) - len(chosen)):
        weights = np.array([1.0 / one[1] for one in left])
        label, multiplicity, freedom = left[int(rng.choice(len(left), p=weights / weights.sum()))]
        if atoms and atoms + multiplicity > _MOST_ATOMS:
            break
        chosen.append([label])
        atoms += multiplicity
        if freedom == 0:
            left = [one for one in left if one[0] != label]
        if not left:
            break
    return chosen
