import os
import signal
import time

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from sgexp.console import STOP_REQUESTS
from sgexp.errors import Preempted, ProcessLost
from sgexp.learning import trainer as trainers
from sgexp.learning.checkpoint import read_checkpoint
from sgexp.learning.preemption import StopAtBatchEnd, StopRequests
from sgexp.requeue import due, requeue, requeue_command

from .plumbing import config, make_data, weights
from .test_module import fit


class Ask(pl.Callback):
    """Sends this process a signal before a batch, or before the validation of an epoch."""

    def __init__(self, *, batch=None, validation=None, number=signal.SIGTERM, seconds=0.0):
        self.batch, self.validation, self.number, self.seconds = batch, validation, number, seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.batch == (trainer.current_epoch, batch_idx):
            signal.raise_signal(self.number)

    def on_validation_start(self, trainer, *_):
        if self.validation == trainer.current_epoch:
            signal.raise_signal(self.number)
            time.sleep(self.seconds)


def stopped(folder, ask, grace_seconds=60.0, **options):
    """Train until asked to stop; return the step of the last checkpoint."""
    requests = StopRequests(grace_seconds)
    at_end = StopAtBatchEnd(requests, folder / "checkpoints")
    with pytest.raises(KeyboardInterrupt), requests.listening():
        fit(folder, extra_callbacks=[ask, at_end], **options)
    assert requests.heard == ask.number and not requests.waits
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert all(signal.getsignal(number) == signal.SIG_DFL for number in STOP_REQUESTS)
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"]


# Three batches an epoch.
@pytest.mark.parametrize("number", STOP_REQUESTS)
@pytest.mark.parametrize(
    ("where", "step"),
    [({"batch": (1, 0)}, 4), ({"batch": (1, 1)}, 5), ({"batch": (1, 2)}, 6), ({"validation": 1}, 6)],
    ids=["first", "middle", "last", "validation"],
)
def test_a_training_stops_at_the_next_batch_and_goes_on_as_if_it_had_not(where, step, number, tmp_path):
    folder = tmp_path / "stopped"
    assert stopped(folder, Ask(**where, number=number), trainer=config(epochs=4)) == step
    resumed, module = fit(folder, trainer=config(epochs=4), resume=folder / "checkpoints" / "last.ckpt")
    _, whole = fit(tmp_path / "whole", trainer=config(epochs=4))
    assert resumed.global_step == 12 and torch.equal(weights(module), weights(whole))


def test_gradients_that_wait_for_more_batches_are_not_lost(tmp_path):
    def options():
        return {"trainer": config(epochs=3, accumulate=2), "data": make_data(batch_size=10)}  # six batches, three steps

    step = stopped(tmp_path / "a", Ask(batch=(1, 2)), **options())
    assert step == 5, "not between the two batches of a step"
    _, module = fit(tmp_path / "a", resume=tmp_path / "a" / "checkpoints" / "last.ckpt", **options())
    _, whole = fit(tmp_path / "b", **options())
    assert torch.equal(weights(module), weights(whole))


def test_a_validation_that_takes_longer_than_the_grace_period_is_broken_off(tmp_path):
    assert stopped(tmp_path, Ask(validation=1, seconds=60.0), grace_seconds=0.2) == 3


@pytest.mark.parametrize(("way", "times"), [("naive", 2), ("ours", 1)])
def test_a_job_is_requeued_once(way, times, tmp_path, monkeypatch):
    """Under Slurm Lightning by itself answers SIGUSR1 with ``scontrol requeue``: whoever does too has it done twice."""
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setenv(name, "0")
    asked = tmp_path / "asked"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >>"{asked}"\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ask = Ask(batch=(1, 1), number=signal.SIGUSR1)
    if way == "naive":
        monkeypatch.setattr(trainers, "_NoSignalHandlers", _SignalConnector)
        monkeypatch.setattr(trainers, "cluster_environment", lambda _: SLURMEnvironment())
        fit(tmp_path, extra_callbacks=[ask], trainer=config(epochs=4))
    else:
        assert stopped(tmp_path, ask, trainer=config(epochs=4)) == 5
    before = {number: signal.getsignal(number) for number in STOP_REQUESTS}
    try:
        assert requeue(requeue_command({})) is None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert asked.read_text() == "requeue 7\n" * times


SLURM = {"SLURM_JOB_ID": "41"}


@pytest.mark.parametrize(
    ("number", "record", "environment", "expected"),
    [
        (signal.SIGUSR1, {}, SLURM, "41"),
        (signal.SIGUSR1, {"requeued": ["41", "0"]}, SLURM, None),
        (signal.SIGUSR1, {"requeued": ["41", "0"]}, SLURM | {"SLURM_RESTART_COUNT": "1"}, "41"),
        (signal.SIGUSR1, {}, SLURM | {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "3"}, "41_3"),
        (signal.SIGUSR1, {}, SLURM | {"SGEXP_SWEEP": "x"}, None),
        (signal.SIGUSR1, {}, SLURM | {"SGEXP_SWEEP": "x", "SUBMITIT_EXECUTOR": "slurm"}, "41"),
        (signal.SIGUSR1, {}, {"SLURM_JOB_ID": "41; rm -r x"}, None),
        (signal.SIGUSR1, {}, {}, None),
        (signal.SIGTERM, {}, SLURM, None),
        (None, {}, SLURM, None),
    ],
    ids=[
        "asked",
        "only once",
        "a later start",
        "an array's task",
        "in a sweep",
        "in a sweep, by submitit",
        "odd",
        "no Slurm",
        "SIGTERM",
        "Ctrl-C",
    ],
)
def test_when_slurm_is_asked_to_start_a_job_again(number, record, environment, expected):
    command = requeue_command(record, environment) if due(number) else None
    assert command == (["scontrol", "requeue", expected] if expected else None)


def test_a_requeue_that_cannot_be_is_told(monkeypatch):
    before = {number: signal.getsignal(number) for number in STOP_REQUESTS}
    try:
        assert "no-such-program" in (requeue(["no-such-program"]) or "")
        assert requeue(["sh", "-c", "echo no such job >&2; exit 1"]) == "no such job"
        assert requeue(["true"]) is None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_request_outside_of_training_is_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt), StopRequests(60.0).listening():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)


def test_what_ends_by_itself_is_not_called_preempted_and_its_record_is_not_broken_off():
    """srun sends SIGTERM to the others when a process is killed: while they wait for it, or after they have noticed."""
    for before in (True, False):
        requests, recorded = StopRequests(60.0), []
        with pytest.raises(ProcessLost, match="gone"), requests.listening():
            try:
                with requests.named():
                    requests.waits = True
                    if before:
                        signal.raise_signal(signal.SIGTERM)
                    raise ProcessLost("gone")
            finally:
                signal.raise_signal(signal.SIGTERM)
                recorded.append("whole")
        assert recorded == ["whole"] and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    asked = StopRequests(60.0)
    with pytest.raises(Preempted), asked.listening(), asked.named():
        asked.waits = True
        signal.raise_signal(signal.SIGUSR1)  # the job's own order to be started again, which comes first
        raise ProcessLost("gone")
