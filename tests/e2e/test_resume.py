"""An interrupted run says so, says how to go on, and then ends where it would have ended undisturbed."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import yaml

from sgexp.runs import ADDED_LATER

from ..commands import TINY, caught, command, end, only_run, result, runs, start, wait_for
from .test_run_folder import FILES, arrays

LONG = ("size=tiny", "trainer.epochs=12", "callbacks.progress=false", "logger=none")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the folder of the run that the others should end like."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    ended = command(*LONG, cwd=cwd)
    assert ended.code == 0, ended.err
    return only_run(cwd)


def history(folder):
    """Return metrics.csv without the time that it took."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def rows_written(cwd):
    """Return how many epochs are in the one run's history so far."""
    paths = list((cwd / "outputs" / "train").glob("*/metrics.csv"))
    return len(paths[0].read_text().splitlines()) - 1 if paths else 0


def disturbed(signal_number, happened, folder, *arguments):
    """Start the long run, send it a signal as soon as ``happened(cwd)``; return its folder ``cwd`` and how it ended."""

    def disturb(cwd):
        process = start(*LONG, *arguments, cwd=cwd)
        wait_for(lambda: happened(cwd), process)
        os.killpg(process.pid, signal_number)  # a terminal sends Ctrl-C to every process of the command
        ended = end(process)
        return None if rows_written(cwd) == 12 else (cwd, ended)

    return caught(disturb, folder)


def ends_like(folder, other, *more):
    """Assert that two runs left the same figures, predictions and history, and no file but the usual and ``more``."""
    assert result(folder)["status"] == "finished"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {*FILES, *more}
    assert history(folder) == history(other)
    for name, values in arrays(folder / "predictions_test.npz").items():
        assert np.array_equal(values, arrays(other / "predictions_test.npz")[name]), name
    for key in ("metrics", "baselines", "data_fingerprint", "split", "config_hash"):
        assert result(folder)[key] == result(other)[key], key


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(number, undisturbed, tmp_path):
    cwd, ended = disturbed(number, lambda cwd: rows_written(cwd) >= 3, tmp_path)
    folder = only_run(cwd)
    if number == signal.SIGINT:
        assert ended.code == 130
        assert f"python -m sgexp resume={folder.relative_to(cwd)}" in ended.sentence
        assert result(folder)["status"] == "interrupted"
    assert 3 <= rows_written(cwd) < 12
    again = command(f"resume={folder}", cwd=cwd)
    assert again.code == 0, again.err
    assert only_run(cwd) == folder
    ends_like(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_simulation_that_was_stopped_goes_on(number, undisturbed, tmp_path):
    cwd, ended = disturbed(number, lambda cwd: any(cwd.glob("data/crystals/*/*.part")), tmp_path, "data_dir=data")
    folder = only_run(cwd)
    if number == signal.SIGINT:
        assert ended.code == 130 and f"resume={folder.relative_to(cwd)}" in ended.sentence
        assert result(folder)["status"] == "interrupted"
    again = command(f"resume={folder}", cwd=cwd)
    assert again.code == 0, again.err
    ends_like(folder, undisturbed)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Return the folder of a run that was stopped in training, when it had two checkpoints to go on from."""
    two = "outputs/train/*/checkpoints/previous.ckpt"
    cwd, ended = disturbed(signal.SIGINT, lambda cwd: any(cwd.glob(two)), tmp_path_factory.mktemp("stopped"))
    assert ended.code == 130 and result(only_run(cwd))["status"] == "interrupted", ended.err
    return only_run(cwd)


def copy_of(folder, cwd):
    """Return a copy of a run folder that may be harmed."""
    return shutil.copytree(folder, cwd / "outputs" / "train" / folder.name)


def test_only_an_interrupted_run_goes_on(tiny_run, tmp_path):
    folder, _ = tiny_run
    before = (folder / "result.json").read_bytes()
    ended = command(f"resume={folder}", cwd=tmp_path)
    assert ended.code == 2
    assert "finished" in ended.sentence
    assert (folder / "result.json").read_bytes() == before


def test_other_choices_beside_resume_are_refused(stopped, tmp_path):
    ended = command(f"resume={stopped}", "trainer.epochs=30", cwd=tmp_path)
    assert ended.code == 2
    assert "trainer.epochs=30" in ended.sentence
    assert result(stopped)["status"] == "interrupted"


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_what_is_no_run_folder_is_refused(folder, tmp_path):
    ended = command(f"resume={folder}", cwd=tmp_path)
    assert ended.code == 2
    assert f"resume={folder}" in ended.sentence


def test_a_run_does_not_go_on_with_other_data(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    record = result(folder) | {"data_fingerprint": "0" * 32}
    (folder / "result.json").write_text(json.dumps(record))
    ended = command(f"resume={folder}", cwd=tmp_path)
    assert ended.code == 2
    assert "data" in ended.sentence and "new run" in ended.sentence
    assert result(folder)["status"] == "failed"


def test_a_torn_checkpoint_is_named_and_the_run_goes_on_from_the_one_before_it(stopped, undisturbed, tmp_path):
    folder = copy_of(stopped, tmp_path)
    path = folder / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:100_000])
    again = command(f"resume={folder}", cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"{path} cannot be read" in again.words and "going on from previous.ckpt" in again.words
    assert path.with_name("last.ckpt.damaged").stat().st_size == 100_000
    path.with_name("last.ckpt.damaged").unlink()
    ends_like(folder, undisturbed)


def test_a_run_without_a_whole_checkpoint_says_so_in_one_sentence(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    for path in (folder / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")):
        path.write_bytes(path.read_bytes()[:100_000])
    ended = command(f"resume={folder}", cwd=tmp_path)
    assert ended.code == 1
    assert "last.ckpt" in ended.sentence and "previous.ckpt" in ended.sentence


def test_auto_goes_on_with_the_newest_interrupted_run_of_the_experiment(stopped, undisturbed, tmp_path):
    older = copy_of(stopped, tmp_path)
    folder = older.with_name(older.name.replace("2", "3", 1))  # a later year
    shutil.copytree(older, folder)
    broken = older.with_name(older.name.replace("2", "4", 1))
    broken.mkdir()
    (broken / "result.json").write_text("{")
    again = command(*LONG, "resume=auto", "trainer.workers=1", cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"resume=auto goes on with {folder.relative_to(tmp_path)}" in again.words
    ends_like(folder, undisturbed)
    assert result(older)["status"] == "interrupted" and len(runs(tmp_path)) == 3
    assert "workers: 1" in (folder / "config.yaml").read_text()


@pytest.mark.slow
def test_a_run_older_than_some_groups_goes_on_and_is_judged_and_reported_under_its_hash(stopped, undisturbed, tmp_path):
    folder = copy_of(stopped, tmp_path)
    old = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({key: old[key] for key in old.keys() - ADDED_LATER.keys()}))
    record = result(folder)
    record["config"] = {key: value for key, value in record["config"].items() if key not in ADDED_LATER}
    (folder / "result.json").write_text(json.dumps(record))
    again = command(*LONG, "resume=auto", cwd=tmp_path)
    assert again.code == 0, again.err
    assert only_run(tmp_path) == folder
    ends_like(folder, undisturbed)

    (folder / "config.yaml").write_text(yaml.safe_dump({key: old[key] for key in old.keys() - ADDED_LATER.keys()}))
    judged = command("task=evaluate", f"run={folder}", cwd=tmp_path)
    assert judged.code == 0, judged.err
    (evaluation,) = (tmp_path / "outputs" / "evaluate").iterdir()
    assert result(evaluation)["metrics"] == result(folder)["metrics"]
    reported = command("task=report", cwd=tmp_path)
    assert reported.code == 0, reported.err
    assert record["config_hash"] in (tmp_path / "outputs" / "report" / "index.html").read_text()


def test_auto_begins_a_new_run_where_there_is_none_to_go_on_with(stopped, tiny_run, tmp_path):
    copy_of(stopped, tmp_path)  # another number of epochs
    shutil.copytree(tiny_run[0], tmp_path / "outputs" / "train" / tiny_run[0].name)  # the same, and finished
    ended = command(*TINY, "resume=auto", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "resume=auto finds no interrupted run of this experiment" in ended.words
    assert [result(folder)["status"] for folder in runs(tmp_path)].count("finished") == 2
    assert result(runs(tmp_path)[-1])["choices"]["model"] == "small"


def test_auto_does_not_mix_data(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    (folder / "result.json").write_text(json.dumps(result(folder) | {"data_fingerprint": "0" * 32}))
    ended = command(*LONG, "resume=auto", "trainer.max_minutes=null", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "the data are no longer those that the run began with" in ended.words
    assert [result(folder)["status"] for folder in runs(tmp_path)] == ["failed", "finished"]


def test_auto_is_for_trainings(tmp_path):
    ended = command("task=report", "resume=auto", cwd=tmp_path)
    assert ended.code == 2 and "resume=auto goes on with a training" in ended.sentence


def test_the_jobs_of_a_sweep_go_on_with_runs_of_their_own(stopped, undisturbed, tmp_path):
    folder = copy_of(stopped, tmp_path)
    ended = command("-m", *LONG, "resume=auto", "seed=1", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert only_run(tmp_path) == folder
    ends_like(folder, undisturbed)
