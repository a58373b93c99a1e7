"""Generate the tables of this folder from spglib, gemmi and pymatgen.

Run ``python -m sgexp.crystallography.tables.build`` after one of the three was upgraded; a test compares the files with
what this script generates, so that no table is ever typed or edited by hand.

Sources
-------
space_groups.json
    spglib: Hermann-Mauguin and Hall symbols, Hall numbers, point groups. gemmi: Laue classes, crystal systems,
    centrings, operations (from which the enantiomorphic partner is found by inverting the space).
    pymatgen ``symm_data.json``: types of maximal subgroups (International Tables A1), without the group itself.
elements.json
    pymatgen: column (IUPAC group, 3 for all lanthanides and actinides), period, Pauling electronegativity, radioactive.
    gemmi: covalent radius (Cordero 2008).
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gemmi
import spglib

from sgexp.crystallography.symmetry import hall_type

LARGEST_Z = 98  # the electron form factors of gemmi (C4322) end here


def _standard_hall_numbers() -> dict[int, int]:
    """Return group number -> Hall number of the setting spglib standardises to (the first of each group)."""
    first: dict[int, int] = {}
    for hall_number in range(1, 531):
        first.setdefault(hall_type(hall_number).number, hall_number)
    return first


def _enantiomorph(group: gemmi.SpaceGroup) -> int | None:
    """Return the number of the mirror image's group when it is another type (11 pairs), else ``None``."""
    operations = group.operations()
    operations.change_basis_forward(gemmi.Op("-x,-y,-z"))
    mirrored = gemmi.find_spacegroup_by_ops(operations)
    if mirrored is not None and mirrored.number == group.number:
        return None
    # The mirror image of a group need not stand in a tabulated setting; spglib identifies it in any.
    rotations = [[[x // gemmi.Op.DEN for x in row] for row in op.rot] for op in operations]
    translations = [[x / gemmi.Op.DEN for x in op.tran] for op in operations]
    kind = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    assert kind is not None
    return None if kind.number == group.number else int(kind.number)


def _bravais(group: gemmi.SpaceGroup) -> str:
    """Return the symbol of the Bravais lattice (de Wolff et al. 1985): S for one centred face, whichever it is."""
    family = group.crystal_system_str()
    letter = "h" if family == "trigonal" else "a" if family == "triclinic" else family[0]
    centring = group.centring_type()
    return letter + ("S" if centring in "ABC" else centring)


def space_groups() -> list[dict[str, Any]]:
    """Return the 230 rows of ``space_groups.json``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.symmetry.groups import SYMM_DATA
    rows = []
    for number, hall_number in sorted(_standard_hall_numbers().items()):
        kind = hall_type(hall_number)
        group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        rows.append(
            {
                "number": number,
                "symbol": kind.international_short,
                "symbol_full": kind.international_full,
                "hall": kind.hall_symbol,
                "hall_number": hall_number,
                "point_group": group.point_group_hm(),
                "laue_class": group.laue_str(),
                "crystal_system": group.crystal_system_str(),
                "bravais": _bravais(group),
                "enantiomorph": _enantiomorph(group),
                "maximal_subgroups": sorted(set(SYMM_DATA["maximal_subgroups"][str(number)]) - {number}),
            }
        )
    return rows


def elements() -> list[dict[str, Any]]:
    """Return the rows of ``elements.json`` for Z = 1 ... 98; an electronegativity that is not known is ``null``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.core import Element

        rows = []
        for z in range(1, LARGEST_Z + 1):
            element, radii = Element.from_Z(z), gemmi.Element(z)
            rows.append(
                {
                    "z": z,
                    "symbol": element.symbol,
                    "column": int(element.group),
                    "period": int(element.row),
                    "electronegativity": None if element.X != element.X else float(element.X),
                    "covalent_radius": round(float(radii.covalent_r), 3),
                    "radioactive": bool(element.is_radioactive),
                }
            )
    return rows


TABLES = {"space_groups.json": space_groups, "elements.json": elements}


def text(name: str) -> str:
    """Return what the file ``name`` should hold: a JSON list, one row a line."""
    lines = [json.dumps(row) for row in TABLES[name]()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    for table in TABLES:
        Path(__file__).with_name(table).write_text(text(table), encoding="utf-8")
        print(f"wrote {table}")
