"""Watching over the other processes of a distributed run: when one is lost, the others end, and one says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import torch.distributed as dist

from sgexp.errors import ProcessLost, UserError
from sgexp.learning import heartbeat
from sgexp.ranks import RUN_FOLDER

HANGS_SECONDS = 30.0  # a process that waits this long for one that is no more does not notice it by itself
_LOOK_SECONDS = 0.5
_WAITED = "Timed out waiting"
_CONNECTION = ("Connection closed by peer", "Connection reset by peer", "Socket closed", "Broken pipe", "heartbeat")

Processes = list[subprocess.Popen[str]]


def watch(processes: Processes) -> None:
    """End this process, with a message, when it waits for one that has ended; processes taken off the list are not."""
    threading.Thread(target=_watch, args=(processes,), name="watch", daemon=True).start()


def _watch(processes: Processes) -> None:
    since = None
    while processes and not all(process.poll() == 0 for process in processes):
        if since is None and any(process.returncode for process in processes):
            since = time.monotonic()
        if since is not None and time.monotonic() - since > HANGS_SECONDS:
            found = heartbeat.silence() or _ended_badly(processes)
            folder = os.environ.get(RUN_FOLDER)
            how = f"; go on with: python -m sgexp resume={folder}" if folder else ""
            print(f"sgexp: {found}{how}", file=sys.stderr, flush=True)
            end(processes)
            os.kill(
                os.getpid(), signal.SIGKILL
            )  # a collective of a GPU cannot be broken off; the run reads as interrupted
        time.sleep(_LOOK_SECONDS)


def lost(processes: Sequence[subprocess.Popen[str]], error: BaseException) -> BaseException | None:
    """Return what to tell instead of an error that another process's end has caused; None: it has another cause."""
    if isinstance(error, UserError):
        return None
    if (silent := heartbeat.silence()) is not None:
        return silent
    if _WAITED in str(error):
        return ProcessLost("another process of the run has not come to the same step within trainer.timeout_seconds")
    until = time.monotonic() + (2.0 if processes else 0.0)  # its end may be noticed before it has quite ended
    while (found := _ended_badly(processes)) is None and time.monotonic() < until:
        time.sleep(0.05)
    if found is not None:
        return found
    apart = not processes and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if apart and any(text in str(error) for text in _CONNECTION):
        return ProcessLost("another process of the run has ended, or its machine was lost")
    return None


def end(processes: Processes) -> None:
    """Kill what is left of the processes, and watch over them no more."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    processes.clear()


def _ended_badly(processes: Sequence[subprocess.Popen[str]]) -> BaseException | None:
    for rank, process in enumerate(processes, start=1):
        code = process.poll()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return ProcessLost(f"process {rank} of the run (pid {process.pid}) was ended from outside by {name}")
        if code:
            return UserError(f"process {rank} of the run ended with exit code {code}, and so does the run")
    return None
