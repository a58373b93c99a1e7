"""The queue of the local Slurm, as its own commands tell it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..commands import has_heard, held, result


def slurm_says(*words):
    """Return what a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=240).stdout.strip()


def details(job):
    """Return what Slurm knows of a job (for an hour after its end, too).

    The last task of an array has the array's own number, at which Slurm tells of all its tasks.
    """
    told = slurm_says("scontrol", "--oneliner", "show", "job", str(job)).splitlines()
    (words,) = (line.split() for line in told if line.startswith(f"JobId={job} "))
    return dict(word.split("=", 1) for word in words if "=" in word)


def wait_until(happened, what, seconds=480, every=0.2):
    """Wait until ``happened()`` is true, looking again after ``every`` seconds."""
    until = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < until, f"waited in vain for {what}: {slurm_says('squeue')}"
        time.sleep(every)
    return found


@contextmanager
def held_in_training(begun) -> Iterator[Path]:
    """Hold a run still in its first epoch: what the test does meanwhile takes a while, such as telling Slurm something.

    ``begun()`` gives the folders of the runs that are wanted; the first of them whose history has its head is held.
    """

    def first():
        return next((folder for folder in begun() if (folder / "metrics.csv").exists()), None)

    folder = wait_until(first, "a training", every=0.02)
    with held(result(folder)["pid"]):
        yield folder


@contextmanager
def no_starts() -> Iterator[None]:
    """Let Slurm start no job meanwhile; those that run go on, and a requeued one waits as it was left."""
    slurm_says("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        yield
    finally:
        slurm_says("scontrol", "update", "PartitionName=main", "State=UP")


@contextmanager
def warned_and_requeued(begun) -> Iterator[tuple[Path, str]]:
    """Warn the job of a training, as Slurm does before the time is up; give its run's folder and its number.

    Inside, the job is in the queue again and has not begun: Slurm starts nothing before the block's end.
    """
    with ExitStack() as waiting:
        with held_in_training(begun) as folder:
            job = result(folder)["slurm"][0]
            waiting.enter_context(no_starts())
            slurm_says("scancel", "--signal=USR1", job)  # what --signal=USR1@120 sends: to the processes, no script
            wait_until(lambda: has_heard(result(folder)["pid"]), "the signal")
        wait_until(lambda: details(job)["Restarts"] == "1", "a requeue")
        yield folder, job


def wait_until_empty(seconds=480):
    """Wait until no job is left."""
    wait_until(lambda: not slurm_says("squeue", "-h"), "an empty queue", seconds)
