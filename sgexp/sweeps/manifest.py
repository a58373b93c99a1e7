"""A sweep's jobs and what became of them, kept in ``manifest.json`` so that the same command goes on where it stopped.

The manifest lies in a folder named after the set of jobs. What is finished or interrupted it does not have to remember:
the run folders say so, and each names the sweep it belongs to. What another sweep has finished (three seeds, and now
five are asked for) or a command by itself is not run again either.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from sgexp.errors import ConfigError, UserError
from sgexp.runs import RunResult, write_json

State = Literal["waiting", "running", "finished", "failed", "interrupted", "pruned", "elsewhere"]
STOPPED = "stopped with the sweep"  # why a job is interrupted that the sweep itself has ended
_ASIDE = "manifest.damaged.json"
_NAMED_BY_HASH = re.compile(r"-([0-9a-f]{8})(?:-\d+)?$")  # how run folders end


@dataclass
class Job:
    """One job of a sweep: what is asked, and what became of it so far."""

    number: int  # from 1, in the order in which the sweep lists its jobs
    overrides: list[str]  # without Hydra's own
    key: str  # config hash: equal for jobs that are the same experiment
    runs_in: Path  # where its run folder is made
    epochs: int | None = None  # None: it does not train
    state: State = "waiting"
    folder: Path | None = None  # its run folder
    log: Path | None = None  # what it printed
    reason: str | None = None  # why it did not finish
    seconds: float | None = None  # how long it took when it ran last
    label: str = ""  # the choices that set it apart from the other jobs

    @property
    def asked(self) -> list[str]:
        """The overrides to start it with now: those of the sweep, or to go on in its folder."""
        if self.state == "interrupted" and self.folder is not None:
            quoted = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
            return [f"resume='{quoted}'"]
        return self.overrides


def sweep_id(jobs: Sequence[Job]) -> str:
    """Return eight hex digits that name a set of jobs, in whatever order they are listed."""
    return hashlib.sha256(" ".join(sorted({job.key for job in jobs})).encode()).hexdigest()[:8]


def label(jobs: Sequence[Job]) -> None:
    """Give every job the part of its overrides that not all jobs have."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        job.label = " ".join(text for text in job.overrides if text not in common) or "(no choices)"


class Sweep:
    """The jobs of one ``-m`` command, and the file that remembers them."""

    noun = "job"

    def __init__(self, folder: Path, jobs: Sequence[Job], command: Sequence[str] = ()) -> None:
        self.folder, self.jobs, self.command = Path(folder), list(jobs), list(command)
        self.id = sweep_id(jobs)
        self.same_as: dict[int, int] = {}  # number of a job -> number of the one that is the same experiment
        self.options: list[str] = []  # what every job's command begins with, such as --config-dir
        self.notes: list[str] = []  # what a person should be told at the start
        self.borrowed = 0  # jobs that another sweep or a single command has finished
        self.damaged = False  # the manifest that was found cannot be read
        self.closed: set[int] = set()  # numbers of the jobs that ended in this session
        label(self.jobs)

    @property
    def path(self) -> Path:
        """The manifest."""
        return self.folder / "manifest.json"

    @property
    def distinct(self) -> list[Job]:
        """The jobs without those that are the same experiment as an earlier one."""
        return [job for job in self.jobs if job.number not in self.same_as]

    @property
    def total(self) -> int:
        """How many jobs it has, as they are numbered."""
        return len(self.jobs)

    @property
    def distinct_total(self) -> int:
        """How many different experiments its jobs are."""
        return len(self.distinct)

    def count(self, state: State) -> int:
        """Return how many (distinct) jobs are in a state."""
        return sum(job.state == state for job in self.distinct)

    @property
    def typed(self) -> str:
        """The command that goes on with this sweep."""
        return shlex.join(["python", "-m", "sgexp", *self.command])

    @contextmanager
    def held(self) -> Iterator[Sweep]:
        """Keep the same sweep from being started twice at the same time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "sweep.lock", blocking=False)
        except OSError as error:
            raise ConfigError(f"{self.folder}: the sweep cannot be recorded there ({error.strerror})") from None
        try:
            with lock:
                yield self
        except Timeout:
            raise ConfigError(
                f"the sweep {self.id} is being run by another process ({self.path} tells how far it is); "
                "wait for it or stop it"
            ) from None

    def plan(self, *, retry_failed: bool = False, fresh: bool = False) -> list[Job]:
        """Find out what became of each job before, and return the jobs to run now; nothing is written."""
        first: dict[str, Job] = {}
        for job in self.jobs:
            if first.setdefault(job.key, job) is not job:
                self.same_as[job.number] = first[job.key].number
        if not fresh:
            self._remember()
        chosen = [job for job in self.distinct if job.state in ("waiting", "interrupted")]
        if retry_failed:
            for job in self.distinct:
                if job.state == "failed":
                    job.state, job.folder, job.reason = "waiting", None, None
                    chosen.append(job)
        return sorted(chosen, key=lambda job: job.number)

    def _remember(self) -> None:
        """Set the state of every job from the run folders of this sweep and from the manifest."""
        before = self._read()
        folders, self.borrowed = self._run_folders(others=True), 0
        for job in self.distinct:
            if job.epochs is None:  # it leaves no run folder that could say it is finished
                continue
            entry = before.get(job.key, {})
            runs = folders.get(job.key, [])
            job.log = _path_or_none(entry.get("log"))
            if done := [run for run in runs if run.status == "finished"]:
                mine = [run for run in done if run.record.get("sweep") == self.id]
                job.state, job.folder = "finished", (mine or done)[-1].folder
                self.borrowed += not mine
                continue
            last = runs[-1] if runs else None
            job.folder = last.folder if last else None
            if last and last.status == "running":
                job.state = "elsewhere"
                job.reason = f"being run by process {last.record.get('pid')} on {last.record.get('host')}"
            elif entry.get("state") == "failed" or (last and last.status == "failed"):
                job.state = "failed"
                job.reason = str(entry.get("reason") or (last and last.record.get("error")) or "it failed")[:500]
            elif last and last.status == "interrupted":
                job.state = "interrupted"

    def _read(self) -> dict[str, Mapping[str, Any]]:
        """Return what the manifest says of each key; one that is damaged is not believed."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(entry["key"]): dict(entry) for entry in record["jobs"]}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, OSError) as error:
            self.damaged = True
            self.notes.append(
                f"{self.path} is damaged ({type(error).__name__}): it is kept as {_ASIDE}, and the run folders tell "
                "what is finished"
            )
            return {}

    def _run_folders(self, *, others: bool = False) -> dict[str, list[RunResult]]:
        """Return the runs that belong to this sweep, by config hash, oldest first.

        ``others`` adds the finished runs of the same experiments that other sweeps or single commands made.
        """
        keys = {job.key for job in self.jobs}
        found: dict[str, list[RunResult]] = {}
        for parent in {job.runs_in for job in self.jobs}:
            for folder in _folders_of(parent, keys):
                run = read_or_none(folder)
                if run is None:
                    continue
                if run.record.get("sweep") == self.id or (others and run.status == "finished"):
                    found.setdefault(_hash_in(folder.name), []).append(run)
        return found

    def job_of(self, asked: Sequence[str]) -> Job:
        """Return the job that is started with these overrides."""
        return next(job for job in self.distinct if job.asked == list(asked))

    def locate(self, job: Job, pid: int | None = None) -> RunResult | None:
        """Find a job's run folder: the one that process ``pid`` writes, or else the newest of this sweep."""
        if pid is None:
            runs = self._run_folders().get(job.key, [])
        elif job.folder is not None:
            runs = [run for run in [read_or_none(job.folder)] if run]
        else:
            runs = [run for run in map(read_or_none, _folders_of(job.runs_in, {job.key})) if run]
            runs = [run for run in runs if run.record.get("pid") == pid and run.record.get("sweep") == self.id]
        if not runs:
            return None
        job.folder = runs[-1].folder
        return runs[-1]

    def close(self, job: Job, state: State, reason: str | None) -> None:
        """Write down how a job ended."""
        job.state, job.reason = state, reason
        self.closed.add(job.number)
        self.write()

    def close_as(self, job: Job, error: Exception | None) -> None:
        """Write down how a job ended that a launcher of Hydra ran somewhere."""
        run = self.locate(job)
        if run is not None:
            job.seconds = float(run.record.get("wall_seconds") or 0.0)
        if error is None and (run is None or run.status == "finished"):
            self.close(job, "finished", None)
        elif run is not None and run.status == "interrupted":
            self.close(job, "interrupted", "its process ended without a word")
        else:
            self.close(job, "failed", str(error or "it left no result"))

    def write(self) -> None:
        """Write the manifest, whole and atomically; a damaged one is kept aside."""
        if self.damaged and self.path.exists():
            os.replace(self.path, self.path.with_name(_ASIDE))
            self.damaged = False
        write_json(
            self.path,
            {
                "sweep": self.id,
                "command": self.typed,
                "jobs": [
                    {
                        "number": job.number,
                        "key": job.key,
                        "overrides": job.overrides,
                        "state": job.state,
                        "reason": job.reason,
                        "folder": str(job.folder) if job.folder else None,
                        "log": str(job.log) if job.log else None,
                        "seconds": None if job.seconds is None else round(job.seconds, 1),
                    }
                    for job in self.distinct
                ],
            },
        )

    def sentence(self) -> str | None:
        """Return what is left undone, in one sentence, or None when every job is finished."""
        done, total = self.count("finished"), len(self.distinct)
        if done == total:
            return None
        parts = [f"{done} of {total} jobs are finished"]
        failed = [str(job.number) for job in self.distinct if job.state == "failed"]
        if failed:
            parts.append(f"{_listed('job', failed)} failed (launcher.retry_failed=true runs them again)")
        stopped = [str(job.number) for job in self.distinct if job.state in ("interrupted", "running")]
        if stopped:
            parts.append(f"{_listed('job', stopped)} interrupted (the same command goes on)")
        if elsewhere := [str(job.number) for job in self.distinct if job.state == "elsewhere"]:
            parts.append(f"{_listed('job', elsewhere)} being run by another process")
        return "; ".join(parts)


def _listed(noun: str, numbers: list[str]) -> str:
    shown = ", ".join(numbers[:8]) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return f"{noun}{'s' if len(numbers) > 1 else ''} {shown}"


def _folders_of(parent: Path, keys: set[str]) -> list[Path]:
    """Return the run folders below ``parent`` whose name ends in one of the hashes, oldest first."""
    try:
        names = sorted(entry.name for entry in os.scandir(parent))
    except OSError:
        return []
    return [parent / name for name in names if _hash_in(name) in keys]


def _hash_in(name: str) -> str:
    match = _NAMED_BY_HASH.search(name)
    return match[1] if match else ""


def read_or_none(folder: Path) -> RunResult | None:
    """Return what a run folder's result says, or None where it is half-written, broken or foreign."""
    try:
        return RunResult.read(folder)
    except (UserError, ValueError, TypeError, OverflowError, AttributeError):
        return None


def _path_or_none(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None
