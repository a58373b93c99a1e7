"""A cluster asks a run to stop: it keeps what it has, says how to go on, and goes on as if nothing had been."""

import os
import signal
from functools import partial

import pytest
import torch

from ..commands import command, end, only_run, result, start, wait_for
from ..wandb_record import segments
from .test_resume import history

PREEMPTED = 75
# 310 steps an epoch: seconds, and no checkpoint before the first of them ends.
LONG = (
    *("size=tiny", "trainer.epochs=2", "trainer.batch_size=2", "trainer.epoch_draws=620", "trainer.workers=1"),
    *("callbacks.progress=false", "evaluation.baselines=[]", "logger=wandb"),
)


@pytest.mark.slow
def test_a_request_to_stop_is_a_checkpoint_at_the_next_batch_and_the_run_goes_on(tmp_path):
    alone, cwd = tmp_path / "alone", tmp_path / "preempted"
    ended = command(*LONG, cwd=alone)
    assert ended.code == 0, ended.err

    for number in (signal.SIGTERM, signal.SIGUSR1):
        process = start(*LONG, "resume=auto", cwd=cwd)
        before = step_of(cwd)
        wait_for(partial(training, cwd, process.pid), process)
        os.killpg(process.pid, number)  # a cluster tells all processes of a job, the loader's workers too
        ended = end(process)
        folder = only_run(cwd)
        assert ended.code == PREEMPTED, ended.err
        how = f"python -m sgexp resume={folder.relative_to(cwd)}"
        assert ended.sentence == f"sgexp: preempted ({number.name}); go on with: {how}"
        assert result(folder)["status"] == "interrupted" and "requeued" not in result(folder)
        assert before < step_of(cwd) < 310

    again = command(*LONG, "resume=auto", cwd=cwd)
    assert again.code == 0, again.err
    folder, other = only_run(cwd), only_run(alone)
    assert history(folder) == history(other)
    assert result(folder)["metrics"] == result(other)["metrics"]
    found = segments(folder)
    assert {segment.run.run_id for segment in found} == {found[0].run.run_id}
    assert sorted(segment.exit_code for segment in found) == [0, PREEMPTED, PREEMPTED]


def step_of(cwd):
    """Return the optimizer step of the last checkpoint; 0 without one."""
    paths = list(cwd.glob("outputs/train/*/checkpoints/last.ckpt"))
    return torch.load(paths[0], weights_only=True)["global_step"] if paths else 0


def training(cwd, pid):
    """Say whether the command is training: it writes the head of the history, once it has read a checkpoint."""
    for path in cwd.glob("outputs/train/*/metrics.csv"):
        record = result(path.parent)
        return record["pid"] == pid and path.stat().st_mtime > record["heartbeat"]
    return False
