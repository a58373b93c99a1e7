"""The queue of the local Slurm, as its own commands tell it."""

import subprocess
import time


def slurm_says(*words):
    """Return what a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def details(job):
    """Return what Slurm knows of a job (some minutes after its end, too)."""
    words = slurm_says("scontrol", "--oneliner", "show", "job", str(job)).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def wait_until(happened, what, seconds=240):
    """Wait until ``happened()`` is true."""
    until = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < until, f"waited in vain for {what}: {slurm_says('squeue')}"
        time.sleep(0.2)
    return found


def wait_until_empty(seconds=240):
    """Wait until no job is left."""
    wait_until(lambda: not slurm_says("squeue", "-h"), "an empty queue", seconds)
