"""Patterns in people's files are read as they are; what is broken or hostile is refused, each with its reason."""

import os
import zlib

import h5py
import numpy as np
import pytest
import tifffile

from sgexp.data.formats import hdf5_patterns
from sgexp.data.inputs import find_inputs
from sgexp.errors import ConfigError, DataError

from .makers import patterns, write_samples

PIXELS = 16


def read(path, pixels=PIXELS):
    """Return name -> patterns, and name -> reason."""
    files = find_inputs(path)
    found = [*files.refused, *files.read(pixels)]
    return (
        {crystal.name: crystal.patterns for crystal in found if crystal.patterns is not None},
        {crystal.name: crystal.reason for crystal in found if crystal.patterns is None},
    )


def refused(path, **options):
    """Return the one reason why nothing there was read."""
    good, bad = read(path, **options)
    assert not good and len(bad) == 1, (good, bad)
    (reason,) = bad.values()
    return reason


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<u2", "u1", "<f2"])
def test_npy_of_any_number_type_and_dimension(tmp_path, dtype):
    stacks = (200 * np.stack([patterns(seed) for seed in range(4)])).astype(dtype)
    np.save(tmp_path / "four.npy", stacks)
    np.save(tmp_path / "one.npy", stacks[0])
    np.save(tmp_path / "single.npy", np.asfortranarray(stacks[0, 0]))
    good, bad = read(tmp_path)
    assert not bad and list(good) == ["four.npy:0", "four.npy:1", "four.npy:2", "four.npy:3", "one.npy", "single.npy"]
    for index in range(4):
        np.testing.assert_array_equal(good[f"four.npy:{index}"], stacks[index].astype(np.float32))
    assert good["one.npy"].shape == (3, PIXELS, PIXELS) and good["single.npy"].shape == (1, PIXELS, PIXELS)


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"photometric": "minisblack"}, {"compression": "zlib"}, {"bigtiff": True}])
def test_tif_pages_are_the_patterns_of_one_crystal(tmp_path, options):
    stack = (60_000 * patterns(1)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)  # {}: as planes of one page, else as pages
    tifffile.imwrite(tmp_path / "b.TIFF", stack[0], **options)
    good, bad = read(tmp_path)
    assert not bad
    np.testing.assert_array_equal(good["a.tif"], stack.astype(np.float32))
    np.testing.assert_array_equal(good["b.TIFF"], stack[:1].astype(np.float32))


def test_hdf5_of_the_layout_of_smc19_gives_what_its_own_reader_gives(tmp_path):
    write_samples(tmp_path / "batch_train_0.h5", 12)
    good, bad = read(tmp_path)
    assert (
        not bad and list(good)[:2] == ["batch_train_0.h5:sample_0_0", "batch_train_0.h5:sample_0_1"] and len(good) == 12
    )
    with h5py.File(tmp_path / "batch_train_0.h5") as file:
        for name, found in good.items():
            np.testing.assert_array_equal(found, file[name.partition(":")[2]]["cbed_stack"][()])


def test_hdf5_of_plain_data_sets_needs_no_labels(tmp_path):
    stacks = np.stack([patterns(seed) for seed in range(3)])
    with h5py.File(tmp_path / "mine.hdf5", "w") as file:
        file.create_dataset("scan/many", data=stacks, chunks=(1, 3, PIXELS, PIXELS), compression="gzip", shuffle=True)
        file["one"] = stacks[0].astype(np.float64)
        file["table"] = np.zeros((3, 3))  # too small for a picture
        file["text"] = "words"
    good, bad = read(tmp_path)
    assert not bad and list(good) == ["mine.hdf5:one", *(f"mine.hdf5:scan/many[{index}]" for index in range(3))]
    np.testing.assert_array_equal(good["mine.hdf5:scan/many[2]"], stacks[2])


def test_other_files_are_counted_and_links_out_of_the_folder_refused(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    np.save(outside / "secret.npy", patterns(0))
    np.save(inside / "mine.npy", patterns(1))
    (inside / "notes.txt").write_text("x")
    (inside / "link.npy").symlink_to(outside / "secret.npy")
    files = find_inputs(inside)
    good, bad = read(inside)
    assert files.passed_over == 1 and list(good) == ["mine.npy"] and "link out of" in bad["link.npy"]


def test_a_path_with_nothing_to_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        find_inputs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no patterns"):
        find_inputs(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    assert "ends in none of" in refused(tmp_path / "a.png")


# --- values that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stack: stack.__setitem__((0, 1, 2), np.nan), "1 pixels that are NaN"),
        (lambda stack: stack.__setitem__((1, 3, 4), np.inf), "NaN or infinite"),
        (lambda stack: stack.__setitem__((2, 0, 0), -1e-3), "1 negative pixels"),
        (lambda stack: stack.__setitem__(1, 0.0), "no intensity at all in 1 of its 3"),
    ],
)
def test_values_that_are_no_intensities_are_refused_and_others_go_on(tmp_path, change, words):
    stacks = np.stack([patterns(0), patterns(1)])
    change(stacks[0])
    np.save(tmp_path / "a.npy", stacks)
    good, bad = read(tmp_path)
    assert list(good) == ["a.npy:1"] and words in bad["a.npy:0"]


def test_shapes_that_are_no_patterns_are_refused(tmp_path):
    for name, array, words in (
        ("flat.npy", np.ones(9), "the shape (9,)"),
        ("deep.npy", np.ones((1, 1, 1, 16, 16)), "instead of (N, P, H, W)"),
        ("oblong.npy", np.ones((3, 16, 20)), "squares"),
        ("small.npy", np.ones((3, 8, 8)), "the network reads 16"),
        ("many.npy", np.ones((65, 16, 16)), "65 patterns"),
        ("complex.npy", np.ones((3, 16, 16), complex), "complex128"),
        ("struct.npy", np.zeros((3, 16, 16), [("a", "f4")]), "real numbers"),
        ("text.npy", np.full((16, 16), "x"), "real numbers"),
        ("none.npy", np.ones((3, 0, 16)), ""),
    ):
        np.save(tmp_path / name, array)
        assert words in refused(tmp_path / name), name


# --- hostile files ----------------------------------------------------------------------------------------------------


def test_pickles_are_refused_and_do_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "object.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    assert "pickled" in refused(tmp_path / "object.npy")
    np.array([Bomb()], dtype=object).dump(tmp_path / "dumped.npy")
    assert "no .npy file" in refused(tmp_path / "dumped.npy")
    np.savez(tmp_path / "zip.npz", a=patterns(0))
    assert "not read" in refused(tmp_path / "zip.npz")
    assert not (tmp_path / "ran").exists()


def npy_header(shape, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        npy_header("(1000000, 3, 64, 64)"),
        npy_header("(3, 64, 64)") + bytes(100),
        npy_header("(-3, 64, 64)"),
        npy_header("(3, 64, 99999999999999999999)"),
        npy_header("__import__('os')"),
        npy_header("(3, 16, 16)", "|O"),
        b"\x93NUMPY\x01\x00\xff\xff(((((",
        b"\x93NUMPY",
        b"",
    ],
)
def test_npy_files_that_lie_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    assert refused(tmp_path / "a.npy")


def tif(tmp_path, **options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint16), **options)
    return path


def set_tags(path, **values):
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name, value in values.items():
            file.pages[0].tags[name].overwrite(value)


def test_tif_files_that_lie_are_refused(tmp_path):
    path = tif(tmp_path)
    set_tags(path, ImageWidth=60_000, ImageLength=60_000)
    assert "8192 pixels a side" in refused(path)
    path = tif(tmp_path)
    set_tags(path, ImageWidth=4000, ImageLength=4000)
    assert "cut short" in refused(path)
    path = tif(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert refused(path)
    path.write_bytes(b"II*\0" + bytes(50))
    assert refused(path)
    tifffile.imwrite(path, np.ones((64, 64, 3), np.uint8), photometric="rgb")
    assert "grey" in refused(path)
    tifffile.imwrite(path, np.ones((64, 64), np.uint8))
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.ones((64, 64), np.float32))
        writer.write(np.ones((32, 32), np.float32))
    assert "different sizes" in refused(path)


def test_a_tif_whose_pages_run_in_a_circle_ends(tmp_path):
    path = tif(tmp_path)
    with tifffile.TiffFile(path) as file:
        first, after_tags = file.pages[0].offset, file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[after_tags : after_tags + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    assert "65 patterns" in refused(path)


def test_a_tif_that_unpacks_without_end_is_refused(tmp_path):
    path = tif(tmp_path, compression="zlib")
    bomb, place = zlib.compress(bytes(50_000_000)), path.stat().st_size
    with path.open("ab") as file:
        file.write(bomb)
    set_tags(path, StripOffsets=place, StripByteCounts=len(bomb))
    assert "fill the memory" in refused(path)


def test_hdf5_links_and_storage_elsewhere_are_refused(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = patterns(0)
    (tmp_path / "raw").write_bytes(bytes(4 * 3 * 16 * 16))
    with h5py.File(folder / "a.h5", "w") as file:
        file["own"] = patterns(1)
        file["soft"] = h5py.SoftLink("/own")
        file["external"] = h5py.ExternalLink("../secret.h5", "/a")
        file.create_dataset("outside", (3, 16, 16), "f4", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
        layout = h5py.VirtualLayout((3, 16, 16), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (3, 16, 16))
        file.create_virtual_dataset("virtual", layout)
        file.create_group("circle")
        file["circle/back"] = file["/"]  # a hard link to what is above
        file.create_dataset("lzf", data=patterns(2), compression="lzf")
        file.create_dataset("chunk", (3, 9000, 9000), "u1", chunks=(3, 9000, 9000))
    good, bad = read(folder)
    assert {name for name in good if "back" not in name} == {"a.h5:own"}
    for name, words in (("soft", "link"), ("external", "link"), ("outside", "outside"), ("virtual", "outside")):
        assert words in bad[f"a.h5:{name}"]
    assert "save it by gzip" in bad["a.h5:lzf"] and "chunk" in str(bad)


def test_an_hdf5_chunk_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_patterns, "_UNPACKED_UNCHECKED", 1000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("a", (2, 3, 16, 16), "f4", chunks=(1, 3, 16, 16), compression="gzip")
        made[...] = np.stack([patterns(0), patterns(1)])
        made.id.write_direct_chunk((1, 0, 0, 0), zlib.compress(bytes(50_000_000)))
    good, bad = read(tmp_path)
    assert list(good) == ["a.h5:a[0]"] and "fill the memory" in bad["a.h5:a[1]"]


def test_damaged_hdf5_is_refused(tmp_path):
    write_samples(tmp_path / "a.h5", 4)
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_text("<html>")
    assert "not an HDF5 file" in refused(tmp_path / "a.h5")


def test_names_cannot_move_the_terminals_cursor(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["\x1b[2Jred\u202e"] = patterns(0)
    with open(os.fsencode(tmp_path) + b"/b\xff\x1b[31m.npy", "wb") as file:
        np.save(file, patterns(1))
    good, _ = read(tmp_path)
    assert all(name.isprintable() for name in good) and len(good) == 2
    "".join(good).encode("utf-8")
