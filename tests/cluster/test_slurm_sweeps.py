"""Sweeps on a real Slurm: as an array of jobs, by submitit, and inside one job."""

import json
import os
import shlex
import signal
import sys

import pytest

from ..commands import end, result, runs, start
from .queue import details, slurm_says, wait_until, wait_until_empty, warned_and_requeued

TINY = (
    *("size=tiny", "trainer.accelerator=cpu", "logger=none", "evaluation.baselines=[]", "callbacks.progress=false"),
    "trainer.batch_size=2",
)


@pytest.fixture
def choices(tmp_path):
    """Return the option for a folder of experiments: short ones, a long one, and one whose data are not there."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    head = "# @package _global_\n# An experiment\n\n"
    for name, epochs, seed in (("one", 1, 1), ("two", 1, 2), ("long", 500, 3)):
        text = f"{head}# Its name\nname: {name}\n# Its length\ntrainer:\n  # In epochs\n  epochs: {epochs}\n"
        (folder / f"{name}.yaml").write_text(f"{text}# Its seed\nseed: {seed}\n")
    (folder / "broken.yaml").write_text(
        f"{head}defaults:\n  - override /dataset: smc19\n# Where\ndataset:\n  # Nowhere\n  root: nowhere\n"
    )
    return ("--config-dir", str(tmp_path / "conf"))


def jobs(cwd):
    """Return what the sweep's record says of each job."""
    (path,) = cwd.glob("outputs/sweeps/*/manifest.json")
    return {job["overrides"][-1].partition("=")[2]: job for job in json.loads(path.read_text())["jobs"]}


@pytest.mark.slow
def test_an_array_of_jobs_tells_of_each_how_it_ended_and_shares_no_folder(slurm, choices, tmp_path):
    words = ("-m", *choices, *TINY, "hydra/launcher=submitit_slurm", "experiment=broken,long,one,two")
    process = start(*words, cwd=tmp_path)

    def checkpoint():
        assert process.poll() is None, process.communicate()
        return [f for f in runs(tmp_path) if "long" in f.name and (f / "checkpoints" / "last.ckpt").exists()]

    (long,) = wait_until(checkpoint, "a checkpoint")
    os.kill(result(long)["pid"], signal.SIGKILL)  # without a word, as when memory runs out
    ended = end(process)
    assert ended.code == 1, ended.out
    assert "2 of 4 jobs are finished; job 1 failed" in ended.err and "job 2 interrupted" in ended.err
    found = jobs(tmp_path)
    assert {name: job["state"] for name, job in found.items()} == {
        "broken": "failed",
        "long": "interrupted",
        "one": "finished",
        "two": "finished",
    }
    assert "no folder nowhere" in found["broken"]["reason"]
    assert (
        len({result(folder)["slurm"][0] for folder in runs(tmp_path)}) == 4 == len(runs(tmp_path))
    )  # jobs of one array


@pytest.mark.slow
def test_a_job_of_an_array_that_slurm_warns_is_requeued_once_and_the_sweep_waits_for_it(slurm, tmp_path):
    words = [*TINY, "hydra/launcher=submitit_slurm", "trainer.epoch_draws=200", "trainer.epochs=2", "seed=1,2"]
    process = start("-m", *words, cwd=tmp_path)

    def begun():
        assert process.poll() is None, process.communicate()
        return runs(tmp_path)

    with warned_and_requeued(begun) as (warned, job):  # by the signal that submitit has ordered
        assert result(warned)["status"] == "interrupted" and result(warned)["requeued"] == [job, "0"]
    ended = end(process)
    assert ended.code == 0, ended.err
    assert details(job)["Restarts"] == "1" and result(warned)["slurm"] == [job, "1"]
    assert len(runs(tmp_path)) == 2
    assert [result(folder)["status"] for folder in runs(tmp_path)] == ["finished", "finished"]
    assert {job["state"] for job in jobs(tmp_path).values()} == {"finished"}


@pytest.mark.slow
def test_a_sweep_inside_one_job_is_requeued_once_and_goes_on(slurm, choices, tmp_path):
    words = ["-m", *choices, *TINY, "trainer.epoch_draws=200", "seed=1,2", "trainer.epochs=2"]
    line = shlex.join(["srun", "--ntasks=1", sys.executable, "-m", "sgexp", *words])
    log = tmp_path / "log"
    options = ["--requeue", "--open-mode=append", f"--output={log}", f"--chdir={tmp_path}"]
    slurm_says("sbatch", *options, "--wrap", line)

    with warned_and_requeued(lambda: runs(tmp_path)) as (folder, job):
        assert runs(tmp_path) == [folder]
        assert result(folder)["status"] == "interrupted" and "requeued" not in result(folder)
        assert (folder / "checkpoints" / "last.ckpt").exists()
    wait_until_empty(480)
    said = log.read_text()
    assert details(job)["JobState"] == "COMPLETED" and details(job)["Restarts"] == "1", said
    assert "sgexp: preempted (SIGUSR1), job requeued: 0 of 2 jobs are finished; go on with: python -m sgexp -m" in said
    assert said.count("job requeued") == 1 and "1 interrupted before, goes on: 1" in said
    assert len(runs(tmp_path)) == 2 and folder in runs(tmp_path)
    assert [result(folder)["status"] for folder in runs(tmp_path)] == ["finished", "finished"]
