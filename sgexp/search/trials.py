"""The trials of a search as jobs of a sweep: asked of Optuna one by one, followed, ended early, told to Optuna.

The values of a trial are drawn once, here, and stand on its job's command line: whatever processes the job starts, they
all have the same.
"""

from __future__ import annotations

import csv
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState

from sgexp.console import duration
from sgexp.errors import ConfigError, UserError
from sgexp.runs import HEARTBEAT_SECONDS, note, this_process
from sgexp.search import record, study
from sgexp.search.study import INTERVALS, KEY, LOG, REASON, RUN, SAME, SECONDS, WORKER, Plan
from sgexp.sweeps.display import ending, safe, say
from sgexp.sweeps.leash import GRACE_SECONDS
from sgexp.sweeps.manifest import STOPPED, Job, State, Sweep, read_or_none
from sgexp.sweeps.processes import Child, Queue, run_side_by_side, send
from sgexp.sweeps.table import figure

Describe = Callable[[int, Sequence[str]], Job]


class Search(Sweep):
    """A sweep whose jobs Optuna chooses; trials are numbered from 0, as Optuna does."""

    noun = "trial"

    def __init__(self, folder: Path, plan: Plan, command: Sequence[str], describe: Describe) -> None:
        super().__init__(folder, [], [study.without_password(word) for word in command])
        self.aim, self.describe, self.id = plan, describe, plan.id
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.folder}: the search cannot be recorded there ({error.strerror})") from None
        self.study = study.open_study(plan, self.folder)
        self.asked: dict[int, optuna.Trial] = {}
        self.pruned: dict[int, str] = {}  # number of a trial that is being ended -> why
        self.beats: dict[int, float] = {}
        self.importance: list[dict[str, float]] = []
        self.left = 0
        self.seen: Sequence[optuna.trial.FrozenTrial] = ()

    @property
    def path(self) -> Path:
        """The record of the search, for who has no Optuna."""
        return self.folder / record.NAME

    @property
    def total(self) -> int:
        """How many trials it has in all."""
        return self.aim.trials

    @property
    def distinct_total(self) -> int:
        """The same: a trial that repeats another counts too."""
        return self.aim.trials

    def count(self, state: State) -> int:
        """Return how many trials ended so, over all starts and machines."""
        return study.count(self.seen, _STATES[state]) if state in _STATES else 0

    def refresh(self) -> None:
        """Look into the storage for how many trials are left to start."""
        self.seen = self.study.get_trials(deepcopy=False)
        self.left = max(0, self.aim.trials - len(self.seen) + study.count(self.seen, TrialState.WAITING))

    def run(self, at_a_time: int) -> None:
        """Run the trials that are left; whatever ends this, the record says how far it is."""
        with self._alone():
            again = study.take_back_abandoned(self.study)
        self.refresh()
        self.write()
        self._announce(again)
        try:
            if self.left:
                run_side_by_side(_Trials(self), self, at_a_time)
        finally:
            self.importance = study.importance(self.study)
            self.write()

    def _announce(self, abandoned: Sequence[int]) -> None:
        config = self.aim.config
        goal = " and ".join(f"{name} ({way[:-1]}ing)" for name, way in self._goals())
        say(
            f"[bold]search {self.id}[/bold] {self.total} trials by {config.sampler} for {goal}, recorded in {self.path}"
        )
        for name, text in self.aim.space.texts.items():
            say(f"  {safe(name)}: {safe(text)}")
        if len(self.seen) > study.count(self.seen, TrialState.WAITING):
            states = [f"{self.count(state)} {state}" for state in _STATES if self.count(state)]
            say(f"{', '.join(states)} before; {self.left} to run")
        if waiting := [str(trial.number) for trial in self.seen if trial.state == TrialState.WAITING]:
            say(f"{len(waiting)} interrupted before, {'goes' if len(waiting) == 1 else 'go'} on: {', '.join(waiting)}")

    def _goals(self) -> list[tuple[str, str]]:
        return list(zip(self.aim.config.objectives, self.aim.directions, strict=True))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep machines that share the folder from counting and asking at the same time."""
        with FileLock(self.folder / "search.lock"):
            yield

    def next_job(self) -> Job | None:
        """Ask Optuna for a trial, and return the job that it is; one that needs no job is told to Optuna at once."""
        while True:
            with self._alone():
                self.refresh()
                if not self.left:
                    return None
                trial = self.study.ask(self.aim.space.distributions)
                begun = WORKER in trial.user_attrs
                trial.set_user_attr(WORKER, this_process())
            if (job := self._job(trial, begun)) is not None:
                return job

    def _job(self, trial: optuna.Trial, begun: bool) -> Job | None:
        chosen = self.aim.space.overrides(trial.params)
        self.asked[trial.number] = trial
        try:
            job = self.describe(trial.number, [*self.aim.fixed, *chosen])
        except ConfigError as error:
            job = Job(trial.number, [*self.aim.fixed, *chosen], "", self.folder, label=" ".join(chosen))
            self._end_at_once(job, "failed", str(error))
            return None
        job.label = " ".join(chosen)
        self.jobs.append(job)
        trial.set_user_attr(KEY, job.key)
        if begun and self._begun_before(job, trial):
            return job if job.state in ("waiting", "interrupted") else None
        return None if self._known(job, trial) else job

    def _begun_before(self, job: Job, trial: optuna.Trial) -> bool:
        """Take up the run folder of a trial that was interrupted, or what has become of it; say whether it has one."""
        name = trial.user_attrs.get(RUN)
        if name is None:  # its search was killed before it noted the folder
            taken = {other.user_attrs.get(RUN) for other in self.seen}
            left = [run.folder.name for run in self._run_folders().get(job.key, []) if run.folder.name not in taken]
            name = left[-1] if left else None
        if not isinstance(name, str) or Path(name).name != name or f"-{job.key}" not in name:
            return False
        run = read_or_none(job.runs_in / name)
        until = time.monotonic() + GRACE_SECONDS
        while run is not None and run.status == "running" and time.monotonic() < until:  # it ends with its sweep
            time.sleep(0.2)
            run = read_or_none(job.runs_in / name)
        if run is None:
            return False
        job.folder = run.folder
        if run.status == "interrupted":
            job.state = "interrupted"
        elif run.status == "finished":
            self._end_at_once(job, "finished", None)
        else:
            self._end_at_once(job, "failed", str(run.record.get("error") or f"its run is {run.status}")[:500])
        return True

    def _known(self, job: Job, trial: optuna.Trial) -> bool:
        """Take the result of an earlier trial with the same choices: the same seed would give it again."""
        for other in self.seen:
            run = other.user_attrs.get(RUN)
            if other.state == TrialState.COMPLETE and other.user_attrs.get(KEY) == job.key and isinstance(run, str):
                trial.set_user_attr(SAME, other.number)
                job.folder = job.runs_in / Path(run).name
                self._end_at_once(job, "finished", None)
                return True
        return False

    def _end_at_once(self, job: Job, state: State, reason: str | None) -> None:
        job.seconds = 0.0
        self.close(job, state, reason)
        say(ending(job, self.total, self.noun))

    def looked(self, child: Child) -> None:
        """Tell Optuna the epochs of a running trial, and end it where the pruner says so."""
        job, trial = child.job, self.asked[child.job.number]
        if time.monotonic() - self.beats.get(job.number, -math.inf) > HEARTBEAT_SECONDS:
            self.beats[job.number] = time.monotonic()
            trial.set_user_attr(WORKER, this_process())
        if job.folder is not None and trial.user_attrs.get(RUN) != job.folder.name:
            trial.set_user_attr(RUN, job.folder.name)
        if job.number in self.pruned:
            return
        name = self.aim.config.objectives[0]
        for epoch, value in self._untold(job, trial):
            trial.report(value, step=epoch)
            if trial.should_prune() and (job.epochs is None or epoch < job.epochs):
                said = f"by the {self.aim.config.pruner} pruner after epoch {epoch} of {job.epochs}"
                self.pruned[job.number] = f"{said}: validation {name} {value:.3f}"
                send(child, signal.SIGINT)
                return

    def _untold(self, job: Job, trial: optuna.Trial) -> list[tuple[int, float]]:
        """Return the epochs that Optuna has not been told of, each with its validation figure."""
        if self.aim.config.pruner == "none" or job.folder is None:
            return []
        known = self.study._storage.get_trial(trial._trial_id).intermediate_values
        found = curve(job.folder, f"val/{self.aim.config.objectives[0]}")
        return [(epoch, value) for epoch, value in found if epoch not in known]

    def close(self, job: Job, state: State, reason: str | None) -> None:
        """Tell Optuna how a trial ended. One that was stopped with the search waits for the next start."""
        trial = self.asked[job.number]
        if job.folder is not None:
            trial.set_user_attr(RUN, job.folder.name)
        if job.log is not None:
            trial.set_user_attr(LOG, job.log.name)
        values: list[float] = []
        if state == "interrupted" and job.number in self.pruned:
            state, reason = "pruned", self.pruned[job.number]
            if job.folder is not None:
                note(job.folder, pruned=reason)
        elif state == "interrupted" and reason != STOPPED:
            state = "failed"
        elif state == "finished":
            for epoch, value in self._untold(job, trial):  # since the last look: later trials are held against them
                trial.report(value, step=epoch)
            try:
                values, intervals = outcome(job, self.aim.config.objectives)
                trial.set_user_attr(INTERVALS, intervals)
            except UserError as error:
                state, reason = "failed", str(error)
        if reason:
            trial.set_user_attr(REASON, reason)
        trial.set_user_attr(SECONDS, round(job.seconds or 0.0, 1))
        if state == "interrupted":
            study.give_back(self.study, trial._trial_id)
        else:
            self.study.tell(trial, values or None, state=_STATES[state])
        self.refresh()
        super().close(job, state, reason)

    def write(self) -> None:
        """Write the record, whole and atomically; of two searches on one storage the later one has seen more."""
        with self._alone():
            record.write(self.path, self.aim, self.study, self.typed, self.importance)

    def sentence(self) -> str | None:
        """Return what is left undone, in one sentence, or None."""
        failed = [str(trial.number) for trial in self.seen if trial.state == TrialState.FAIL]
        if len(failed) == len(self.seen):
            return f"all {len(failed)} trials failed; {self.path} tells why"
        return None

    def summary(self) -> str:
        """Return how many trials ended how, for a person."""
        counts = [f"{self.count(state)} {state}" for state in _STATES if self.count(state)]
        seconds = sum(float(trial.user_attrs.get(SECONDS) or 0.0) for trial in self.seen)
        return f"{', '.join(counts) or 'no trial yet'}; {duration(seconds)} in all"


_STATES: dict[State, TrialState] = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class _Trials(Queue):
    """The trials that are left, as jobs that wait."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search

    def waiting(self) -> Sized:
        return range(self.search.left)

    def next(self) -> Job | None:
        return self.search.next_job() if self.search.left else None

    def looked(self, child: Child) -> None:
        self.search.looked(child)
        self.search.refresh()


def outcome(job: Job, objectives: Sequence[str]) -> tuple[list[float], list[list[float] | None]]:
    """Return the value of each objective of a finished trial, and its interval where the run has one.

    Figures are those of the validation set; seconds are those of training, as ``metrics.csv`` counts them.
    """
    run = None if job.folder is None else read_or_none(job.folder)
    if run is None or job.folder is None:
        raise UserError("it left no run folder that can be read")
    values: list[float] = []
    intervals: list[list[float] | None] = []
    for name in objectives:
        if name == "seconds":
            told = curve(job.folder, "seconds")
            value: float | None = told[-1][1] if told else None
        else:
            value = figure(run.record, "validation", name)
        if value is None:
            raise UserError(f"its run has no {name} of the validation set" if name != "seconds" else "it did not train")
        values.append(value)
        intervals.append(None if name == "seconds" else _interval(run.record, name))
    return values, intervals


def _interval(record: Any, name: str) -> list[float] | None:
    ends = [record["metrics"]["validation"][name].get(end) for end in ("low", "high")]
    known = all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends)
    return [float(end) for end in ends] if known else None


def curve(folder: Path, column: str) -> list[tuple[int, float]]:
    """Return (epoch from 1, value) of a column of ``metrics.csv``; rows without it are left out."""
    found = []
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                try:
                    epoch, value = int(row["epoch"]) + 1, float(row[column])
                except (KeyError, TypeError, ValueError):
                    continue
                if math.isfinite(value) and epoch > 0:
                    found.append((epoch, value))
    except (OSError, csv.Error, UnicodeDecodeError):
        pass  # not there yet, or being written: the next look reads it
    return found
