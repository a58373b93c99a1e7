"""What the packages hold: each source's crystals with the group and the reference that it states.

Only ``collect.py`` uses this, when the library is made. Nothing is judged here but what cannot be read as an ordered
crystal: sites that are shared, unknown or without coordinates, and lists of atoms that are not the stated formula.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.cif import read_cif
from sgexp.crystallography.crystal import SYMPRECS, Crystal, checked
from sgexp.crystallography.elements import ATOMIC_NUMBERS
from sgexp.crystallography.symmetry import conventional, orbit
from sgexp.errors import DataError

MOST_ATOMS = 300
"""Larger cells are left out: one of them costs as many bytes in the library, and seconds to simulate, as dozens."""

AMCSD_SCALE = 4e6
"""Larixite stores a fractional coordinate as a 32-bit whole number, in units of 1 / 4e6."""

OCCUPIED = 0.001
"""Occupancies this near to 1 are full."""

UNKNOWN = 1.5
"""Larixite stores an unknown coordinate as 2 or 3."""

COMPLETE = 0.02
"""Atoms in the cell may differ by this much from the proportions of the stated formula."""

IZA: dict[str, Any] = {
    "authors": ["Baerlocher, Ch.", "McCusker, L. B."],
    "title": "Database of Zeolite Structures, http://www.iza-structure.org/databases/",
}
"""What the zeolite frameworks ask to be cited with."""

MATBENCH: dict[str, Any] = {
    "authors": ["Dunn, Alexander", "Wang, Qi", "Ganose, Alex", "Dopp, Daniel", "Jain, Anubhav"],
    "title": "Benchmarking materials property prediction methods: the Matbench test set and Automatminer reference "
    "algorithm",
    "journal": "npj Computational Materials",
    "volume": "6",
    "pages": "138",
    "year": "2020",
    "doi": "10.1038/s41524-020-00406-3",
}
"""Where the relaxed structures of the Materials Project were collected; it names no single publications."""

Reference = dict[str, Any]
"""``authors`` (list), ``title``, ``journal``, ``volume``, ``pages``, ``year``: what is known of them."""


@dataclass(frozen=True)
class Candidate:
    """A crystal as its source has it: labelled by spglib, not yet compared with any other.

    Attributes
    ----------
    crystal
        Named as it will be in the library.
    source
        One of the keys of ``SOURCES``.
    entry
        The name of the file, or the number of the entry, at the source.
    group
        The space group that the source states, 0 where it states none.
    reference
        The publication, {} where the source names none.
    """

    crystal: Crystal
    source: str
    entry: str
    group: int
    reference: Reference = field(default_factory=dict)


def _clean(text: str | None) -> str:
    """Return a CIF string without quotes and line ends, "" for the unknown."""
    words = " ".join((text or "").replace("<missing>", "").strip("'\";").split())
    return "" if words in {"?", "."} else words


JOURNAL = ("_journal_name_full", "_journal_name_full_name")


def cif_reference(block: gemmi.cif.Block) -> Reference:
    """Return the publication that a CIF block names."""
    pages = "-".join(filter(None, (_clean(block.find_value(f"_journal_page_{end}")) for end in ("first", "last"))))
    found = {
        "authors": [_clean(gemmi.cif.as_string(name)) for name in block.find_values("_publ_author_name")],
        "title": _clean(gemmi.cif.as_string(block.find_value("_publ_section_title") or "?")),
        "journal": _clean(gemmi.cif.as_string(next(filter(None, map(block.find_value, JOURNAL)), "?"))),
        "volume": _clean(block.find_value("_journal_volume")),
        "pages": pages,
        "year": _clean(block.find_value("_journal_year")),
        "doi": _clean(block.find_value("_journal_paper_doi")),
    }
    return {key: value for key, value in found.items() if value}


def stated_group(block: gemmi.cif.Block) -> int:
    """Return the number of the group whose operations or symbol a CIF block gives, or 0."""
    structure = gemmi.make_small_structure_from_block(block)
    if structure.symops:
        group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(text) for text in structure.symops]))
    else:
        group = structure.spacegroup
    return group.number if group is not None else 0


def cif_files(folder: Path, source: str, prefix: str) -> Iterator[Candidate]:
    """Yield the ordered crystals of the CIF files below a folder, named ``prefix`` and the block's name."""
    for path in sorted(folder.rglob("*.cif")):
        try:
            document = gemmi.cif.read(str(path))
            block = next((one for one in document if len(one.find_values("_atom_site_fract_x"))), document[0])
            crystal = read_cif(path)
            group = stated_group(block)
        except (DataError, ValueError, RuntimeError, IndexError):
            continue
        code = _clean(block.find_value("_cod_database_code")) or block.name
        name = f"{prefix}-{code if code != 'global' else re.sub('[^A-Za-z0-9]+', '_', path.stem)}"
        if len(crystal) <= MOST_ATOMS:
            named = replace(crystal, name=name, parent=name)
            yield Candidate(named, source, path.name, group, cif_reference(block))


def avogadro(folder: Path) -> Iterator[Candidate]:
    """Yield Debian's ``libavogadro-data``: entries of the COD, and zeolite frameworks of the IZA."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        if part.name == "zeolites":
            for one in cif_files(part, "iza", "iza"):
                yield replace(one, reference=one.reference or dict(IZA))
        else:
            yield from cif_files(part, "cod", "cod")


@cache
def symbol_of(label: str) -> str:
    """Return the element at the head of a site's label ("Fe1", "CaM2", "OH"), "" where there is none."""
    letters = re.match("[A-Z][a-z]?", label.strip())
    if letters is None:
        return ""
    for symbol in (letters.group(), letters.group()[0]):
        symbol = "H" if symbol == "D" else symbol
        if symbol in ATOMIC_NUMBERS:
            return symbol
    return ""


def formula_counts(formula: str) -> dict[str, float]:
    """Return symbol -> count of a formula such as "H2 O5 P (Fe.5)"; ``ValueError`` for what is none."""
    counts: dict[str, float] = defaultdict(float)
    for word in formula.split():
        parts = re.fullmatch(r"([A-Z][a-z]?)(\d*\.?\d*)", word)
        if parts is None:
            raise ValueError(formula)
        counts["H" if parts[1] == "D" else parts[1]] += float(parts[2] or 1)
    return counts


def _decoded(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), dtype=np.int32) / AMCSD_SCALE


def _amcsd_crystal(row: sqlite3.Row, operations: list[gemmi.Op]) -> Crystal:
    """Return the crystal of one entry; ``ValueError`` or ``DataError`` where it is not ordered and complete."""
    if row["atoms_occupancy"] != "0" and (np.abs(_decoded(row["atoms_occupancy"]) - 1.0) > OCCUPIED).any():
        raise ValueError("partial occupancy")
    symbols = [symbol_of(label) for label in json.loads(row["atoms_sites"])]
    sites = np.stack([_decoded(row[f"atoms_{axis}"]) for axis in "xyz"], axis=1)
    if "" in symbols or len(sites) != len(symbols) or len(sites) > MOST_ATOMS or (np.abs(sites) >= UNKNOWN).any():
        raise ValueError("sites")
    parameters = [float(row[key].split("(")[0]) for key in ("a", "b", "c", "alpha", "beta", "gamma")]
    cell = np.array(gemmi.UnitCell(*parameters).orth.mat.tolist()).T
    rotations = np.array([op.rot for op in operations], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in operations], dtype=np.float64) / gemmi.Op.DEN
    numbers: list[int] = []
    places: list[NDArray[np.float64]] = []
    for symbol, site in zip(symbols, sites, strict=True):
        images = orbit(site, rotations, translations, cell)
        places.append(images)
        numbers += [ATOMIC_NUMBERS[symbol]] * len(images)
        if len(numbers) > MOST_ATOMS:
            raise ValueError("too many atoms")
    stated = formula_counts(row["formula"])
    present = {symbol: float((np.array(numbers) == ATOMIC_NUMBERS[symbol]).sum()) for symbol in set(symbols)}
    ratios = [present.get(symbol, 0.0) / count for symbol, count in stated.items()]
    if set(present) != set(stated) or max(ratios) > min(ratios) * (1.0 + COMPLETE):
        raise ValueError("atoms are missing")  # hydrogen, most often
    return checked(Path(f"amcsd-{row['id']}"), cell, np.array(numbers), np.concatenate(places))


def _amcsd_reference(row: sqlite3.Row, authors: list[str]) -> Reference:
    pages = "-".join(_clean(row[f"page_{end}"]) for end in ("first", "last"))
    found = {
        "authors": authors,
        "title": _clean(row["pub_title"]),
        "journal": _clean(row["journalname"]),
        "volume": _clean(row["volume"]),
        "pages": pages.strip("-"),
        "year": str(row["year"]),
    }
    return {key: value for key, value in found.items() if value}


def amcsd(database: Path) -> Iterator[Candidate]:
    """Yield the ordered, complete crystals of larixite's copy of the American Mineralogist database."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        groups = {
            row["id"]: [gemmi.Op(text) for text in json.loads(row["symmetry_xyz"])]
            for row in connection.execute("select id, symmetry_xyz from spacegroups")
        }
        authors = defaultdict(list)
        for row in connection.execute(
            "select publication_id, name from publication_authors join authors on authors.id = author_id"
        ):
            authors[row["publication_id"]].append(row["name"])
        for row in connection.execute(
            "select cif.*, minerals.name as mineral, journalname, volume, year, page_first, page_last from cif "
            "join minerals on minerals.id = mineral_id join publications on publications.id = publication_id "
            "order by cif.id"
        ):
            operations = groups[row["spacegroup_id"]]
            try:
                crystal = _amcsd_crystal(row, operations)
            except (ValueError, DataError):
                continue
            mineral = re.sub("[^a-z0-9]+", "_", _clean(row["mineral"]).lower()).strip("_")
            name = f"{mineral}-amcsd{row['id']}" if mineral else f"amcsd{row['id']}"
            group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
            reference = _amcsd_reference(row, authors[row["publication_id"]])
            named = replace(crystal, name=name, parent=name)
            yield Candidate(named, "amcsd", str(row["id"]), group.number if group else 0, reference)


def pymatgen_crystal(name: str, structure: dict[str, Any]) -> Crystal | None:
    """Return the crystal of a pymatgen ``Structure`` (as its JSON has it), in the conventional cell.

    None where it is disordered, too large, of unknown elements, or no crystal.
    """
    sites = structure["sites"]
    if len(sites) > MOST_ATOMS or any(len(site["species"]) != 1 for site in sites):
        return None
    symbols = [site["species"][0]["element"] for site in sites]
    if any(symbol not in ATOMIC_NUMBERS for symbol in symbols):
        return None
    if any(site["species"][0]["occu"] < 1.0 - OCCUPIED for site in sites):
        return None
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols])
    positions = np.array([site["abc"] for site in sites], dtype=np.float64)
    cell = np.array(structure["lattice"]["matrix"], dtype=np.float64)
    try:
        crystal = checked(Path(name), *_reordered(*conventional(cell, positions, numbers, SYMPRECS[1])))
    except DataError:
        return None
    return crystal if len(crystal) <= MOST_ATOMS else None


def matbench(path: Path) -> Iterator[Candidate]:
    """Yield the structures of ``matbench_dielectric`` as crystal-toolkit ships them, in conventional cells."""
    table = json.loads(gzip.decompress(path.read_bytes()))["structure"]
    for key in sorted(table, key=int):
        crystal = pymatgen_crystal(f"matbench-dielectric-{key}", table[key])
        if crystal is not None:
            yield Candidate(crystal, "matbench", key, 0, dict(MATBENCH))


def _reordered(cell: Any, positions: Any, numbers: Any) -> tuple[Any, Any, Any]:
    return cell, numbers, positions


SOURCES: dict[str, str] = {
    "cod": "Crystallography Open Database, public domain, through Debian's libavogadro-data and crystals",
    "iza": "IZA Database of Zeolite Structures, public domain, through Debian's libavogadro-data",
    "amcsd": "American Mineralogist Crystal Structure Database, through larixite (MIT)",
    "matbench": "Materials Project (CC BY 4.0), matbench_dielectric, through crystal-toolkit (BSD-3-Clause-LBNL)",
}
