"""Uploading offline records, with the real client and a server on this machine."""

import json
import os
import shutil
import signal

import pytest

from sgexp.tasks import sync

from ..commands import command, end, result, start, wait_for
from ..wandb_record import segments
from .wandb_server import serving


@pytest.fixture
def runs(wandb_run, tmp_path):
    """Return a folder of runs with one finished run in it, and that run's folder."""
    folder = tmp_path / "outputs" / "train" / "one"
    shutil.copytree(wandb_run[0], folder, symlinks=True)
    return tmp_path / "outputs", folder


def test_what_is_uploaded_is_the_record_and_is_remembered(runs, tmp_path):
    outputs, folder = runs
    (segment,) = segments(folder)
    with serving() as server:
        ended = command("task=sync", cwd=tmp_path, env=server.environment)
        assert ended.code == 0, ended.err
        assert "uploaded one" in ended.words and "1/1" in ended.words
        sent = sorted((row for row in server.rows if "epoch" in row), key=lambda row: row["_step"])
        assert [row["val/loss"] for row in sent] == [row["val/loss"] for row in segment.history if "epoch" in row]
        assert server.exit_codes == [0]
        assert {name.partition("-")[0] for name in server.artifacts} >= {"config", "split", "plan", "predictions"}
        assert any(name.startswith("media/images/pictures/examples") for name in server.files)
        server.rows.clear()
        assert sync.find(outputs) == ([], [], 1)
        ended = command("task=sync", "task.folder=outputs/train/one", cwd=tmp_path, env=server.environment)
        assert ended.code == 0 and "nothing to upload" in ended.words and not server.rows


def test_an_upload_that_failed_is_not_taken_for_done(runs, tmp_path):
    outputs, _ = runs
    with serving(refuses="history") as server:
        ended = command("task=sync", cwd=tmp_path, env=server.environment)
    assert ended.code == 1
    assert "not uploaded: one (Fatal error while uploading data)" in ended.words
    assert "1 of 1 runs were not uploaded, beginning with one; the same command goes on" in ended.sentence
    assert len(sync.find(outputs)[0]) == 1


def test_a_key_that_is_refused_ends_it_before_it_begins(runs, tmp_path):
    with serving(refuses="key") as server:
        ended = command("task=sync", cwd=tmp_path, env=server.environment)
    assert ended.code == 1 and "does not take the account's key" in ended.sentence and "401" in ended.sentence


def test_without_an_account_it_says_what_to_do(runs, tmp_path):
    nobody = {"HOME": str(tmp_path / "home"), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    ended = command("task=sync", cwd=tmp_path, env=nobody)
    assert ended.code == 2 and "`wandb login`" in ended.sentence and "WANDB_API_KEY" in ended.sentence


@pytest.mark.slow  # the client asks a server that is not there for 12 s
def test_a_server_that_is_not_there_ends_it_in_a_sentence(runs, tmp_path):
    with serving() as server:
        gone = server.environment
    ended = command("task=sync", cwd=tmp_path, env=gone)
    assert ended.code == 1 and "W&B does not answer" in ended.sentence


@pytest.mark.slow
def test_ctrl_c_loses_nothing_and_the_command_goes_on(runs, tmp_path):
    outputs, folder = runs
    for name in ("two", "three"):
        shutil.copytree(folder, folder.with_name(name), symlinks=True)
    with serving(holds_after=1) as server:
        process = start("task=sync", cwd=tmp_path, env=server.environment)
        wait_for(lambda: sync.find(outputs)[2] == 1, process)
        os.killpg(process.pid, signal.SIGINT)
        server.goes_on.set()
        ended = end(process)
        assert ended.code == 130 and "the same command goes on" in ended.err
        assert 1 <= sync.find(outputs)[2] < 3
        assert command("task=sync", cwd=tmp_path, env=server.environment).code == 0
    assert sync.find(outputs) == ([], [], 3)


def test_of_several_starts_the_last_record_is_uploaded_and_empty_ones_are_left(runs):
    outputs, folder = runs
    (first,) = [segment.path for segment in segments(folder)]
    for stamp, data in (("20990101_000000", first.read_bytes()), ("20990101_000001", b":W&B\xe1\xbe\x00")):
        later = folder / "wandb" / f"offline-run-{stamp}-x" / first.name
        later.parent.mkdir()
        later.write_bytes(data)
    (found,), running, uploaded = sync.find(outputs)
    assert (found.parent.name, running, uploaded) == ("offline-run-20990101_000000-x", [], 0)


def test_a_run_that_is_still_running_is_left_for_later(runs):
    outputs, folder = runs
    record = result(folder) | {"status": "running", "pid": os.getpid(), "pid_since": None}
    (folder / "result.json").write_text(json.dumps(record))
    assert sync.find(outputs) == ([], [folder], 0)


def test_records_are_found_at_any_depth_and_not_through_links(runs, tmp_path):
    outputs, folder = runs
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(folder, tmp_path / "elsewhere" / "other", symlinks=True)
    deep = outputs / "multirun" / "train" / "two"
    shutil.copytree(folder, deep, symlinks=True)
    (outputs / "link").symlink_to(tmp_path / "elsewhere")
    (outputs / "linked").mkdir()
    (outputs / "linked" / "wandb").symlink_to(tmp_path / "elsewhere" / "other" / "wandb")
    waiting, running, uploaded = sync.find(outputs)
    assert ([record.parents[2] for record in waiting], running, uploaded) == ([deep, folder], [], 0)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    ended = command("task=sync", cwd=tmp_path)
    assert ended.code == 2 and "there is no folder outputs" in ended.sentence
