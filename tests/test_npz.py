"""Arrays in files: what was written is read back, and a file that is damaged or hostile ends in one sentence."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from sgexp.errors import DataError
from sgexp.npz import load_npz, save_npz


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "arrays.npz"
    save_npz(path, 1, numbers=np.arange(100), words=np.array(["a", "bc"]))
    return path


def test_what_was_written_is_read_back(written):
    arrays = load_npz(written, 1)
    assert arrays["numbers"].tolist() == list(range(100)) and arrays["words"].tolist() == ["a", "bc"]
    assert [path.name for path in written.parent.iterdir()] == ["arrays.npz"]


def test_a_failed_write_leaves_the_old_file_whole(written):
    class Unwritable:
        def __array__(self, dtype=None, copy=None):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        save_npz(written, 1, numbers=Unwritable())
    assert len(load_npz(written, 1)["numbers"]) == 100
    assert [path.name for path in written.parent.iterdir()] == ["arrays.npz"]


def test_a_newer_schema_is_refused(written):
    save_npz(written, 2, numbers=np.arange(3))
    with pytest.raises(DataError, match=r"schema_version 2.*newer"):
        load_npz(written, 1)


@pytest.mark.parametrize("keep", [0, 1, 30, 200, -1])
def test_a_file_cut_short_is_refused(written, keep):
    written.write_bytes(written.read_bytes()[:keep])
    with pytest.raises(DataError, match="cannot be read"):
        load_npz(written, 1)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone\.npz cannot be read: No such file"):
        load_npz(tmp_path / "gone.npz", 1)


def test_pickled_objects_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(tmp_path / "trap.npz", numbers=np.array([Trap()], dtype=object), schema_version=np.array(1))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npz", "bare.npz"):
        with pytest.raises(DataError, match="cannot be read"):
            load_npz(tmp_path / name, 1)
    assert not (tmp_path / "sprung").exists()


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("numbers.npy", stream.getvalue() + b"x" * 8)
    with pytest.raises(DataError, match="cannot be read"):
        load_npz(tmp_path / "claim.npz", 1)


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("sgexp.npz.MOST_BYTES", 10**6)
    np.savez_compressed(tmp_path / "bomb.npz", numbers=np.zeros(10**6), schema_version=np.array(1))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**5
    with pytest.raises(DataError, match="GiB of memory"):
        load_npz(tmp_path / "bomb.npz", 1)
