"""CBED-230: the list of its materials, frozen, and what tells whether data are those of the benchmark.

``materials.csv.gz`` lists every material once: its name, the built-in crystal it was made from (itself, or by
substitution), group, family, and which part of the benchmark it belongs to, in all sizes. A size is the first so many
lines: S lies in M and M in L, and no material ever changes its part. ``frozen.json`` holds the version and digests.
Both are written by ``benchmarks/cbed230.py freeze`` and by nothing else: another list is another version.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ATOMIC_NUMBERS
from sgexp.crystallography.library import load_library
from sgexp.crystallography.substitution import apply_mapping, symbols_of
from sgexp.errors import DataError

NAME = "CBED-230"
SIZES = {"S": 2_900, "M": 10_000, "L": 18_800}
COLUMNS = ("material", "parent", "space_group", "family", "part")
PARTS = ("train", "validation", "test_material", "test_family", "sealed_material", "sealed_family")
LIST, FROZEN = "materials.csv.gz", "frozen.json"
LIBRARY = 2  # edition of the built-in crystals that the list names


@dataclass(frozen=True, eq=False)
class MaterialList:
    """A line a material: ``material``, ``parent``, ``family``, ``part`` (M,) str and ``space_group`` (M,) int64."""

    material: NDArray[np.str_]
    parent: NDArray[np.str_]
    space_group: NDArray[np.int64]
    family: NDArray[np.str_]
    part: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.material)

    @classmethod
    def of(cls, crystals: Sequence[Crystal], parts: NDArray[np.str_]) -> MaterialList:
        """Return the list of these crystals."""
        return cls(
            np.array([crystal.name for crystal in crystals]),
            np.array([crystal.parent for crystal in crystals]),
            np.array([crystal.space_group for crystal in crystals], dtype=np.int64),
            np.array([crystal.family for crystal in crystals]),
            parts,
        )

    def to_bytes(self) -> bytes:
        """Return the file: compressed CSV, the same bytes for the same list."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(getattr(self, name).tolist() for name in COLUMNS), strict=True))
        return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> MaterialList:
        """Read what ``to_bytes`` wrote."""
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(data).decode())))
        column = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
        column["space_group"] = column["space_group"].astype(np.int64)
        return cls(**column)

    def digest(self) -> str:
        """Return a hash of the list, whatever its compression."""
        return hashlib.sha256(gzip.decompress(self.to_bytes())).hexdigest()[:16]


@cache
def frozen() -> dict[str, Any]:
    """Return version, digest of the list, digests of the crystals of each size, and of the recipe of each data set."""
    return json.loads(files(__name__).joinpath(FROZEN).read_text(encoding="utf-8"))


@cache
def material_list() -> MaterialList:
    """Return the frozen list, whole."""
    return MaterialList.from_bytes(files(__name__).joinpath(LIST).read_bytes())


def listed_crystals(
    n_materials: int, progress: Callable[[int, int], None] | None = None, names: Container[str] | None = None
) -> list[Crystal]:
    """Return the crystals of the first ``n_materials`` lines (those among ``names``), labelled by spglib.

    A child is made from its parent by the elements that its name ends in. ``DataError`` where today's crystals no
    longer give what the list says.
    """
    listed = material_list()
    if n_materials > len(listed):
        raise DataError(
            f"{NAME} lists {len(listed):,} materials, {n_materials:,} were asked for: choose size=cbed230_s, "
            "size=cbed230_m or size=cbed230_l"
        )
    library = {crystal.name: crystal for crystal in load_library(edition=LIBRARY)}
    made = []
    for index, name in enumerate(listed.material[:n_materials].tolist()):
        if names is not None and name not in names:
            continue
        crystal = _made(name, str(listed.parent[index]), library)
        expected = (int(listed.space_group[index]), str(listed.family[index]))
        if (crystal.space_group, crystal.family) != expected:
            raise DataError(
                f"{crystal.name} has group {crystal.space_group} and family {crystal.family!r} here, {NAME} lists "
                f"{expected[0]} and {expected[1]!r}: this version of sgexp (or of spglib) cannot make {NAME}"
            )
        made.append(crystal)
        if progress is not None:
            progress(index + 1, n_materials)
    return made


def _made(name: str, parent: str, library: Mapping[str, Crystal]) -> Crystal:
    if parent not in library:
        raise DataError(f"{NAME} lists {name}, but this version of sgexp has no crystal {parent!r}: it cannot make it")
    if name in library:  # itself, or the mirror image of its parent
        return library[name]
    return apply_mapping(library[parent], tuple(ATOMIC_NUMBERS[symbol] for symbol in symbols_of(name, parent)))


def crystals_digest(crystals: Sequence[Crystal]) -> str:
    """Return a hash of the crystals as they are made: names, groups, families, cells and atoms to 1e-5.

    Numbers are cut, not rounded, at an odd place, so that the last bits of a float, which processors may differ in,
    decide nothing: neither a coordinate of 0.5 nor one of 0.12345 lies near a cut.
    """
    digest = hashlib.sha256()
    for crystal in crystals:
        digest.update(f"{crystal.name}|{crystal.parent}|{crystal.family}|{crystal.space_groups}|".encode())
        digest.update(crystal.numbers.astype("<i8").tobytes())
        for numbers in (crystal.cell, crystal.positions):
            digest.update(np.floor(numbers * 1e5 + 0.37183).astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Return a hash of all settings that the patterns depend on."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def title_of(n_materials: int, recipe: Mapping[str, Any]) -> str:
    """Return what data of so many listed materials made with these settings are: ``CBED-230 v1.0 S smc19``, or ''."""
    digest = recipe_digest(recipe)
    for words, known in frozen()["recipes"].items():
        if known == digest and SIZES[words.split()[0]] == n_materials:
            return f"{NAME} v{frozen()['version']} {words}"
    return ""
