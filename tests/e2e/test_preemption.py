"""A cluster asks a run to stop: it keeps what it has, says how to go on, and goes on as if nothing had been."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial

import psutil
import pytest
import torch

from ..commands import command, end, only_run, result, start, wait_for
from ..wandb_record import segments
from .test_resume import history

PREEMPTED = 75
# 200 steps an epoch: seconds, and no checkpoint before the first of them ends.
LONG = (
    *("size=tiny", "trainer.epochs=2", "trainer.batch_size=2", "trainer.epoch_draws=400", "trainer.workers=1"),
    *("callbacks.progress=false", "evaluation.baselines=[]", "logger=wandb"),
)


@pytest.mark.slow
def test_a_request_to_stop_is_a_checkpoint_at_the_next_batch_and_the_run_goes_on(tmp_path):
    alone, cwd = tmp_path / "alone", tmp_path / "preempted"
    ended = command(*LONG, cwd=alone)
    assert ended.code == 0, ended.err

    for number in (signal.SIGTERM, signal.SIGUSR1):
        began, before = time.time(), step_of(cwd)
        process = start(*LONG, "resume=auto", cwd=cwd)
        wait_for(partial(training, cwd, process.pid, began), process)
        leader = psutil.Process(process.pid)
        leader.suspend()  # to find all processes takes a while, and an epoch does not
        for told in (*leader.children(recursive=True), leader):  # a cluster tells all processes of a job
            with suppress(psutil.NoSuchProcess):  # a child's child, which ended with it
                told.send_signal(number)
        leader.resume()
        ended = end(process)
        folder = only_run(cwd)
        assert ended.code == PREEMPTED, ended.err
        how = f"python -m sgexp resume={folder.relative_to(cwd)}"
        assert ended.sentence == f"sgexp: preempted ({number.name}); go on with: {how}"
        assert result(folder)["status"] == "interrupted" and "requeued" not in result(folder)
        assert before < step_of(cwd) < 200

    again = command(*LONG, "resume=auto", cwd=cwd)
    assert again.code == 0, again.err
    folder, other = only_run(cwd), only_run(alone)
    assert history(folder) == history(other)
    assert result(folder)["metrics"] == result(other)["metrics"]
    found = [segment for segment in segments(folder) if segment.records]  # SIGTERM ends wandb's service at once
    assert {segment.run.run_id for segment in found} == {found[0].run.run_id}
    assert [segment.exit_code for segment in found] == [PREEMPTED, PREEMPTED, 0]


SCONTROL = f"""#!{sys.executable}
# Ends the job as Slurm does when it is to start again: at once, while the one who asked still lives.
import json, os, pathlib, psutil, sys
training = psutil.Process(os.getppid())
others = [child for child in training.children(recursive=True) if child.pid != os.getpid()]
def lives(child):
    try:  # of one that has ended, but was not waited for, nothing can be asked
        return child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline())
    except psutil.Error:
        return False
others = [child for child in others if lives(child)]
(path,) = pathlib.Path().glob("outputs/train/*/result.json")
print(*sys.argv[1:], file=open("asked", "a"))
seen = {{"others": [child.name() for child in others], "status": json.loads(path.read_text())["status"]}}
pathlib.Path("seen.json").write_text(json.dumps(seen))
for child in others:
    child.kill()
"""


@pytest.mark.slow
def test_all_is_done_when_slurm_is_asked_to_start_the_job_again(tmp_path):
    """Slurm then ends the job at once: what were left to do, such as an exit code that W&B is to hear, were lost."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(SCONTROL)
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "41", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    began = time.time()
    process = start(*LONG, cwd=tmp_path, env=job)
    wait_for(partial(training, tmp_path, process.pid, began), process)
    for _ in range(2):
        os.kill(process.pid, signal.SIGUSR1)
    ended = end(process)
    assert (tmp_path / "asked").read_text() == "requeue 41\n"
    assert ended.code == PREEMPTED and "preempted (SIGUSR1), job requeued; go on with" in ended.sentence
    assert json.loads((tmp_path / "seen.json").read_text()) == {"others": [], "status": "interrupted"}
    folder = only_run(tmp_path)
    assert result(folder)["requeued"] == ["41", "0"] and 0 < step_of(tmp_path) < 200
    assert [segment.exit_code for segment in segments(folder)] == [PREEMPTED]


def step_of(cwd):
    """Return the optimizer step of the last checkpoint; 0 without one."""
    paths = list(cwd.glob("outputs/train/*/checkpoints/last.ckpt"))
    return torch.load(paths[0], weights_only=True)["global_step"] if paths else 0


def training(cwd, pid, began):
    """Say whether the command of that time is training: it writes the history's head, once it has read a checkpoint."""
    for path in cwd.glob("outputs/train/*/metrics.csv"):
        return result(path.parent)["pid"] == pid and path.stat().st_mtime > began
    return False
