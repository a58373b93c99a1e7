"""The built-in crystals: ordered crystals of all 230 space groups (sources and licences: NOTICE).

The library comes in editions, so that data made from an earlier one can be made again: ``crystals.json.gz`` is edition
1 (1,328 crystals), ``crystals_2.json.gz`` what edition 2 adds. They hold cells and asymmetric units and are written by
``collect.py`` from packages. ``labels.json`` (written by ``build.py``) has the space groups that spglib finds at 0.001,
0.01 and 0.1 angstrom (and around these, at 0.0005 and 0.2), the structure family and the symmetry margin of each
crystal; ``references.json.gz`` where they were published.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import duplicates
from sgexp.crystallography.groups import enantiomorph_of, space_group
from sgexp.crystallography.symmetry import hall_type, operations, orbit

EDITION = 2
"""The library as it is now. An edition keeps all crystals of those before it, under the same names and first."""

EDITION_FILES = {1: "crystals.json.gz", 2: "crystals_2.json.gz"}
"""Edition -> the file of what it added."""


MIRROR = "-mirror"
"""Ending of the name of a mirror image."""

MIRRORED = 2
"""From this edition on, groups of enantiomorphic pairs that have few families have the other's crystals, mirrored."""


def records(edition: int = EDITION) -> list[dict[str, Any]]:
    """Return the stored records of an edition, those of the earlier ones first.

    Keys: ``f`` formula, ``g`` group at 0.01 angstrom, ``src`` source, ``n`` the file's name there (from edition 2 on
    the material's name, and ``entry`` the file or number at the source), ``lat`` cell rows in angstrom, ``el`` and
    ``x`` symbols and fractional coordinates of the asymmetric unit, ``hall`` Hall number.
    """
    return [record for number in range(1, edition + 1) for record in _stored(EDITION_FILES[number])]


def _stored(name: str) -> Any:
    return json.loads(gzip.decompress(files(__name__).joinpath(name).read_bytes()))


def labels() -> dict[str, dict[str, Any]]:
    """Return name -> what ``build.py`` stored.

    Keys: ``space_groups`` (three numbers), ``groups_around`` (two), ``family``, ``symmetry_margin``.
    """
    return json.loads(files(__name__).joinpath("labels.json").read_text(encoding="utf-8"))


def material_name(record: dict[str, Any]) -> str:
    """Return a crystal's id: the name of its file at the source without ending, safe as a file name."""
    return record["n"].removesuffix(".cif").replace("/POSCAR", "")


def rebuild(record: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``Crystal.from_arrays`` (all atoms of the cell) for one record, without labels."""
    cell = np.array(record["lat"])
    hall_number = record["hall"]
    if hall_type(hall_number).number != record["g"]:
        # One record (a strained quartz cell) carries the Hall number of its supergroup.
        hall_number = space_group(record["g"]).hall_number
    rotations, translations = operations(hall_number)
    species: list[str] = []
    places: list[NDArray[np.float64]] = []
    for symbol, site in zip(record["el"], record["x"], strict=True):
        images = orbit(np.array(site), rotations, translations, cell)
        places.append(images)
        species += [symbol] * len(images)
    return {"cell": cell, "species": species, "positions": np.concatenate(places), "name": material_name(record)}


def mirror_image(crystal: Crystal) -> Crystal:
    """Return the other hand of a crystal (inverted: the same cell), with the group of its mirror image, of its family.

    Its parent is the crystal.
    """
    first, second, third = (int(enantiomorph_of[number]) for number in crystal.space_groups)
    return replace(
        crystal,
        positions=(1.0 - crystal.positions) % 1.0,
        space_groups=(first, second, third),
        groups_around=tuple(int(enantiomorph_of[number]) for number in crystal.groups_around),
        name=f"{crystal.name}{MIRROR}",
        parent=crystal.name,
    )


def symmetry_margins() -> dict[str, float]:
    """Return name -> smallest rms displacement, angstrom, that raises a built-in crystal's symmetry (see ``margin``).

    ``margin.NONE_NEAR`` (0.9) stands for that or more.
    """
    return {name: label["symmetry_margin"] for name, label in labels().items()}


@lru_cache(maxsize=len(EDITION_FILES))
def _library(edition: int) -> tuple[Crystal, ...]:
    known = labels()
    crystals = {}
    for record in records(edition):
        built = rebuild(record)
        label = known[built["name"]]
        first, second, third = label["space_groups"]
        made = Crystal.from_arrays(**built, space_groups=(first, second, third), family=label["family"])
        crystals[made.name] = replace(made, groups_around=tuple(label["groups_around"]))
    if edition >= MIRRORED:
        images = [name for name in known if name.endswith(MIRROR)]
        crystals |= {name: mirror_image(crystals[name.removesuffix(MIRROR)]) for name in images}
    return tuple(crystals.values())


def load_library(copies: bool = True, edition: int = EDITION) -> list[Crystal]:
    """Return the built-in crystals of an edition with their labels and families (rebuilt once a process).

    The sources of edition 1 overlap: without ``copies``, of those that are one material the first is taken.
    """
    if copies:
        return list(_library(edition))
    known = duplicates(_library(edition))
    return [crystal for crystal in _library(edition) if crystal.name not in known]
