"""Jobs as processes, some at a time: each with its share of cores and GPUs, a log, and an end that is told in one line.

Ctrl-C (or SIGTERM, SIGUSR1, or a closed terminal) stops all jobs in an orderly way, a second Ctrl-C at once.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sgexp.errors import DataError, Preempted
from sgexp.machine import available_cores
from sgexp.runs import SWEEP
from sgexp.sweeps.display import Display
from sgexp.sweeps.leash import GRACE_SECONDS, STARTED_BY_SWEEP
from sgexp.sweeps.manifest import STOPPED, Job, Sweep
from sgexp.sweeps.stopping import for_jobs, interrupt_of

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0  # between two looks into the run folders
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BY_SIGNAL = {
    signal.SIGKILL: "killed by SIGKILL, as when memory runs out",
    signal.SIGTERM: "ended by SIGTERM",
    signal.SIGSEGV: "crashed inside a library (SIGSEGV)",
    signal.SIGABRT: "crashed inside a library (SIGABRT)",
    signal.SIGBUS: "crashed (SIGBUS), as when a disk is full or a file is cut short while it is read",
}


@dataclass
class Child:
    """A job that is running."""

    job: Job
    process: subprocess.Popen[bytes]
    slot: int
    started: float = field(default_factory=time.monotonic)
    epochs_before: int = 0  # done before this process began, in a run that goes on
    epochs_done: int = 0

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started


class Queue:
    """The jobs that wait: here those that are known beforehand; a search makes up the next when it is asked for."""

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        self.jobs = deque(jobs)

    def waiting(self) -> Sized:
        """Return what has as many items as jobs wait."""
        return self.jobs

    def next(self) -> Job | None:
        """Return the job to start now, or None when there is none (yet, as long as some wait)."""
        return self.jobs.popleft() if self.jobs else None

    def looked(self, child: Child) -> None:
        """Take note of how far a running job is (about once a second)."""


def run_side_by_side(queue: Queue, sweep: Sweep, at_a_time: int) -> None:
    """Run the jobs, ``at_a_time`` together, and leave in each what became of it; Ctrl-C ends in KeyboardInterrupt."""
    slots = max(1, min(at_a_time, len(queue.waiting())))
    gpus = visible_gpus() if slots > 1 else []
    shares = [share_of(slot, slots, gpus, available_cores(), os.environ) for slot in range(slots)]
    running: dict[int, Child] = {}
    with _stop_requests() as requests, Display(sweep, slots) as display:
        try:
            heard, looked = 0, 0.0
            while running or (len(queue.waiting()) and not requests):
                for slot in range(slots):
                    if slot not in running and not requests and (job := queue.next()) is not None:
                        running[slot] = start(job, job.asked, slot, sweep, shares[slot])
                        display.started(running[slot])
                if len(requests) > heard:
                    heard = len(requests)
                    number = for_jobs(requests)
                    if heard == 1 or number == signal.SIGKILL:
                        display.stopping(len(running), again=number == signal.SIGKILL)
                        for child in running.values():
                            send(child, number)
                if time.monotonic() - looked > _LOOK_SECONDS:
                    for child in running.values():
                        look(child, sweep)
                        queue.looked(child)
                    display.update(list(running.values()), queue.waiting())
                    looked = time.monotonic()
                time.sleep(_POLL_SECONDS)
                for slot, child in list(running.items()):
                    if child.process.poll() is not None:
                        del running[slot]
                        settle(child, sweep, stopped=bool(requests))
                        display.ended(child, list(running.values()), queue.waiting())
        finally:
            stop(list(running.values()), sweep)  # there are any only when something went wrong here
    if requests:
        raise interrupt_of(requests[0])


def start(job: Job, asked: Sequence[str], slot: int, sweep: Sweep, share: Mapping[str, str]) -> Child:
    """Start a job's process; what it prints goes to its log."""
    job.log = sweep.folder / "logs" / f"{job.number:03d}-{job.key}.log"
    job.state, job.reason = "running", None
    with open_log(job.log) as log:
        words = [*sweep.options, *asked]
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} python -m sgexp {' '.join(words)}\n".encode())
        log.flush()
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_JOBS}
        process = subprocess.Popen(
            [sys.executable, "-m", "sgexp", *words],
            env=environment | {SWEEP: sweep.id, STARTED_BY_SWEEP: "1", "COLUMNS": "120"} | dict(share),
            stdin=subprocess.PIPE,  # the leash
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C reaches the sweep alone, which passes it on
        )
    sweep.write()
    before = epochs_in(job.folder / "metrics.csv") if job.folder else 0
    return Child(job, process, slot, epochs_before=before, epochs_done=before)


_NOT_FOR_JOBS = frozenset({"SGEXP_RUN_FOLDER", "LOCAL_RANK", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"})


def open_log(path: Path) -> IO[bytes]:
    """Open a job's log to append to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): free some space there") from error


def send(child: Child, number: signal.Signals) -> None:
    """Send a signal to a job's process and all that it started."""
    try:
        os.killpg(child.process.pid, number)
    except (ProcessLookupError, PermissionError):  # it has just ended
        pass


def stop(children: Sequence[Child], sweep: Sweep) -> None:
    """Stop jobs in an orderly way, after a while in any way."""
    for child in children:
        send(child, signal.SIGINT)
    until = time.monotonic() + GRACE_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            send(child, signal.SIGKILL)
            child.process.wait()
        settle(child, sweep, stopped=True)


def look(child: Child, sweep: Sweep) -> None:
    """Find a running job's folder, and see in it how many epochs are done."""
    if child.job.folder is None:
        sweep.locate(child.job, child.process.pid)
    if child.job.folder is not None:
        child.epochs_done = epochs_in(child.job.folder / "metrics.csv")


def epochs_in(path: Path) -> int:
    """Return how many epochs a run's history holds."""
    try:
        return max(0, path.read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def settle(child: Child, sweep: Sweep, stopped: bool) -> None:
    """Write down how a job ended: by its exit code, its run folder, and the last line of its log."""
    job, code = child.job, child.process.returncode
    if child.process.stdin is not None:
        child.process.stdin.close()
    job.seconds = child.seconds
    run = sweep.locate(job, child.process.pid)
    if code == 0 and (run is None or run.status == "finished"):
        sweep.close(job, "finished", None)
    elif stopped:
        sweep.close(job, "interrupted", STOPPED)
    elif code in (130, -signal.SIGINT):
        sweep.close(job, "interrupted", "stopped by Ctrl-C")
    elif code == Preempted.exit_code:
        sweep.close(job, "interrupted", reason(code, job.log))
    elif code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP):
        sweep.close(job, "interrupted", reason(code, job.log))
    else:
        sweep.close(job, "failed", reason(code, job.log))


def reason(code: int, log: Path | None) -> str:
    """Say in one line why a job ended badly."""
    if code < 0:
        number = next((number for number in signal.Signals if number == -code), None)
        return _BY_SIGNAL.get(number, f"ended by {number.name}") if number else f"ended by signal {-code}"
    line = last_line(log) if log else ""
    return line.removeprefix("sgexp: ") or f"exit code {code}"


def last_line(path: Path) -> str:
    """Return the last line of a log that says something, without control characters and not too long."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 8192))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [_CONTROL.sub("", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")[:400]


def share_of(slot: int, slots: int, gpus: Sequence[str], cores: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that give one of ``slots`` jobs its share of the machine.

    GPUs go round in turn: with fewer jobs than GPUs a job has several, with more some jobs share one. Threads are
    the cores divided by the jobs; a single job is left as it is, so that it gives the numbers it gives alone.
    """
    share: dict[str, str] = {}
    if slots > 1:
        threads = max(1, cores // slots)
        given = environment.get("OMP_NUM_THREADS", "")
        share["OMP_NUM_THREADS"] = str(min(threads, int(given)) if given.isdigit() and int(given) else threads)
    if gpus and slots > 1:
        share["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[slot % len(gpus) :: slots])
    return share


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that jobs may use, as CUDA_VISIBLE_DEVICES lists them; empty without any."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() and name.strip() != "-1"]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    names = [line.strip() for line in listed.stdout.splitlines()] if listed.returncode == 0 else []
    return [name for name in names if name.isdigit()]


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect requests to stop in a list while the body runs: Ctrl-C, SIGTERM, SIGUSR1, a closed terminal."""
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup wants it
    before = {number: signal.signal(number, lambda which, _: requests.append(which)) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
