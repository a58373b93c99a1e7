"""Requests to stop, as clusters send them: SIGTERM and SIGUSR1 end a training at the next batch, with a checkpoint.

Lightning's own handlers are switched off (`trainer.Trainer`): one of them exchanges data with the other processes from
inside the handler, the other asks Slurm to start the job again, and whoever else asks too gets it started twice.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from sgexp.console import STOP_REQUESTS
from sgexp.errors import Preempted, ProcessLost
from sgexp.learning.checkpoint import LAST
from sgexp.requeue import due


class StopRequests:
    """Hears SIGTERM and SIGUSR1 in this process: at once Ctrl-C, in training the next batch's end.

    Parameters
    ----------
    grace_seconds : how long a training may go on to the end of its batch, or of a validation; then it is Ctrl-C.
    """

    def __init__(self, grace_seconds: float) -> None:
        self.grace_seconds = grace_seconds
        self.heard: signal.Signals | None = None
        self.waits = False  # training looks for itself, after each batch
        self._process = os.getpid()
        self._ends = False  # by itself

    @contextmanager
    def listening(self) -> Iterator[StopRequests]:
        """Hear while the body runs."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._hear) for number in STOP_REQUESTS}
        try:
            yield self
        finally:
            self._set_deadline(0.0)
            for number, handler in before.items():
                if signal.getsignal(number) == self._hear:  # else who asked for another start is deaf to its end
                    signal.signal(number, handler)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name what ends the body for what it is: the Ctrl-C that a request has become is `Preempted`.

        When a process of a run is killed, srun sends SIGTERM to the others, before or after they notice: that is no
        preemption.
        """
        try:
            yield
        except BaseException as error:
            self.ends()
            asked = self.heard is not None and isinstance(error, KeyboardInterrupt)
            if not asked or (isinstance(error, ProcessLost) and not due(self.heard)):
                raise
            raise Preempted from None

    def ends(self) -> None:
        """Hear no more: what runs has failed, and a request would only break off the record of how."""
        self.waits, self._ends = False, True
        self._set_deadline(0.0)

    def answered(self) -> None:
        """Stop the clock: this process stops now, because it was asked to, or another process of its run was."""
        self.waits, self.heard = False, self.heard or signal.SIGTERM
        self._set_deadline(0.0)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked process, such as one that simulates, has nothing to finish
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.heard is None and not self._ends:
            self.heard = signal.Signals(number)
            if self.waits:
                self._set_deadline(self.grace_seconds)
            else:
                _interrupt(frame)

    def _set_deadline(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):
            if seconds:
                signal.signal(signal.SIGALRM, lambda _, frame: _interrupt(frame))
            signal.setitimer(signal.ITIMER_REAL, seconds)


def _interrupt(frame: FrameType | None) -> None:
    """Do what Ctrl-C does here now: what holds it back for a while (`interrupts_later`) holds this back too."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell has made this process deaf to Ctrl-C
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


class StopAtBatchEnd(Checkpoint):
    """Ends a training that was asked to stop, in all its processes after the same batch, with a checkpoint.

    Not after an epoch's last batch, whose validation would be left out for ever: the epoch's end comes next.
    """

    def __init__(self, requests: StopRequests, folder: Path) -> None:
        self.requests, self.path = requests, Path(folder) / LAST

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on requests wait for a batch to end."""
        self.requests.waits = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two optimizer steps: gradients that wait for more batches are in no checkpoint."""
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._stop_if_asked(trainer, save=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after an epoch, whose checkpoint has just been written (callbacks run in the order they are given)."""
        self._stop_if_asked(trainer, save=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What comes after training ends at once."""
        self.requests.waits = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Wait for no more batches; an error ends the run by itself."""
        self.requests.waits = False
        if not isinstance(exception, KeyboardInterrupt):
            self.requests.ends()

    def _stop_if_asked(self, trainer: pl.Trainer, save: bool) -> None:
        # A cluster may tell one process only; none may stop alone, or the others would wait for it.
        if trainer.strategy.reduce_boolean_decision(self.requests.heard is not None, all=False):
            if save:
                trainer.save_checkpoint(self.path)
            self.requests.answered()
            raise KeyboardInterrupt
