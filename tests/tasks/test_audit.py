"""``task=audit`` on a clean made data set, and on one in SMC-19's layout with everything wrong that is looked for."""

import json
import os
import re

import h5py
import numpy as np
import pytest

from sgexp.data.catalog import build_catalog
from sgexp.data.contents import read_contents
from sgexp.data.findings import copies, same_cells, unusable_cells
from sgexp.data.formats.smc19 import Writer
from sgexp.data.split import TEST_MATERIAL, TRAIN, Split

from ..commands import command, result
from ..data.makers import attributes, patterns

GROUPS = (14, 2, 62)


def write(folder, part, materials, first):
    """Write a file of ``materials`` materials, two energies each, no two alike."""
    with Writer(folder / f"batch_{part}_0.h5") as writer:
        for index in range(materials):
            number = first + index
            group = GROUPS[number % 3]
            cell = {
                "abc_angstrom": [3 + number / 100, 4.0, 5.0],
                "angles_degree": [90.0, 90 + 10 * (group != 62), 90.0],
            }
            for energy in range(2):
                facts = attributes(group, f"mp-{number}", energy_keV=100 + 10 * energy, **cell)
                writer.add(f"sample_{index}_{energy}", patterns(2 * number + energy), facts)


@pytest.fixture
def clean(tmp_path):
    """Files for train, dev and test with nothing wrong."""
    folder = tmp_path / "clean"
    folder.mkdir()
    for part, materials, first in (("train", 12, 0), ("dev", 3, 12), ("test", 3, 15)):
        write(folder, part, materials, first)
    return folder


@pytest.fixture
def messy(clean):
    """The same files with a fault of each kind."""
    with h5py.File(clean / "batch_train_0.h5", "a") as train, h5py.File(clean / "batch_test_0.h5", "a") as test:
        train["sample_0_1/cbed_stack"][0, 2, 3] = np.nan
        train["sample_1_0/cbed_stack"][...] = 0
        train["sample_1_1/cbed_stack"][1] = 0
        train["sample_2_0/cbed_stack"][2, 0, 0] = -1
        train["sample_3_0"].attrs["space_group"] = b"400"
        train["sample_4_1/cbed_stack"][...] = train["sample_4_0/cbed_stack"][...]
        train["sample_5_0/cbed_stack"][...] = train["sample_8_0/cbed_stack"][...]  # groups 62 and 62
        test["sample_0_0/cbed_stack"][...] = train["sample_7_0/cbed_stack"][...]  # groups 14 and 2
        for energy in range(2):
            test[f"sample_1_{energy}"].attrs["material"] = train["sample_10_0"].attrs["material"]
            for name in ("abc_angstrom", "space_group"):
                test[f"sample_2_{energy}"].attrs[name] = train["sample_11_0"].attrs[name]
            test[f"sample_1_{energy}"].attrs["space_group"] = train["sample_10_0"].attrs["space_group"]
    (clean / "batch_dev_1.h5").write_bytes(b"<script>alert(1)</script>")
    return clean


def audited(cwd, *arguments):
    """Run the audit; return how it ended, its folder, and audit.json."""
    ended = command("task=audit", "data_dir=data", *arguments, cwd=cwd)
    (folder,) = (cwd / "outputs" / "audit").iterdir()
    return ended, folder, json.loads((folder / "audit.json").read_text())


def test_made_crystals_are_clean(tmp_path):
    made = os.environ["SGEXP_DATA"]
    ended, folder, found = audited(tmp_path, "size=tiny", f"data_dir={made}", "seed=2")
    assert ended.code == 0, ended.err
    assert "clean" in ended.words and found["clean"]
    assert result(folder)["status"] == "finished"
    total = found["counts"]["all"]["total"]
    assert total == [found[noun] for noun in ("samples", "materials", "families", "groups")]
    parts = [nouns["samples"] for part, nouns in found["counts"].items() if part != "all"]
    assert np.array_equal(np.sum(parts, axis=0), found["counts"]["all"]["samples"])
    assert folder.joinpath("audit.png").read_bytes()[:4] == b"\x89PNG"


def test_everything_that_is_wrong_is_found_counted_and_told(messy, tmp_path):
    ended, folder, found = audited(tmp_path, "dataset=smc19", f"dataset.root={messy}", "split=released")
    assert ended.code == 1
    kinds = {finding["kind"]: finding["count"] for finding in found["findings"] if finding["counts"]}
    assert kinds == {
        "unreadable": 2,  # group 400, and a file that is none
        "unusable patterns": 2,
        "odd patterns": 2,
        "contradicting copies": 1,
        "copies": 1,
        "repeated samples": 1,
        "copies across the split": 1,
        "names for one material across the split": 1,
        "released materials overlap": 1,
    }
    assert all(f"{count} {kind}" in ended.sentence for kind, count in kinds.items())
    assert found["reasons"]["holds # pixels that are NaN or infinite"] == 1
    assert found["released"]["train"]["total"][1] == 12
    assert found["samples"] == 36 - 1 - 2  # one label and two stacks cannot be used
    assert result(folder)["clean"] is False and result(folder)["status"] == "finished"


def test_the_page_is_self_contained_and_what_files_say_stays_text(messy, tmp_path):
    os.rename(messy / "batch_dev_1.h5", messy / "batch_dev_<b>1.h5")
    _, folder, _ = audited(tmp_path, "dataset=smc19", f"dataset.root={messy}", "split=released")
    page = (folder / "audit.html").read_text()
    assert "batch_dev_&lt;b&gt;1.h5" in page and "<b>1.h5" not in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "data:image/png;base64," in page


def test_a_clean_folder_of_smc19s_layout_is_clean(clean, tmp_path):
    ended, _, found = audited(tmp_path, "dataset=smc19", f"dataset.root={clean}", "split=released")
    assert ended.code == 0, ended.err
    assert {finding["kind"] for finding in found["findings"]} <= {"released families overlap", "shared families"}


def test_a_leaky_split_is_not_clean(clean, tmp_path):
    ended, _, found = audited(tmp_path, "dataset=smc19", f"dataset.root={clean}", "split=sample", "task.pixels=false")
    assert ended.code == 1 and "leak of split=sample" in ended.sentence
    assert not found["pixels_read"] and any("copies and unusable patterns are not known" in x for x in found["notes"])


def test_a_second_pass_reads_no_file_again(messy, tmp_path, monkeypatch):
    catalog = build_catalog(messy, tmp_path, progress=False)
    first = read_contents(catalog, tmp_path)
    monkeypatch.setattr("sgexp.data.formats.smc19.read_patterns", lambda *_: pytest.fail("a file was read again"))
    again = read_contents(catalog, tmp_path)
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in vars(first))


def test_a_damaged_cache_is_read_again(clean, tmp_path):
    catalog = build_catalog(clean, tmp_path, progress=False)
    first = read_contents(catalog, tmp_path)
    for path in (tmp_path / "contents").iterdir():
        path.write_bytes(b"damaged")
    assert np.array_equal(first.digest, read_contents(catalog, tmp_path).digest)


def test_several_processes_find_the_same(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(9):
        write(folder, f"train_{index}", 2, 2 * index)
    catalog = build_catalog(folder, tmp_path, progress=False)
    one = read_contents(catalog, tmp_path / "one", processes=1)
    two = read_contents(catalog, tmp_path / "two", processes=2)
    assert np.array_equal(one.digest, two.digest) and np.array_equal(one.cell, two.cell)
    assert len(set(one.digest.tolist())) == len(catalog)


def test_cells_of_another_crystal_system_are_told_and_do_not_count(clean, tmp_path):
    """One of two orthorhombic samples with an angle of 100 degrees, one without a cell."""
    with h5py.File(clean / "batch_test_0.h5", "a") as test:
        test["sample_0_0"].attrs["angles_degree"] = np.full(3, np.nan)
        test["sample_2_1"].attrs["angles_degree"] = [90.0, 100.0, 90.0]
    catalog = build_catalog(clean, tmp_path / "cache", progress=False)
    (told,) = unusable_cells(catalog)
    assert told.count == len(told.examples) == 2 and not told.counts
    assert "(1 have none, 1 are at odds with the crystal system)" in told.says
    assert told.examples[1].endswith("batch_test_0.h5:sample_2_1 group 62: 3.17, 4, 5, 90, 100, 90")
    assert not unusable_cells(catalog.take(np.flatnonzero(catalog.released == "train")))


def test_copies_within_training_do_not_cross_the_split(messy, tmp_path):
    catalog = build_catalog(messy, tmp_path, progress=False)
    contents = read_contents(catalog, tmp_path)
    part = np.full(len(catalog), TRAIN, np.int8)
    assert "copies across the split" not in {item.kind for item in copies(catalog, contents, Split(part, "all"))}
    assert {item.counts for item in same_cells(catalog, contents, Split(part, "all"))} == {False}
    part[catalog.released == "test"] = TEST_MATERIAL
    assert "copies across the split" in {item.kind for item in copies(catalog, contents, Split(part, "all"))}
