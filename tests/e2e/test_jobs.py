"""One job and many: what is run, what is left behind, and how a failure or Ctrl-C ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..commands import TINY, result, runs, wait_for


def start(*arguments, cwd):
    """Start the command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "sgexp", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def command(*arguments, cwd):
    """Run the command to its end and return exit code, output and errors."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=1200)
    return process.returncode, out, err


def test_a_single_job_leaves_nothing_of_hydras_behind(tiny_run):
    folder, _ = tiny_run
    cwd = folder.parents[2]
    assert [path.name for path in cwd.iterdir()] == ["outputs"]
    assert [path.name for path in (cwd / "outputs").iterdir()] == ["train"]
    assert [path.name for path in (cwd / "outputs" / "train").iterdir()] == [folder.name]
    assert not [path for path in cwd.rglob("*") if path.name == ".hydra" or path.suffix == ".log"]


@pytest.mark.slow
def test_a_sweep_runs_every_job_and_leaves_its_record(tmp_path):
    code, out, err = command("-m", *TINY, "trainer.epochs=1", "seed=1,2", cwd=tmp_path)
    assert code == 0, err
    assert "job 1 of 2 finished" in out and "job 2 of 2 finished" in out
    (record,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"sweeps", "train"}
    assert {path.name for path in record.iterdir()} == {"manifest.json", "sweep.lock", "logs"}
    assert all("run folder" in log.read_text() for log in (record / "logs").iterdir())
    assert len(runs(tmp_path)) == 2 and all(result(folder)["status"] == "finished" for folder in runs(tmp_path))


def test_a_job_that_fails_does_not_stop_the_others_and_the_sweep_says_so(tmp_path):
    arguments = ("-m", "dataset=smc19", "dataset.root=nowhere,nothing", "size=tiny")
    code, out, err = command(*arguments, cwd=tmp_path)
    assert code == 1
    assert "Traceback" not in out + err
    assert "job 1 of 2 failed" in out and "job 2 of 2 failed" in out
    assert "nowhere" in out and "nothing" in out and "0 of 2 jobs are finished" in err


def test_data_that_are_not_there_are_told_in_one_sentence(tmp_path):
    code, _, err = command("dataset=smc19", "dataset.root=nowhere", cwd=tmp_path)
    assert code == 1
    assert "nowhere" in err and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1, 4, 10])
def test_ctrl_c_ends_with_130_and_a_sentence(seconds, tmp_path):
    process = start("size=small", "trainer.epochs=100000", f"data_dir={tmp_path / 'data'}", cwd=tmp_path)
    maps = Path(f"/proc/{process.pid}/maps")  # what it has loaded: YAML's reader, where it composes, not before
    wait_for(lambda: "/_yaml." in maps.read_text(), process)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process of the command
    _, err = process.communicate(timeout=300)
    # Python ends itself by SIGINT where Ctrl-C came inside exec(), as in making a dataclass; to a shell both are 130.
    assert process.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err, err
    assert err.strip().splitlines()[-1].startswith("sgexp: ")
