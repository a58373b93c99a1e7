from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sgexp.data import dataset as datasets
from sgexp.data.dataset import SMC19, Crystals
from sgexp.errors import DataError

from .makers import write_samples


def crystals(root: Path, **other: object) -> Crystals:
    settings = {"materials": 8, "cifs": None, "seed": 1, "max_bad_fraction": 0.0} | other
    return Crystals(str(root), **settings)  # type: ignore[arg-type]


class Counted:
    """Generates one small file and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        write_samples(folder / "batch_train_0.h5", 8, pixels=8)


def test_patterns_are_made_on_first_use_only(tmp_path: Path) -> None:
    generate = Counted()
    dataset = crystals(tmp_path)
    assert not dataset.is_prepared({"grid": 64})
    folder = dataset.prepare(generate, {"grid": 64})
    assert crystals(tmp_path).prepare(generate, {"grid": 64}) == folder
    assert dataset.is_prepared({"grid": 64})
    assert generate.calls == 1
    assert len(dataset.catalog(tmp_path / "cache", progress=False)) == 8


def test_other_settings_have_their_own_folder(tmp_path: Path) -> None:
    generate = Counted()
    folders = {
        crystals(tmp_path).prepare(generate, {"grid": 64}),
        crystals(tmp_path).prepare(generate, {"grid": 128}),
        crystals(tmp_path, seed=2).prepare(generate, {"grid": 64}),
        crystals(tmp_path, materials=9).prepare(generate, {"grid": 64}),
    }
    assert len(folders) == generate.calls == 4


def test_what_was_stopped_or_damaged_is_generated_again(tmp_path: Path) -> None:
    def stops(folder: Path) -> None:
        raise KeyboardInterrupt

    generate = Counted()
    with pytest.raises(KeyboardInterrupt):
        crystals(tmp_path).prepare(stops, {})
    folder = crystals(tmp_path).prepare(generate, {})
    (folder / "batch_train_0.h5").write_bytes(b"cut")
    crystals(tmp_path).prepare(generate, {})
    (folder / "batch_train_0.h5").unlink()
    crystals(tmp_path).prepare(generate, {})
    assert generate.calls == 3


def test_a_file_that_was_cut_is_gone_before_its_folder_is_filled_again(tmp_path: Path) -> None:
    """What generates goes on where it was, so a damaged file that it finds would be taken for a finished one."""
    sizes: list[int] = []

    def goes_on(folder: Path) -> None:
        for n in range(2):
            if not (folder / f"batch_train_{n}.h5").exists():
                write_samples(folder / f"batch_train_{n}.h5", 8, start=8 * n, pixels=8)
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.h5")))

    folder = crystals(tmp_path).prepare(goes_on, {})
    os.truncate(folder / "batch_train_1.h5", 3000)
    assert not crystals(tmp_path).is_prepared({})
    crystals(tmp_path).prepare(goes_on, {})
    assert len(sizes) == 2 and sizes[0] == sizes[1]


@pytest.mark.parametrize("cifs", [None, "cifs"])
def test_other_versions_of_the_crystals_are_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifs: str | None
) -> None:
    before = crystals(tmp_path, cifs=cifs).folder({})
    monkeypatch.setattr(datasets, "POPULATION_VERSION", datasets.POPULATION_VERSION + 1)
    assert crystals(tmp_path, cifs=cifs).folder({}) != before


def test_two_jobs_do_not_both_simulate(tmp_path: Path) -> None:
    generate = Counted()
    jobs = [threading.Thread(target=lambda: crystals(tmp_path).prepare(generate, {})) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert generate.calls == 1


def test_changed_cif_files_are_other_data(tmp_path: Path) -> None:
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    (cifs / "a.cif").write_text("data_a")
    before = crystals(tmp_path, cifs=str(cifs)).folder({})
    (cifs / "b.CIF").write_text("data_b")
    assert crystals(tmp_path, cifs=str(cifs)).folder({}) != before


def test_smc19_is_read_where_it_lies(tmp_path: Path) -> None:
    write_samples(tmp_path / "batch_train_0.h5", 4, ours=False)
    dataset = SMC19(str(tmp_path), max_bad_fraction=0.0)
    assert dataset.prepare() == tmp_path
    assert dataset.catalog(tmp_path / "cache", progress=False).family_is_proxy
    with pytest.raises(DataError, match="no folder"):
        SMC19(str(tmp_path / "none"), 0.0).prepare()
