"""What a sweep remembers, and what it believes of what it finds."""

import json
import os
import socket

import pytest

from sgexp.errors import ConfigError
from sgexp.sweeps.display import announce, tell_jobs
from sgexp.sweeps.manifest import Job, Sweep, sweep_id


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a sweep of trainings with the given keys."""

    def sweep(*keys):
        jobs = [Job(n, ["size=tiny", f"seed={n}"], key, tmp_path / "train", 3) for n, key in enumerate(keys, start=1)]
        return Sweep(tmp_path / "sweeps" / "s", jobs, ["-m", "seed=1,2"])

    return sweep


def leave_run(parent, name, sweep, **record):
    folder = parent / name
    folder.mkdir(parents=True)
    facts = {"schema_version": 1, "status": "finished", "sweep": sweep, **record}
    (folder / "result.json").write_text(json.dumps(facts))
    return folder


ONE, TWO, THREE = "0000000a", "0000000b", "0000000c"


def test_a_sweep_is_named_after_its_jobs_in_whatever_order(make):
    assert make(ONE, TWO).id == sweep_id(list(reversed(make(ONE, TWO).jobs)))
    assert make(ONE, TWO).id != make(ONE).id


def test_jobs_are_told_apart_by_what_not_all_have(make):
    assert [job.label for job in make(ONE, TWO).jobs] == ["seed=1", "seed=2"]
    assert make(ONE).jobs[0].label == "size=tiny seed=1"


def test_what_is_finished_is_not_run_again_whoever_ran_it(make, tmp_path, capsys):
    sweep = make(ONE, TWO, THREE)
    mine = leave_run(tmp_path / "train", f"x-{ONE}", sweep.id)
    leave_run(tmp_path / "train", f"y-{ONE}", "another")
    other = leave_run(tmp_path / "train", f"x-{TWO}", "another")
    leave_run(tmp_path / "train", f"x-{THREE}", "another", status="interrupted")
    chosen = sweep.plan()
    assert [(job.number, job.state, job.folder) for job in chosen] == [(3, "waiting", None)]
    assert [(job.state, job.folder) for job in sweep.jobs[:2]] == [("finished", mine), ("finished", other)]
    announce(sweep, chosen)
    assert "2 finished before, 1 of them outside this sweep, and are not run again" in capsys.readouterr().out
    assert [job.number for job in make(ONE, TWO, THREE).plan(fresh=True)] == [1, 2, 3]


def test_a_run_without_an_end_goes_on_in_its_folder(make, tmp_path):
    sweep = make(ONE)
    dead = {"status": "running", "host": socket.gethostname(), "pid": 2**22 + 1}
    folder = leave_run(tmp_path / "train", f"it's, so-{ONE}", sweep.id, **dead)
    (job,) = sweep.plan()
    assert job.state == "interrupted"
    assert job.asked == ["resume='" + str(folder).replace("'", "\\'") + "'"]


def test_a_run_that_lives_is_left_alone(make, tmp_path):
    sweep = make(ONE)
    leave_run(tmp_path / "train", f"x-{ONE}", sweep.id, status="running", host=socket.gethostname(), pid=os.getpid())
    assert sweep.plan() == []
    assert sweep.jobs[0].state == "elsewhere" and "being run by another process" in sweep.sentence()


def test_failures_are_repeated_only_when_asked(make, tmp_path):
    sweep = make(ONE, TWO)
    leave_run(tmp_path / "train", f"x-{ONE}", sweep.id, status="failed", error="ValueError: no")
    sweep.plan()
    with sweep.held():
        sweep.close(sweep.jobs[1], "failed", "before it made a folder")
    again = make(ONE, TWO)
    assert again.plan() == []
    assert [job.reason for job in again.jobs] == ["ValueError: no", "before it made a folder"]
    assert "jobs 1, 2 failed" in again.sentence()
    assert [job.number for job in make(ONE, TWO).plan(retry_failed=True)] == [1, 2]


def test_a_repeated_failure_that_finished_is_finished(make, tmp_path):
    sweep = make(ONE)
    leave_run(tmp_path / "train", f"a-{ONE}", sweep.id, status="failed")
    done = leave_run(tmp_path / "train", f"b-{ONE}-2", sweep.id)
    assert sweep.plan() == [] and sweep.jobs[0].folder == done


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"jobs": 3}',
        '{"jobs": [{}]}',
        '{"jobs": [{"key": "0000000a", "state": 7, "log": 5, "reason": ["\\u001b[2J"]}]}',
        '{"jobs": [["key"]]}',
        "\ufffe",
    ],
)
def test_no_manifest_of_a_stranger_does_harm(text, make, capsys):
    sweep = make(ONE)
    with sweep.held():
        sweep.path.write_text(text)
        announce(sweep, sweep.plan())
        sweep.write()
    assert sweep.jobs[0].state == "waiting"
    assert json.loads(sweep.path.read_text())["jobs"][0]["key"] == ONE


@pytest.mark.parametrize(
    "record",
    [
        {"status": 3},
        {"status": "running", "host": [], "heartbeat": "soon"},
        {"status": "running", "host": socket.gethostname(), "pid": "1e400"},
        {"status": "failed", "error": {"a": "\x1b[2J[/red]"}},
    ],
)
def test_no_run_folder_of_a_stranger_does_harm(record, make, tmp_path, capsys):
    sweep = make(ONE)
    leave_run(tmp_path / "train", f"x-{ONE}", sweep.id, **record)
    (tmp_path / "train" / f"file-{ONE}").write_text("no folder")
    announce(sweep, sweep.plan())
    tell_jobs(sweep, [])
    assert "\x1b[2J" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told(make, tmp_path):
    (tmp_path / "sweeps").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be recorded there"), make(ONE).held():
        pass
