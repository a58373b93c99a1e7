"""How a sweep ends that is stopped: by Ctrl-C, or by a cluster, as one of its jobs does (SIGTERM, SIGUSR1)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from sgexp.console import STOP_REQUESTS
from sgexp.errors import Preempted
from sgexp.requeue import due, requeue, requeue_command
from sgexp.runs import SWEEP


def interrupt_of(number: int) -> KeyboardInterrupt:
    """Return what a signal that asked a sweep to stop ends it with."""
    return (
        Preempted.by(signal.Signals(number), due(signal.Signals(number)))
        if number in STOP_REQUESTS
        else KeyboardInterrupt()
    )


def for_jobs(requests: Sequence[int]) -> signal.Signals:
    """Return what a sweep passes on to its jobs: Ctrl-C, a cluster's request, or their end when Ctrl-C is repeated.

    Clusters repeat themselves: a warning, the end of the time, another start; only a person is impatient.
    """
    if any(number not in STOP_REQUESTS for number in requests[1:]):
        return signal.SIGKILL
    return signal.SIGTERM if requests[0] in STOP_REQUESTS else signal.SIGINT


@contextmanager
def hearing() -> Iterator[None]:
    """Raise `Preempted` in the body when a cluster asks to stop, unless the body listens by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, _: FrameType | None) -> None:
        raise interrupt_of(number)

    before = {number: signal.signal(number, hear) for number in STOP_REQUESTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped(interrupt: KeyboardInterrupt, done: str, typed: str) -> KeyboardInterrupt:
    """Return how a stopped sweep ends; its jobs share one job of Slurm, which only the sweep asks to start again."""
    how = f"{done}; go on with: {typed}"
    if not isinstance(interrupt, Preempted):
        return KeyboardInterrupt(f"interrupted: {how}")
    said = f"preempted ({interrupt.heard.name})" if interrupt.heard else "preempted"
    own = {name: value for name, value in os.environ.items() if name != SWEEP}
    if interrupt.asks_again and (command := requeue_command({}, own)):
        refusal = requeue(command)
        said += f", and Slurm does not start job {command[-1]} again ({refusal})" if refusal else ", job requeued"
    return Preempted(f"{said}: {how}")
