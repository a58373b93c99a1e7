"""What Slurm does to a job in the end: asked to stop it goes on later, cancelled it does not, lost it ends in a minute."""

import re

import pytest
import torch

from ..commands import command, only_run, result
from ..wandb_record import segments
from .queue import details, slurm_says, wait_until, wait_until_empty

SUBMIT = ("task=submit", "task.submit=true", "task.cpus=1", "task.time=00:10:00")
TRAINING = (
    *("size=tiny", "trainer.accelerator=cpu", "model.norm=group", "trainer.epochs=2", "trainer.batch_size=2"),
    *("trainer.epoch_draws=1000", "evaluation.baselines=[]", "callbacks.progress=false"),
)


def submitted(*words, cwd):
    """Submit a training; return the number of its job."""
    ended = command(*SUBMIT, *TRAINING, *words, cwd=cwd)
    assert ended.code == 0, ended.err
    return re.search(r"submitted as job (\d+)", ended.words)[1]


def log(cwd):
    return "\n".join(path.read_text() for path in (cwd / "outputs").glob("submit/*.log"))


def training(cwd):
    """Say whether the only run is past its first batches: the head of the history is written then."""
    for path in cwd.glob("outputs/train/*/metrics.csv"):
        record = result(path.parent)
        return record["status"] == "running" and path.stat().st_mtime > record["heartbeat"]
    return False


@pytest.mark.slow
def test_a_job_that_slurm_warns_is_requeued_once_and_goes_on_in_the_same_run(slurm, tmp_path):
    job = submitted("logger=wandb", cwd=tmp_path)
    wait_until(lambda: training(tmp_path), "a training")
    slurm_says("scancel", "--signal=USR1", job)  # what --signal=USR1@120 sends: to the processes, not to the script
    wait_until(lambda: details(job)["Restarts"] == "1", "a requeue")
    folder = only_run(tmp_path)
    assert result(folder)["status"] == "interrupted"
    assert result(folder)["requeued"] == [job, "0"]
    step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < 500
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
    job = submitted("logger=none", cwd=tmp_path)
    wait_until(lambda: training(tmp_path), "a training")
    slurm_says("scancel", job)
    wait_until_empty()
    folder = only_run(tmp_path)
    assert details(job)["JobState"] == "CANCELLED" and details(job)["Restarts"] == "0"
    assert result(folder)["status"] == "interrupted" and "requeued" not in result(folder)
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert f"preempted (SIGTERM); go on with: python -m sgexp resume={folder.relative_to(tmp_path)}" in log(tmp_path)
