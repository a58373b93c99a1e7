from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from sgexp.data.formats import smc19
from sgexp.data.samples import BadSample, SampleHeader
from sgexp.errors import DataError

from .makers import attributes, patterns, write_samples


def headers(path: Path) -> list[SampleHeader]:
    return [found for found in smc19.scan(path) if isinstance(found, SampleHeader)]


def bad(path: Path) -> dict[str, str]:
    return {found.key: found.reason for found in smc19.scan(path) if isinstance(found, BadSample)}


def test_what_is_written_reads_back_with_smc19s_own_types(tmp_path: Path) -> None:
    path = tmp_path / "batch_train_0.h5"
    with smc19.Writer(path) as writer:
        writer.add("sample_3_1", patterns(1), attributes(energy_keV=110.0), {"family": "rutile", "parent": "mp-9"})
    with h5py.File(path) as file:
        group = file["sample_3_1"]
        assert set(group) == {"cbed_stack", "sgexp"}
        assert group["cbed_stack"].dtype == np.float32
        assert tuple(sorted(group.attrs)) == tuple(sorted(smc19.ATTRIBUTES))
        assert group.attrs["space_group"] == b"14"
        assert group.attrs["material"] == b"mp-1"
        assert int(group.attrs["energy_keV"]) == 110
        assert np.issubdtype(type(group.attrs["energy_keV"]), np.integer)
        assert group.attrs["z_dirs"].shape == group.attrs["y_dirs"].shape == (1, 3, 3)
        assert group.attrs["formula"] == "Fe8 O14 F2"
        np.testing.assert_array_equal(smc19.read_patterns(file, "sample_3_1"), patterns(1))
    assert headers(path) == [
        SampleHeader(
            "sample_3_1", 14, "mp-1", 110.0, "Fe8 O14 F2", (3.0, 4.0, 5.0), (90.0, 100.0, 90.0), 16, "rutile", "mp-9"
        )
    ]


def test_keys_come_in_natural_order_with_their_gaps(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    keys = ["sample_10_0", "sample_2_9", "sample_2_0", "sample_700_3"]
    with smc19.Writer(path) as writer:
        for n, key in enumerate(keys):
            writer.add(key, patterns(n), attributes())
    assert [header.key for header in headers(path)] == ["sample_2_0", "sample_2_9", "sample_10_0", "sample_700_3"]


def test_an_interrupted_writer_leaves_no_file_of_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt), smc19.Writer(path) as writer:
        writer.add("sample_0_0", patterns(0), attributes())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_what_would_not_be_smc19(tmp_path: Path) -> None:
    with smc19.Writer(tmp_path / "a.h5") as writer:
        with pytest.raises(ValueError, match="shape"):
            writer.add("sample_0_0", np.ones((2, 8, 8)), attributes())
        with pytest.raises(ValueError, match="finite"):
            writer.add("sample_0_0", np.full((3, 8, 8), np.nan), attributes())
        with pytest.raises(ValueError, match="exactly"):
            writer.add("sample_0_0", patterns(0), {"space_group": 1})


@pytest.mark.parametrize(
    "stored", [b"14", np.bytes_(b"14"), "14", 14, np.int64(14), 14.0, np.array([b"14"]), np.array(["14"], dtype="S4")]
)
def test_a_space_group_may_be_bytes_text_or_a_number(tmp_path: Path, stored: object) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 1)
    with h5py.File(path, "a") as file:
        del file["sample_0_0"].attrs["space_group"]
        file["sample_0_0"].attrs["space_group"] = stored
    assert headers(path)[0].space_group == 14


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (None, "no 'space_group'"),
        (b"0", "outside 1..230"),
        (b"231", "outside 1..230"),
        (b"-3", "outside 1..230"),
        (b"P2_1/c", "not a number"),
        (np.nan, "not a whole number"),
        (2.5, "not a whole number"),
        (np.zeros(1000), "no 'space_group'"),
    ],
)
def test_a_sample_without_a_group_in_range_is_set_aside_with_the_reason(
    tmp_path: Path, stored: object, reason: str
) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 3)
    with h5py.File(path, "a") as file:
        del file["sample_0_1"].attrs["space_group"]
        if stored is not None:
            file["sample_0_1"].attrs["space_group"] = stored
    assert list(bad(path)) == ["sample_0_1"]
    assert reason in bad(path)["sample_0_1"]
    assert [header.key for header in headers(path)] == ["sample_0_0", "sample_1_0"]


def test_denormal_and_nan_attributes_do_not_lose_the_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with smc19.Writer(path) as writer:
        writer.add("sample_5_7", patterns(0), attributes(abc_angstrom=[1e-310, 3, 3], angles_degree=[np.nan, 90, 90]))
    with h5py.File(path, "a") as file:
        del file["sample_5_7"].attrs["energy_keV"]
        file["sample_5_7"].attrs["energy_keV"] = 4.9e-324
    header = headers(path)[0]
    assert header.abc is None
    assert header.angles is None
    assert header.energy_kev == 170.0  # from the key: k = 7


def test_an_absurd_shape_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 1)
    with h5py.File(path, "a") as file:
        for key, shape in {"sample_1_0": (3, 10**6, 10**6), "sample_2_0": (3, 8), "sample_3_0": (1, 8, 8)}.items():
            group = file.create_group(key)
            group.create_dataset("cbed_stack", shape, dtype="f4", chunks=True)
            group.attrs.update({"space_group": b"1", "material": b"mp-1"})
        wrong = file.create_group("sample_4_0")
        wrong.create_dataset("cbed_stack", (3, 8, 8), dtype=h5py.string_dtype())
    found = bad(path)
    assert all("shape" in found[f"sample_{n}_0"] for n in (1, 2, 3))
    assert "instead of float32" in found["sample_4_0"]
    with smc19.open_file(path) as file, pytest.raises(DataError, match="shape"):
        smc19.read_patterns(file, "sample_1_0")


@pytest.mark.parametrize(
    "stored",
    [np.bytes_(b"m" * 50_000), "m" * 50_000, np.array([b"m" * 2000] * 3), np.array(["m"] * 3, dtype=object)],
    ids=["fixed length", "variable length", "several of fixed length", "several of variable length"],
)
def test_a_text_larger_than_any_header_has_is_not_taken(tmp_path: Path, stored: object) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 1)
    with h5py.File(path, "a") as file:
        group = file["sample_0_0"]
        del group.attrs["material"]
        group.attrs["material"] = stored
        assert smc19._attribute(group.id, "material") is None
    assert "no 'material'" in bad(path)["sample_0_0"]


def test_links_and_pixels_outside_the_file_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere.h5"
    write_samples(secret, 1)
    (tmp_path / "raw.bin").write_bytes(np.ones((3, 8, 8), dtype="f4").tobytes())
    path = tmp_path / "a.h5"
    write_samples(path, 1)
    with h5py.File(path, "a") as file:
        file["sample_1_0"] = h5py.ExternalLink("elsewhere.h5", "/sample_0_0")
        file["sample_2_0"] = h5py.SoftLink("/sample_0_0")
        for key in ("sample_3_0", "sample_4_0", "sample_5_0"):
            file.create_group(key).attrs.update({"space_group": b"1", "material": b"mp-1"})
        file["sample_3_0"]["cbed_stack"] = h5py.ExternalLink("elsewhere.h5", "/sample_0_0/cbed_stack")
        file["sample_4_0"].create_dataset(
            "cbed_stack", (3, 8, 8), dtype="f4", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        )
        layout = h5py.VirtualLayout((3, 16, 16), dtype="f4")
        layout[:] = h5py.VirtualSource(str(secret), "sample_0_0/cbed_stack", (3, 16, 16))
        file["sample_5_0"].create_virtual_dataset("cbed_stack", layout)
    found = bad(path)
    assert all("refused" in found[f"sample_{n}_0"] for n in range(1, 6)), found
    with smc19.open_file(path) as file:
        for n in range(1, 6):
            with pytest.raises(DataError, match="refused"):
                smc19.read_patterns(file, f"sample_{n}_0")


def test_what_is_not_a_sample_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 1)
    with h5py.File(path, "a") as file:
        file["note"] = np.ones(3)
        file.create_group("sample_8_0").attrs["space_group"] = b"3"
        stack = file.create_group("sample_9_0").create_dataset("cbed_stack", data=patterns(0))
        stack.parent.attrs["space_group"] = b"3"
    found = bad(path)
    assert found["note"] == "is not a group"
    assert "no 'cbed_stack'" in found["sample_8_0"]
    assert "no 'material'" in found["sample_9_0"]


def test_foreign_and_truncated_files_say_so(tmp_path: Path) -> None:
    foreign, cut, empty = (tmp_path / name for name in ("foreign.h5", "cut.h5", "empty.h5"))
    foreign.write_text("not HDF5")
    empty.touch()
    write_samples(cut, 8)
    cut.write_bytes(cut.read_bytes()[:-2000])
    assert "not an HDF5 file" in bad(foreign)[""]
    assert "not an HDF5 file" in bad(empty)[""]
    assert "cut short" in bad(cut)[""]
    with pytest.raises(DataError, match="does not exist"):
        smc19.open_file(tmp_path / "none.h5")


def test_damage_inside_a_file_costs_samples_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_samples(path, 8)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(2000, len(data), 300):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    for found in smc19.scan(path):
        assert isinstance(found, SampleHeader | BadSample)


FILL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from makers import attributes, patterns
from sgexp.data.formats.smc19 import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
with Writer(Path(sys.argv[1])) as writer:
    for n in range(200):
        writer.add(f"sample_{n}_0", patterns(n, 32), attributes())
"""


def test_a_disk_that_fills_up_is_told_with_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    """The system refuses writes for good from some size on, as a full disk or a quota does."""
    command = [sys.executable, "-c", FILL, str(tmp_path / "a.h5"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1  # and not a crash inside HDF5
    assert done.stderr.count("Traceback") <= 3, done.stderr
    assert f"MB free in {tmp_path}): free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_h5py_itself_agrees_on_every_attribute(tmp_path: Path) -> None:
    """The fast low-level header is what the plain way of reading gives."""
    path = tmp_path / "a.h5"
    write_samples(path, 12)
    with h5py.File(path) as file:
        for header in headers(path):
            group = file[header.key]
            assert header.space_group == int(group.attrs["space_group"])
            assert header.material == group.attrs["material"].decode()
            assert header.energy_kev == group.attrs["energy_keV"]
            assert header.formula == group.attrs["formula"]
            assert header.abc == tuple(group.attrs["abc_angstrom"])
            assert header.family == group["sgexp"].attrs["family"]
            assert header.pixels == group["cbed_stack"].shape[1]
