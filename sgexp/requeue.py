"""Asking Slurm, once, to start this job again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sgexp.console import STOP_REQUESTS
from sgexp.runs import SWEEP, slurm_start


def due(heard: signal.Signals | None) -> bool:
    """Say whether a signal asks for another start of the job.

    Only SIGUSR1, which a job orders itself (``--signal``), does. SIGTERM means that Slurm has decided: it starts a
    preempted job again by itself, and must not start a cancelled one.
    """
    return heard is not None and heard == getattr(signal, "SIGUSR1", None)


def of_submitit(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether this process is a job that submitit has handed to Slurm."""
    env = os.environ if environment is None else environment
    return env.get("SUBMITIT_EXECUTOR") == "slurm"


def requeue_command(record: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> list[str] | None:
    """Return what asks Slurm to start this job again, or None where that must not be asked.

    A start asks once (``requeued`` of ``record``, a run's or a sweep's). The jobs of a sweep that runs inside a job of
    Slurm do not: they share it, and the sweep asks for them. Those that submitit hands to Slurm have one of their own.
    """
    env = os.environ if environment is None else environment
    start = slurm_start(env)
    if start is None or record.get("requeued") == start or (SWEEP in env and not of_submitit(env)):
        return None
    job = start[0]
    if "SLURM_ARRAY_JOB_ID" in env:  # the number of one of its tasks is that of the whole array
        job = f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '')}"
    return ["scontrol", "requeue", job] if re.fullmatch(r"\d+(_\d+)?", job) else None


def requeue(command: Sequence[str]) -> str | None:
    """Ask Slurm to start this job again; return why it will not, or None. Slurm then ends what is left of the job."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_REQUESTS:
            signal.signal(number, signal.SIG_IGN)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (" ".join(done.stderr.split()) or f"exit code {done.returncode}")
