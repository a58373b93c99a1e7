"""Measure what pymatgen's AFLOW prototypes and robocrystallographer's minerals would add to the library (nothing).

    mkdir packages && cd packages
    for wheel in pymatgen==2026.10.24 robocrys==0.2.13; do
        pip download --no-deps "$wheel" && unzip -q "${wheel%%=*}"-*.whl -d "${wheel%%=*}"
    done
    cd .. && python -m sgexp.crystallography.library.prototypes packages

Each structure is held against the rules of ``collect.py`` and against every family of the library; the table says how
many pass, and the lines below it name what is new. The figures stand in docs/data.md; half a minute.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import family_key, reduced_counts, same_structure, same_type
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.library import load_library
from sgexp.crystallography.library.collect import fit, found_in
from sgexp.crystallography.library.sources import Candidate, pymatgen_crystal

VERDICTS = {
    "unfit": "refused by the library's rules",
    "copy": "materials that the library has",
    "material": "new materials of its families",
    "family": "in no family of it",
}


@dataclass(frozen=True)
class Verdict:
    """What became of one structure: a key of ``VERDICTS``, its AFLOW label, and the crystal where it passed."""

    kind: str
    label: str
    crystal: Crystal | None = None


def aflow(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield AFLOW label and structure of pymatgen's ``aflow_prototypes.json.gz``."""
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        yield entry["tags"]["aflow"], entry["snl"]


def minerals(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield AFLOW label and structure of robocrystallographer's ``mineral_db.json.gz`` (a pandas table)."""
    table = json.loads(gzip.decompress(path.read_bytes()))
    column = table["columns"].index("structure")
    yield from ((label, row[column]) for label, row in zip(table["index"], table["data"], strict=True))


def compare(structures: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[Verdict]:
    """Yield the verdict on each structure; the group that its AFLOW label states (``AB_cF8_225_a_b``) must be found."""
    known: dict[Hashable, list[Crystal]] = defaultdict(list)
    for crystal in load_library():
        known[_shape(crystal)].append(crystal)
    for number, (label, structure) in enumerate(structures):
        one = pymatgen_crystal(f"{label}-{number}", structure)
        stated = int(label.split("_")[2])
        if one is None or not any(fit([Candidate(one, "", label, stated)])):
            yield Verdict("unfit", label)
            continue
        alike = [other for other in known[_shape(one)] if family_key(other) == family_key(one)]
        if any(reduced_counts(other) == reduced_counts(one) and same_structure(other, one) for other in alike):
            yield Verdict("copy", label, one)
        else:
            yield Verdict("material" if any(same_type(other, one) for other in alike) else "family", label, one)


def _shape(crystal: Crystal) -> Hashable:
    """Return the cheap part of a family key: crystals of one family agree in it."""
    return merged_219[crystal.space_group], tuple(sorted(reduced_counts(crystal).values()))


def main(folder: Path) -> None:
    """Print the table of both sources."""
    for name, structures in {
        "pymatgen": aflow(found_in(folder, "prototypes/aflow_prototypes.json.gz")),
        "robocrys": minerals(found_in(folder, "condense/mineral_db.json.gz")),
    }.items():
        verdicts = list(compare(structures))
        counts = Counter(verdict.kind for verdict in verdicts)
        told = ", ".join(f"{counts[kind]} {words}" for kind, words in VERDICTS.items())
        sys.stdout.write(f"{name}: {len(verdicts)} structures: {told}\n")
        for verdict in verdicts:
            if verdict.crystal is not None and verdict.kind != "copy":
                crystal = verdict.crystal
                sys.stdout.write(f"  {verdict.kind}: {verdict.label}, {crystal.formula}, group {crystal.space_group}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
