"""How jobs of Slurm end: asked to stop they go on later, cancelled they do not, and what is lost ends them soon."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ..commands import command, has_heard, only_run, result, runs
from ..wandb_record import segments
from .queue import details, held_in_training, slurm_says, wait_until, wait_until_empty, warned_and_requeued

SUBMIT = ("task=submit", "task.submit=true", "task.cpus=1", "task.time=00:10:00")
TRAINING = (
    *("size=tiny", "trainer.accelerator=cpu", "model.norm=group", "trainer.epochs=2", "trainer.batch_size=2"),
    *("trainer.epoch_draws=400", "evaluation.baselines=[]", "callbacks.progress=false"),
)


def submitted(*words, cwd):
    """Submit a training; return the number of its job."""
    ended = command(*SUBMIT, *TRAINING, *words, cwd=cwd)
    assert ended.code == 0, ended.err
    return re.search(r"submitted as job (\d+)", ended.words)[1]


def log(cwd):
    return "\n".join(path.read_text() for path in (cwd / "outputs").glob("submit/*.log"))


@pytest.mark.slow
def test_a_job_that_slurm_warns_is_requeued_once_and_goes_on_in_the_same_run(slurm, tmp_path):
    job = submitted("trainer=multinode", "logger=wandb", cwd=tmp_path)
    with warned_and_requeued(lambda: runs(tmp_path)) as (folder, asked):
        assert asked == job and only_run(tmp_path) == folder
        assert result(folder)["status"] == "interrupted" and result(folder)["requeued"] == [job, "0"]
        step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        assert 0 < step < 200
    wait_until_empty()

    said = log(tmp_path)
    assert only_run(tmp_path) == folder and result(folder)["status"] == "finished", said
    assert result(folder)["slurm"] == [job, "1"] and details(job)["Restarts"] == "1"
    assert details(job)["JobState"] == "COMPLETED"
    assert said.count("job requeued") == 1 and said.count("resume=auto goes on with") == 1
    assert said.count("Results on crystals") == 1 and "Traceback" not in said
    found = segments(folder)
    assert {segment.run.run_id for segment in found} == {found[0].run.run_id}
    assert sorted(segment.exit_code for segment in found) == [0, 75]


@pytest.mark.slow
def test_a_job_that_is_cancelled_keeps_what_it_has_and_does_not_come_back(slurm, tmp_path):
    job = submitted("logger=wandb", cwd=tmp_path)
    with held_in_training(lambda: runs(tmp_path)) as folder:
        slurm_says("scancel", job)  # all processes of the job hear SIGTERM, wandb's service too
        wait_until(lambda: has_heard(result(folder)["pid"]), "the signal")
    wait_until_empty()
    assert only_run(tmp_path) == folder
    assert details(job)["JobState"] == "CANCELLED" and details(job)["Restarts"] == "0"
    assert result(folder)["status"] == "interrupted" and "requeued" not in result(folder)
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert f"preempted (SIGTERM); go on with: python -m sgexp resume={folder.relative_to(tmp_path)}" in log(tmp_path)
    assert "Traceback" not in log(tmp_path) and segments(folder)[-1].exit_code == 75


@pytest.mark.slow
def test_a_node_that_is_lost_ends_the_job_with_one_message_and_it_starts_again(slurm, tmp_path):
    """Everything of the second node falls silent, as when its power fails: its daemon, Slurm's step and the process."""
    job = submitted("trainer=multinode", "logger=none", "trainer.lost_seconds=6", cwd=tmp_path)
    daemon = int((slurm / "slurmd.n2.pid").read_text())
    with held_in_training(lambda: runs(tmp_path)) as folder:
        silent = [daemon, *offspring(job, node="n2")]
        assert len(silent) >= 3
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: result(folder)["status"] == "interrupted", "the end of the run")
        wait_until(lambda: details(job)["JobState"] != "RUNNING", "the end of the job")
        wait_until(lambda: "job requeued" in log(tmp_path), "word of it")  # said when Slurm has been asked
    finally:
        for pid in silent[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.kill(daemon, signal.SIGCONT)  # the node comes back
    said = log(tmp_path)
    (line,) = [line for line in said.splitlines() if "sgexp: " in line]
    assert "process 1 of 2 on" in line and "no sign of life for 6 s" in line and "job requeued" in line
    assert f"go on with: python -m sgexp resume={folder.relative_to(tmp_path)}" in line
    assert "Traceback" not in said
    wait_until_empty()
    assert result(folder)["status"] == "finished" and details(job)["Restarts"] == "1", log(tmp_path)


def offspring(job, node):
    """Return the processes of a job on a node: Slurm's own for the step, and what it has started."""
    found, parents = [], set()
    words = (f"SLURM_JOB_ID={job}", f"SLURMD_NODENAME={node}", f"SLURM_CONF={os.environ['SLURM_CONF']}")
    asked = {word.encode() for word in words}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if asked <= {*path.read_bytes().split(b"\0")}:
                parents.add(int((path.parent / "stat").read_text().rpartition(")")[2].split()[1]))
                found.append(int(path.parent.name))
    return [*(parents - {*found}), *found]
