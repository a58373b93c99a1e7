"""A training that is killed twenty times from outside ends, to the bit, as one that was left alone."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ..commands import end, only_run, result
from .test_resume import history
from .test_run_folder import arrays

COMMAND = (
    *("size=tiny", "sampler=smote", "augment=default", "model.dropout=0.1", "optimizer.schedule=one_cycle"),
    *("trainer.epochs=7", "trainer.batch_size=10", "trainer.workers=1", "callbacks.checkpoint_steps=1"),
    *("callbacks.progress=false", "logger=none", "evaluation.baselines=[]", "resume=auto"),
)
# Where each of the twenty lives ends: the second moment of that kind in it, or the first validation.
KINDS = ("batch:2", "write:2", "rename:2", "validation:1") * 5


def life(cwd, stop=""):
    """Start the command; it logs its moments, and waits at the one where it is to be killed."""
    cwd.mkdir(exist_ok=True)
    script = str(Path(__file__).with_name("logged_command.py"))
    return subprocess.Popen(
        [sys.executable, script, str(cwd / "moments.txt"), stop, *COMMAND],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "400", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def moments(cwd):
    """Return the logged moments, a list of words each; of a line that is being written nothing yet."""
    path = cwd / "moments.txt"
    whole, _, _ = (path.read_text() if path.exists() else "").rpartition("\n")
    return [line.split() for line in whole.splitlines()]


def killed(cwd, stop):
    """Let the command live up to a moment, kill it and all its workers there, and return the kind of moment."""
    process = life(cwd, stop)
    until = time.monotonic() + 480
    while not (found := moments(cwd)) or found[-1][0] != "stopped":
        assert process.poll() is None, f"ended before {stop}: {process.communicate()}"
        assert time.monotonic() < until, f"never came to {stop}: {found[-3:]}"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert end(process).code == -signal.SIGKILL
    (cwd / "moments.txt").open("a").write("killed\n")
    return found[-1][1]


def losses(cwd):
    """Return the loss of every step; a step that was taken again must have given the same one."""
    found = {}
    for kind, *words in moments(cwd):
        if kind == "batch":
            step, loss = words
            assert found.setdefault(int(step), loss) == loss, f"step {step}"
    return found


def same(one, other, place=""):
    """Assert that two checkpoints hold the same, to the bit."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), place
        for index, (mine, others) in enumerate(zip(one, other, strict=True)):
            same(mine, others, f"{place}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    else:
        assert one == other, place


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path):
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    ended = end(life(alone))
    assert ended.code == 0, ended.err

    landed = Counter(killed(disturbed, stop) for stop in KINDS)
    assert landed == {"batch": 5, "write": 5, "rename": 5, "validation": 5}
    ended = end(life(disturbed))
    assert ended.code == 0, ended.err
    assert "resume=auto goes on with" in " ".join(ended.out.split())

    one, other = only_run(alone), only_run(disturbed)
    assert losses(disturbed) == losses(alone) and len(losses(alone)) > 40
    for name in ("last.ckpt", "best.ckpt"):
        mine, others = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            same(mine[key], others[key], f"{name} {key}")
    assert history(other) == history(one)
    for name in ("predictions_validation.npz", "predictions_test.npz"):
        for key, values in arrays(one / name).items():
            assert np.array_equal(values, arrays(other / name)[key]), (name, key)
    assert result(other)["metrics"] == result(one)["metrics"]
