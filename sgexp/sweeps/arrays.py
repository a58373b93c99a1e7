"""The jobs that submitit hands to Slurm, awaited one by one: what ends one of them hides neither itself nor the others.

submitit raises for the first job that left no result, while the others run on; and where Slurm keeps no accounts it
would wait for ever for a job that was killed.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ASK_SECONDS = 10.0  # between two questions to Slurm
_ARRIVAL_SECONDS = 15.0  # what a node has written another may see seconds later


@contextmanager
def awaited_one_by_one(failed: Callable[[str], Any]) -> Iterator[None]:
    """Have submitit's jobs return ``failed(why)`` where they would raise, and be warned as runs hear it."""
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # read at import, here and by the jobs; its own is USR2
    from submitit import Job, SlurmJob

    logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns every other second where there are no accounts
    results = Job.results

    def instead(job: Any) -> list[Any]:
        try:
            if isinstance(job, SlurmJob):
                _wait(job)
            return results(job)
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            return [failed(f"job {job.job_id} ended without a result ({said}); its log: {job.paths.stderr}")]

    setattr(Job, "results", instead)  # noqa: B010 - a method, for mypy
    try:
        yield
    finally:
        setattr(Job, "results", results)  # noqa: B010


def _wait(job: Any) -> None:
    asked = time.monotonic()
    while not job.done():
        time.sleep(1.0)
        if time.monotonic() - asked > _ASK_SECONDS:
            asked = time.monotonic()
            if left_the_queue(job.job_id):
                until = time.monotonic() + _ARRIVAL_SECONDS
                while not job.paths.result_pickle.exists() and time.monotonic() < until:
                    time.sleep(1.0)
                if not job.paths.result_pickle.exists():
                    raise RuntimeError("it was cancelled or killed, or its node was lost")


def left_the_queue(number: str) -> bool:
    """Say whether Slurm neither runs a job nor will; False where it cannot be asked."""
    if shutil.which("squeue") is None:
        return False
    words = ["squeue", "--noheader", "--format=%T", "--jobs", number]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "Invalid job id" in ended.stderr if ended.returncode else not ended.stdout.strip()
