from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from sgexp.data.catalog import BadSample, build_catalog, unique_rows
from sgexp.data.formats.smc19 import Writer
from sgexp.data.proxy_families import anonymised_formula, proxy_family
from sgexp.errors import DataError

from .makers import attributes, patterns, write_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, ten samples, five materials, three families."""
    root = tmp_path / "data"
    write_samples(root / "batch_train_2.h5", 6)
    write_samples(root / "batch_test_10.h5", 4, start=6)
    return root


def test_rows_say_what_the_headers_say_in_natural_order(folder: Path, tmp_path: Path) -> None:
    catalog = build_catalog(folder, tmp_path / "cache", progress=False)
    assert len(catalog) == 10
    assert catalog.path.tolist() == ["batch_test_10.h5"] * 4 + ["batch_train_2.h5"] * 6
    assert catalog.released.tolist() == ["test"] * 4 + ["train"] * 6
    assert catalog.key[4:].tolist() == [
        "sample_0_0",
        "sample_0_1",
        "sample_1_0",
        "sample_1_1",
        "sample_2_0",
        "sample_2_1",
    ]
    assert catalog.energy_kev[4:6].tolist() == [100, 110]
    assert catalog.family[4] == "family 0"
    assert not catalog.family_is_proxy
    assert catalog.bad == ()
    assert catalog.space_group.dtype == np.int16


def test_a_second_call_reads_no_file_and_gives_the_same(folder: Path, tmp_path: Path) -> None:
    first = build_catalog(folder, tmp_path / "cache", progress=False)
    for path in folder.iterdir():  # same size and time, other content: only a cache can answer
        state = path.stat()
        path.write_bytes(b"\0" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = build_catalog(folder, tmp_path / "cache", progress=False)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.key, first.key)


def test_a_changed_file_and_a_damaged_cache_are_read_again(folder: Path, tmp_path: Path) -> None:
    first = build_catalog(folder, tmp_path / "cache", progress=False)
    for path in (tmp_path / "cache" / "headers").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert build_catalog(folder, tmp_path / "cache", progress=False).fingerprint == first.fingerprint
    write_samples(folder / "batch_train_2.h5", 4)
    assert len(build_catalog(folder, tmp_path / "cache", progress=False)) == 8


def test_the_fingerprint_knows_content_and_not_places(folder: Path, tmp_path: Path) -> None:
    first = build_catalog(folder, tmp_path / "cache", progress=False)
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, moved)
    copy = build_catalog(moved, tmp_path / "other", progress=False)
    assert copy.fingerprint == first.fingerprint
    with h5py.File(moved / "batch_train_2.h5", "a") as file:  # equal headers, other pixels: another simulation
        file["sample_0_0/cbed_stack"][:] *= 2
    os.utime(moved / "batch_train_2.h5", ns=(1, 1))
    assert build_catalog(moved, tmp_path / "other", progress=False).fingerprint != first.fingerprint


def test_the_fingerprint_is_that_of_before_cells_were_kept(folder: Path, tmp_path: Path) -> None:
    """Packed patterns and interrupted runs are found by it."""
    assert build_catalog(folder, tmp_path / "cache", progress=False).fingerprint == "5b9d6245ce46c2a65ebbb8f285402407"


def test_a_row_has_the_cell_that_its_header_gives_where_that_can_be_one(tmp_path: Path) -> None:
    with Writer(tmp_path / "data" / "batch_dev_0.h5") as writer:
        writer.add("sample_0_0", patterns(0), attributes())
        writer.add("sample_1_0", patterns(1), attributes(material="b", abc_angstrom=[1e-310] * 3))
        writer.add("sample_2_0", patterns(2), attributes(material="c", angles_degree=[np.nan, 90.0, 90.0]))
    for _ in ("read", "from the cache"):
        catalog = build_catalog(tmp_path / "data", tmp_path / "c", progress=False)
        expected = np.array([[3, 4, 5, 90, 100, 90], [np.nan] * 3 + [90, 100, 90], [3, 4, 5] + [np.nan] * 3])
        np.testing.assert_array_equal(catalog.cell, expected.astype(np.float32))
    np.testing.assert_array_equal(catalog.take(np.array([2, 0])).cell, expected[[2, 0]].astype(np.float32))


def test_processes_give_the_same_catalog(tmp_path: Path) -> None:
    for n in range(17):
        write_samples(tmp_path / "data" / f"batch_train_{n}.h5", 2, start=2 * n, pixels=8)
    one = build_catalog(tmp_path / "data", tmp_path / "a", progress=False, processes=1)
    two = build_catalog(tmp_path / "data", tmp_path / "b", progress=False, processes=2)
    assert one.fingerprint == two.fingerprint


def test_files_without_our_subgroup_get_proxy_families(tmp_path: Path) -> None:
    with Writer(tmp_path / "data" / "batch_dev_0.h5") as writer:
        facts = {
            "a": attributes(76, formula="Si2 O4"),
            "b": attributes(78, formula="Ge1 S2", abc_angstrom=[6.0, 8.0, 10.0]),  # the other hand, doubled
            "c": attributes(76, formula="Si2 O4", angles_degree=[90.0, 120.0, 90.0]),
            "d": attributes(77, formula="Si2 O4"),
        }
        for n, (name, values) in enumerate(facts.items()):
            writer.add(f"sample_{n}_0", patterns(n), values | {"material": name})
    catalog = build_catalog(tmp_path / "data", tmp_path / "cache", progress=False)
    assert catalog.family_is_proxy
    assert catalog.family[0] == catalog.family[1]
    assert len(set(catalog.family.tolist())) == 3


def test_a_material_keeps_one_family_though_one_header_is_unusable(tmp_path: Path) -> None:
    with Writer(tmp_path / "data" / "batch_dev_0.h5") as writer:
        writer.add("sample_0_0", patterns(0), attributes())
        writer.add("sample_0_1", patterns(1), attributes(abc_angstrom=[1e-310] * 3))
    assert len(set(build_catalog(tmp_path / "data", tmp_path / "c", progress=False).family.tolist())) == 1


def test_samples_that_disagree_on_their_materials_group_are_set_aside(tmp_path: Path) -> None:
    with Writer(tmp_path / "data" / "batch_dev_0.h5") as writer:
        for n, group in enumerate((14, 14, 15)):
            writer.add(f"sample_0_{n}", patterns(n), attributes(group))
    catalog = build_catalog(tmp_path / "data", tmp_path / "c", progress=False)
    assert len(catalog) == 2
    assert [bad.key for bad in catalog.bad] == ["sample_0_2"]
    assert "15, but 14" in catalog.bad[0].reason


@pytest.mark.parametrize(
    ("formula", "expected"),
    [("Fe8 O14 F2", "1-4-7"), ("Si1", "1"), ("O2 Si1", "1-2"), ("Na4 Cl4", "1-1"), ("", ""), ("NaCl", "1-1")],
)
def test_anonymised_formulas_are_reduced_and_without_elements(formula: str, expected: str) -> None:
    assert anonymised_formula(formula) == expected


def test_the_proxy_does_not_see_scale_but_sees_shape() -> None:
    angles = (90.0, 90.0, 90.0)
    assert proxy_family(225, "Na4 Cl4", (5.6, 5.6, 5.6), angles) == proxy_family(225, "K4 I4", (7.0, 7.0, 7.0), angles)
    assert proxy_family(136, "Ti2 O4", (4.6, 4.6, 3.0), angles) != proxy_family(136, "X2 Y4", (4.6, 4.6, 6.0), angles)
    assert proxy_family(2, "X1", None, angles).endswith("no cell")


def test_missing_empty_and_foreign_folders_each_get_one_sentence(tmp_path: Path) -> None:
    def message(root: Path) -> str:
        with pytest.raises(DataError) as caught:
            build_catalog(root, tmp_path / "cache", progress=False)
        return str(caught.value)

    assert "There is no folder" in message(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is a file" in message(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "holds no data" in message(tmp_path / "empty")
    h5py.File(tmp_path / "empty" / "a.h5", "w").close()
    assert "not one sample" in message(tmp_path / "empty")
    (tmp_path / "empty" / "a.h5").write_text("x")
    assert "a.h5 is not an HDF5 file" in message(tmp_path / "empty")


def test_bad_samples_pass_up_to_the_limit_and_no_further(folder: Path, tmp_path: Path) -> None:
    with h5py.File(folder / "batch_train_2.h5", "a") as file:
        file["sample_1_0"].attrs["space_group"] = b"999"
    catalog = build_catalog(folder, tmp_path / "cache", progress=False, max_bad_fraction=0.1)
    assert len(catalog) == 9
    assert catalog.bad == (BadSample("batch_train_2.h5", "sample_1_0", "has the space group 999, outside 1..230"),)
    again = build_catalog(folder, tmp_path / "cache", progress=False, max_bad_fraction=0.1)
    assert again.bad == catalog.bad  # from the cache
    with pytest.raises(DataError, match=r"1 of 10 samples .*max_bad_fraction=0\.05.*sample_1_0 has the space group"):
        build_catalog(folder, tmp_path / "cache", progress=False, max_bad_fraction=0.05)


def test_one_cut_file_among_many_counts_as_a_file(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "batch_test_10.h5").read_bytes()
    (folder / "batch_test_10.h5").write_bytes(whole[: len(whole) // 2])
    catalog = build_catalog(folder, tmp_path / "cache", progress=False, max_bad_fraction=0.5)
    assert len(catalog) == 6
    with pytest.raises(DataError, match=r"1 of 2 files .* cut short"):
        build_catalog(folder, tmp_path / "cache", progress=False, max_bad_fraction=0.1)


def test_links_out_of_the_folder_and_pipes_are_not_read(folder: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "private.h5", 2)
    (folder / "link.h5").symlink_to(tmp_path / "private.h5")
    (folder / "inside.h5").symlink_to(folder / "batch_train_2.h5")
    (folder / "gone.h5").symlink_to(folder / "none.h5")
    os.mkfifo(folder / "pipe.h5")
    (folder / "half.h5.part").touch()
    catalog = build_catalog(folder, tmp_path / "cache", progress=False)
    reasons = {bad.path: bad.reason for bad in catalog.bad}
    assert set(reasons) == {"link.h5", "gone.h5", "pipe.h5"}
    assert "link out of" in reasons["link.h5"]
    assert "private.h5" not in catalog.path


def test_take_changes_rows_and_fingerprint(folder: Path, tmp_path: Path) -> None:
    catalog = build_catalog(folder, tmp_path / "cache", progress=False)
    taken = catalog.take(np.array([3, 1]))
    assert taken.key.tolist() == [catalog.key[3], catalog.key[1]]
    assert len({catalog.fingerprint, taken.fingerprint, catalog.take(np.array([1, 3])).fingerprint}) == 3


def test_unique_rows_number_values_by_first_appearance() -> None:
    first, inverse = unique_rows(np.array(["b", "a", "b", "c"]))
    assert first.tolist() == [0, 1, 3]
    assert inverse.tolist() == [0, 1, 0, 2]
