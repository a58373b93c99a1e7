"""The prototypes that pymatgen ships, read by others from AFLOW's pages, are families of the library already."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sgexp.crystallography.families import same_structure
from sgexp.crystallography.library import load_library
from sgexp.crystallography.library.prototypes import aflow, compare, minerals
from sgexp.crystallography.library.sources import pymatgen_crystal

ANATASE, INDIUM = "A2B_tI12_141_e_a", "A_tI2_139_a"


@pytest.fixture(scope="module")
def structures():
    found = find_spec("pymatgen.analysis.bond_valence")
    path = Path(found.origin).parent / "prototypes/aflow_prototypes.json.gz"
    if not path.is_file():
        pytest.skip("pymatgen is here without its prototypes (package pymatgen, beside pymatgen-core)")
    return list(aflow(path))


def named(structures, label, element):
    return next(
        structure
        for name, structure in structures
        if name == label and element in {site["label"] for site in structure["sites"]}
    )


def test_every_prototype_of_a_sample_is_a_material_of_the_library(structures):
    verdicts = list(compare(structures[::15]))
    assert {verdict.label for verdict in verdicts if verdict.kind not in {"copy", "unfit"}} == set()
    assert sum(verdict.kind == "copy" for verdict in verdicts) > 15


def test_other_elements_another_structure_and_a_wrong_group_are_told_apart(structures):
    salt, anatase = named(structures, "AB_cF8_225_a_b", "Na"), named(structures, ANATASE, "Ti")
    renamed = json.loads(json.dumps(salt).replace('"Na"', '"Cm"').replace('"Cl"', '"Pt"'))
    seen = compare([("AB_cF8_225_a_b", salt), ("AB_cF8_225_a_b", renamed), (ANATASE, anatase), ("AB_cF8_216", salt)])
    assert [verdict.kind for verdict in seen] == ["copy", "material", "family", "unfit"]


def test_the_two_that_are_new_are_mistakes_at_their_source(structures):
    """Oxygen's z of the other origin, 1/8 apart; and an edge that is the square root of 2 too long."""
    library = {crystal.name: crystal for crystal in load_library()}
    wrong, right = pymatgen_crystal("anatase", named(structures, ANATASE, "Ti")), library[ANATASE]
    assert not same_structure(wrong, right)
    oxygen = wrong.numbers == 8
    # Their first site is (0, 1/4, z) in the second setting of group 141, z = 0.2081; the group gives the others.
    up = np.where((np.round(wrong.positions[:, 2] - 0.2081, 3) % 0.25) == 0.0, -0.125, 0.125)
    moved = replace(wrong, positions=(wrong.positions + np.outer(up * oxygen, [0.0, 0.0, 1.0])) % 1.0)
    assert moved.relabelled().space_group == 141 and same_structure(moved, right)

    wrong, right = pymatgen_crystal("indium", named(structures, INDIUM, "In")), library[f"{INDIUM}.In"]
    assert wrong.abc[:2] / right.abc[:2] == pytest.approx(np.sqrt(2.0), rel=1e-4)
    assert wrong.abc[2] == pytest.approx(right.abc[2], rel=1e-4)


def test_minerals_are_read_from_a_table_of_pandas(structures, tmp_path):
    label, structure = structures[0]
    table = {"columns": ["mineral", "structure"], "index": [label], "data": [["Cinnabar", structure]]}
    path = tmp_path / "mineral_db.json.gz"
    path.write_bytes(gzip.compress(json.dumps(table).encode()))
    assert list(minerals(path)) == [(label, structure)]
    assert [verdict.kind for verdict in compare(minerals(path))] == ["copy"]


def test_what_is_not_ordered_is_no_crystal(structures):
    half = json.loads(json.dumps(named(structures, "AB_cF8_225_a_b", "Na")))
    half["sites"][0]["species"][0]["occu"] = 0.5
    assert pymatgen_crystal("half", half) is None
