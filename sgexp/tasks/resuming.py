"""How runs go on: ``resume=auto`` finds the newest interrupted one of an experiment; a preempted job is requeued."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from sgexp.console import console
from sgexp.errors import ConfigError, Preempted, UserError
from sgexp.requeue import due, requeue, requeue_command
from sgexp.runs import RunFolder, RunResult, config_hash, slurm_start


class OtherData(ConfigError):
    """The data, or their split, are no longer those that a run began with."""


def newest_interrupted(parent: Path, asked: Mapping[str, Any]) -> RunFolder | None:
    """Reopen the newest interrupted run below ``parent`` with the config hash of ``asked``; say what was decided.

    A run that failed is left alone, since it would fail again, and one that another process runs is named.
    """
    name = config_hash(asked)
    for run in _newest_first(parent, name):
        if run.status == "running":
            who = f"process {run.record.get('pid')} on {run.record.get('host')}"
            _say(f"[yellow]resume=auto leaves {escape(str(run.folder))} alone: {escape(who)} runs it[/yellow]")
        if run.status == "interrupted":
            _say(f"[bold]resume=auto[/bold] goes on with {escape(str(run.folder))}")
            return RunFolder.reopen(run.folder)
    where = escape(str(parent))
    _say(f"[bold]resume=auto[/bold] finds no interrupted run of this experiment ({name}) in {where}: a new one begins")
    return None


def preempted(run: RunFolder, heard: signal.Signals) -> Preempted:
    """Return how a run that a cluster asked to stop ends; have Slurm start its job again where that is due."""
    return Preempted.by(heard, due(heard), _ending(run, f"preempted ({heard.name})", again=due(heard)))


def lost(run: RunFolder, said: str) -> str:
    """Leave word in the folder of a run that ends at once, since another process of it is lost; return what to say.

    Where a machine is lost Slurm would start the job again, had this process waited for it to notice: so it is asked.
    """
    run.update(status="interrupted")
    return _ending(run, said, again=True)


def _ending(run: RunFolder, said: str, again: bool) -> str:
    command = requeue_command(run.record) if again and run.writes else None
    if command:
        run.update(requeued=slurm_start())
        refusal = requeue(command)
        said += f", and Slurm does not start job {command[-1]} again ({refusal})" if refusal else ", job requeued"
    return f"{said}; go on with: python -m sgexp resume={run.folder}"


def _newest_first(parent: Path, name: str) -> Iterator[RunResult]:
    """Yield the readable runs of a config hash; folders begin with the time and contain the hash."""
    try:
        folders = sorted((entry.name for entry in os.scandir(parent) if f"-{name}" in entry.name), reverse=True)
    except OSError:
        return
    for folder in folders:
        try:
            run = RunResult.read(parent / folder)
        except (UserError, ValueError, TypeError, OverflowError, AttributeError, RecursionError):
            continue  # half-written, broken or foreign
        if run.record.get("config_hash") == name:
            yield run


def _say(line: str) -> None:
    console.print(line, soft_wrap=True)
