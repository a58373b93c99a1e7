from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from sgexp.data import packing
from sgexp.data.catalog import Catalog, build_catalog
from sgexp.data.formats import smc19
from sgexp.data.packed import PackedStore
from sgexp.data.transforms import Transform, resize_area
from sgexp.errors import DataError

from .makers import write_samples

LOG8 = Transform("log", 0.25, 8, True)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    write_samples(tmp_path / "data" / "batch_train_0.h5", 20)
    write_samples(tmp_path / "data" / "batch_train_1.h5", 12, start=20)
    return build_catalog(tmp_path / "data", tmp_path / "cache", progress=False)


def build(catalog: Catalog, tmp_path: Path, **other: object) -> PackedStore:
    return PackedStore.build(catalog, LOG8, tmp_path / "cache", progress=False, **other)  # type: ignore[arg-type]


def expected(catalog: Catalog, rows: np.ndarray) -> np.ndarray:
    stacks = []
    for row in rows:
        with smc19.open_file(catalog.root / catalog.path[row]) as file:
            stacks.append(smc19.read_patterns(file, str(catalog.key[row])))
    return LOG8.encode(torch.from_numpy(np.stack(stacks))).half().float().numpy()


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_read_back_as_the_coded_patterns_of_their_samples(
    catalog: Catalog, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BLOCK_ROWS", 7)
    shuffled = catalog.take(np.random.default_rng(0).permutation(len(catalog)))
    store = build(shuffled, tmp_path, workers=workers)
    rows = np.array([31, 0, 5, 5])
    read = store.read(rows)
    assert read.dtype == np.float32
    assert read.shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(read, expected(shuffled, rows))
    pooled = store.pooled(np.arange(32), size=4)
    by_hand = resize_area(torch.from_numpy(store.read(np.arange(32))), 4).reshape(32, -1).numpy()
    np.testing.assert_array_equal(pooled, by_hand)
    assert store.nbytes == 32 * 3 * 8 * 8 * 2


def test_a_store_is_made_once_and_survives_pickling(catalog: Catalog, tmp_path: Path) -> None:
    store = build(catalog, tmp_path)
    before = store.read(np.arange(32))
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    again = pickle.loads(pickle.dumps(build(catalog, tmp_path)))
    np.testing.assert_array_equal(again.read(np.arange(32)), before)


def test_other_settings_never_meet(catalog: Catalog, tmp_path: Path) -> None:
    one = build(catalog, tmp_path)
    other = PackedStore.build(catalog, Transform("power", 0.25, 8, True), tmp_path / "cache", progress=False)
    fewer = build(catalog.take(np.arange(4)), tmp_path)
    assert len({one.folder, other.folder, fewer.folder}) == 3
    assert len(fewer) == 4
    (one.folder / packing.PATTERNS_FILE).write_bytes(b"cut short")
    np.testing.assert_array_equal(build(catalog, tmp_path).read(np.array([3])), expected(catalog, np.array([3])))


def test_bad_pixels_are_set_aside_and_rows_close_up(catalog: Catalog, tmp_path: Path) -> None:
    with h5py.File(catalog.root / "batch_train_0.h5", "a") as file:
        file["sample_1_0/cbed_stack"][0, 3, 3] = np.nan
        file["sample_2_0/cbed_stack"][:] = 0
        file["sample_2_1/cbed_stack"][1, 0, :2] = np.inf
        del file["sample_3_0/cbed_stack"]
    store = build(catalog, tmp_path)
    reasons = {bad.key: bad.reason for bad in store.bad}
    assert set(reasons) == {"sample_1_0", "sample_2_0", "sample_2_1", "sample_3_0"}
    assert "1 pixels that are NaN" in reasons["sample_1_0"]
    assert "no intensity" in reasons["sample_2_0"]
    assert "2 pixels" in reasons["sample_2_1"]
    assert "no 'cbed_stack'" in reasons["sample_3_0"]
    assert len(store) == len(store.catalog) == 28
    assert store.catalog.bad == store.bad
    assert not set(store.catalog.key[store.catalog.path == "batch_train_0.h5"].tolist()) & set(reasons)
    np.testing.assert_array_equal(store.read(np.arange(28)), expected(store.catalog, np.arange(28)))
    again = build(catalog, tmp_path)
    assert again.bad == store.bad
    assert again.catalog.fingerprint == store.catalog.fingerprint != catalog.fingerprint
    with pytest.raises(DataError, match=r"4 of 32 samples .*max_bad_fraction=0\.1"):
        build(catalog, tmp_path, max_bad_fraction=0.1)


def test_a_view_of_some_rows_counts_from_zero(catalog: Catalog, tmp_path: Path) -> None:
    with h5py.File(catalog.root / "batch_train_0.h5", "a") as file:
        file["sample_1_0/cbed_stack"][:] = np.nan
    store = build(catalog, tmp_path)
    rows = np.array([30, 2, 7])
    view = store.take(rows)
    assert view.catalog.key.tolist() == store.catalog.key[rows].tolist()
    np.testing.assert_array_equal(view.read(np.arange(3)), store.read(rows))
    np.testing.assert_array_equal(view.take(np.array([2])).read(np.array([0])), store.read(np.array([7])))


def test_too_many_bad_samples_stop_the_packing_early(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BLOCK_ROWS", 2)
    with h5py.File(catalog.root / "batch_train_0.h5", "a") as file:
        file["sample_0_0/cbed_stack"][:] = np.nan
    with pytest.raises(DataError, match="1 of 32 samples"):
        build(catalog, tmp_path, max_bad_fraction=0.01)
    folder = next((tmp_path / "cache" / "packed").iterdir())
    assert len((folder / packing.JOURNAL_FILE).read_text().splitlines()) == 2  # the cut, and one block


def test_packing_goes_on_after_a_stop(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_BLOCK_ROWS", 4)
    true_pack, packed = packing._pack_block, []

    def stops(catalog: Catalog, transform: Transform, patterns: object, block: packing._Block) -> packing.BadRows:
        if len(packed) == 3:
            raise KeyboardInterrupt
        packed.append(block.rows.tolist())
        return true_pack(catalog, transform, patterns, block)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_pack_block", stops)
    with pytest.raises(KeyboardInterrupt):
        build(catalog, tmp_path)
    folder = next((tmp_path / "cache" / "packed").iterdir())
    with (folder / packing.JOURNAL_FILE).open("a") as journal:
        journal.write('[4, [[1, "half a li')  # what a kill leaves
    done, packed = packed, []

    def counts(catalog: Catalog, transform: Transform, patterns: object, block: packing._Block) -> packing.BadRows:
        packed.append(block.rows.tolist())
        return true_pack(catalog, transform, patterns, block)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_pack_block", counts)
    store = build(catalog, tmp_path)
    assert len(done) == 3
    assert len(packed) == 5
    np.testing.assert_array_equal(store.read(np.arange(32)), expected(catalog, np.arange(32)))
    assert {path.name for path in folder.iterdir()} - {"lock"} == {packing.PATTERNS_FILE, packing.STORE_FILE}


def test_the_disk_is_not_asked_to_sync_at_every_block(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BLOCK_ROWS", 1)
    true_sync, syncs = os.fsync, []
    monkeypatch.setattr(packing.os, "fsync", lambda file: (syncs.append(file), true_sync(file)))
    monkeypatch.setattr(packing, "_SYNC_SECONDS", 1e9)
    monkeypatch.setattr(packing, "_SYNC_BYTES", 10 * 3 * 8 * 8 * 2)
    build(catalog, tmp_path)
    assert len(syncs) == 4  # 32 blocks of one row each, ten at a time


def test_bad_samples_below_the_limit_cost_no_copy_of_the_catalog(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_BLOCK_ROWS", 1)
    with h5py.File(catalog.root / "batch_train_0.h5", "a") as file:
        file["sample_0_0/cbed_stack"][:] = np.nan
    true_take, copies = Catalog.take, []
    monkeypatch.setattr(Catalog, "take", lambda self, rows: (copies.append(len(rows)), true_take(self, rows))[1])
    build(catalog, tmp_path, max_bad_fraction=0.5)
    assert copies == [31]  # the store's own


PACK = """
import sys, time
from pathlib import Path
from sgexp.data import packing
from sgexp.data.catalog import build_catalog
from sgexp.data.packed import PackedStore
from sgexp.data.transforms import Transform
root, slow, stays = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
packing._BLOCK_ROWS, packing._SYNC_SECONDS = 2, 0.0
pack_block = packing._pack_block
def slowly(*arguments):
    global stays
    time.sleep(slow if stays else 600)  # to be killed there
    stays -= 1
    print("block", flush=True)
    return pack_block(*arguments)
packing._pack_block = slowly
catalog = build_catalog(root / "data", root / "cache", progress=False)
PackedStore.build(catalog, Transform("log", 0.25, 8, True), root / "cache", progress=False)
"""


@pytest.mark.slow
def test_a_kill_and_two_jobs_at_once_do_no_harm(catalog: Catalog, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PACK, str(tmp_path)]
    first = subprocess.Popen([*command, "0.2", "4"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    for _ in range(4):
        first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    jobs = [subprocess.Popen([*command, "0.1", "-1"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [job.communicate()[0].splitlines().count("block") for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert 0 in counts  # the second waited and found the store
    assert 12 <= sum(counts) <= 13  # of 16 blocks, three or four were done before the kill
    np.testing.assert_array_equal(build(catalog, tmp_path).read(np.arange(32)), expected(catalog, np.arange(32)))


def test_a_full_disk_is_told_before_the_work(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 2**20})()
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"need 0 MB in .*packed.*where 1 MB are free.*data_dir"):
        build(catalog, tmp_path)


def test_a_file_that_cannot_grow_is_told_too(catalog: Catalog, tmp_path: Path) -> None:
    """The system refuses the length itself (as a quota does), whatever the free space seems to be."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n" + PACK.replace(
        "PackedStore.build(", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nPackedStore.build("
    )
    done = subprocess.run([sys.executable, "-c", limited, str(tmp_path), "0", "-1"], capture_output=True, text=True)
    assert "DataError: The packed patterns need" in done.stderr, done.stderr


def test_patterns_that_are_too_small_are_refused_at_once(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"16 x 16 pixels .* enlarged to 32"):
        PackedStore.build(catalog, Transform("log", 0.25, 32, True), tmp_path / "cache", progress=False)


def test_the_store_says_in_json_what_it_is(catalog: Catalog, tmp_path: Path) -> None:
    store = build(catalog, tmp_path)
    facts = json.loads((store.folder / packing.STORE_FILE).read_text())
    assert facts["schema_version"] == packing.STORE_VERSION
    assert facts["fingerprint"] == catalog.fingerprint
    assert facts["bytes"] == os.path.getsize(store.folder / packing.PATTERNS_FILE)
    assert np.load(store.folder / packing.PATTERNS_FILE, mmap_mode="r").shape == (32, 3, 8, 8)
