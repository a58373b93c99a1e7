"""The benchmark by the commands a person types: train, score, climb a ladder, write an archive."""

import csv
import hashlib
import json

import h5py
import mlcroissant
import pytest

from sgexp.data import cbed230

from ..commands import TINY, command, only_run, result

TRAINED = int((cbed230.material_list().part[:60] == "train").sum())
WORDS = ("dataset=cbed230", *TINY, "evaluation.resamples=100")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the beginning of the list was trained on."""
    folder = tmp_path_factory.mktemp("cbed230")
    done = command(*WORDS, cwd=folder)
    assert (done.code, done.err) == (0, "")  # without a validation part, which so few materials do not have
    return folder


def test_a_run_says_what_it_was_trained_on_and_a_beginning_is_not_the_benchmark(trained):
    found = result(only_run(trained))
    assert found["benchmark"] is None and found["split"]["name"] == "cbed230"
    assert found["split"]["train"] == TRAINED


@pytest.mark.slow
def test_a_ladder_leaves_a_curve_of_both_tests(trained):
    run = only_run(trained)
    done = command("task=ladder", f"run={run}", "task.over=dose", "task.rungs=[1e3,1e6]", cwd=trained)
    assert done.code == 0, done.err
    (folder,) = (trained / "outputs" / "ladder").iterdir()
    found = result(folder)
    assert found["status"] == "finished" and found["values"] == [1e3, 1e6] and found["left_out"] == []
    assert set(found["rungs"][0]) == {"test_material", "test_family"}
    # those of the run itself, which was tested on all of these crystals
    assert found["as_tested"]["test_family"]["top1"]["value"] == result(run)["metrics"]["test_family"]["top1"]["value"]
    rows = list(csv.DictReader((folder / "ladder.csv").open()))
    assert {row["dose"] for row in rows} == {"1000.0", "1000000.0"} and (folder / "ladder.png").stat().st_size > 5000
    refused = command("task=ladder", f"run={run}", "task.rungs=[]", cwd=trained)
    assert refused.code == 2 and "task.rungs=[] must list one value or more" in refused.sentence


@pytest.mark.slow
def test_an_archive_describes_every_file_to_people_and_machines(trained, tmp_path):
    done = command("task=export", *WORDS[:2], "task.folder=archive", "task.url=https://doi.org/10.5281/x", cwd=trained)
    assert done.code == 0, done.err
    folder = trained / "archive"
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == files - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    described = mlcroissant.Dataset(folder / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    records = list(described.records("samples"))
    rows = list(csv.DictReader((folder / "split.csv").open()))
    assert len(records) == len(rows) == 60 and len(list(described.records("classes"))) == 230
    for row in rows[::7]:
        with h5py.File(folder / row["file"]) as file:
            sample = file[row["key"]]
            assert sample["cbed_stack"].shape == (3, 32, 32)
            assert int(sample.attrs["space_group"]) == int(row["space_group"])
            assert sample.attrs["material"].decode() == row["material"]
    assert {row["part"] for row in rows} > {"train", "sealed_family", "sealed_material"}
    sheet = (folder / "DATASHEET.md").read_text()
    assert "10.5281/x" in sheet and "{{" not in sheet
    assert json.loads((folder / "recipe.json").read_text())["simulation"]["thickness"] == 100.0
    # what was written can be trained on as it is, with the same parts
    again = command("dataset=smc19", f"dataset.root={folder / 'data'}", "split=cbed230", *TINY, cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"split train {TRAINED}" in again.words
    refused = command("task=export", *WORDS[:2], "task.folder=archive", cwd=trained)
    assert refused.code == 2 and "archive is not empty" in refused.sentence
