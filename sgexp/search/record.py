"""``search.json``: what a search is and what its trials came to, for tables and pages that know no Optuna."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgexp.errors import UserError
from sgexp.runs import write_json

if TYPE_CHECKING:
    import optuna

    from sgexp.search.study import Plan

NAME = "search.json"
MOST_BYTES = 64_000_000  # a trial takes some hundred bytes


@dataclass(frozen=True)
class Trial:
    """One trial: its number, how it ended, the value of each objective with its interval, its parameters as typed."""

    number: int
    state: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    params: dict[str, str]
    run: str | None
    reason: str
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()  # (epoch, figure of validation) that the pruner was told


@dataclass(frozen=True)
class Record:
    """What ``search.json`` says."""

    id: str
    command: str
    objectives: tuple[tuple[str, str], ...]  # (name, maximize or minimize)
    sampler: str
    pruner: str
    asked: int
    space: dict[str, str]
    fixed: tuple[str, ...]
    trials: tuple[Trial, ...]
    best: tuple[int, ...]
    importance: tuple[dict[str, float], ...] = field(default=())

    @property
    def finished(self) -> list[Trial]:
        """The trials that have values."""
        return [trial for trial in self.trials if trial.state == "finished"]

    def ranked(self) -> list[Trial]:
        """Return the finished trials: the best ones, then the others by the first objective."""
        sign = -1 if self.objectives[0][1] == "maximize" else 1
        others = sorted(self.finished, key=lambda trial: (sign * trial.values[0], trial.number))
        order = {number: place for place, number in enumerate(self.best)}
        return sorted(others, key=lambda trial: order.get(trial.number, len(order)))


def write(path: Path, plan: Plan, study: optuna.Study, command: str, importance: Sequence[Mapping[str, float]]) -> None:
    """Write what the storage holds, whole and atomically."""
    from sgexp.search.study import best

    config = plan.config
    facts = {
        "search": plan.id,
        "study": study.study_name,
        "command": command,
        "objectives": [list(pair) for pair in zip(config.objectives, plan.directions, strict=True)],
        "sampler": config.sampler,
        "pruner": config.pruner,
        "seed": config.seed,
        "trials_asked": plan.trials,
        "space": plan.space.texts,
        "fixed": plan.fixed,
        "trials": [_trial(trial, plan) for trial in study.get_trials(deepcopy=False)],
        "best": [trial.number for trial in best(study)],
        "importance": [dict(item) for item in importance],
    }
    write_json(path, facts)


def _trial(trial: optuna.trial.FrozenTrial, plan: Plan) -> dict[str, Any]:
    from sgexp.search.space import text_of
    from sgexp.search.study import INTERVALS, LOG, REASON, RUN, SAME, SECONDS

    state = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    told = trial.user_attrs
    ended = state.get(trial.state.name, "waiting")
    return {
        "number": trial.number,
        "state": ended,
        "values": list(trial.values) if ended == "finished" and trial.values else None,
        "intervals": told.get(INTERVALS),
        "params": {name: text_of(value) for name, value in trial.params.items()},
        "run": told.get(RUN),
        "log": told.get(LOG),
        "reason": told.get(REASON),
        "seconds": told.get(SECONDS),
        "same_as": told.get(SAME),
        "curve": [[step, value] for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)],
    }


def read(path: Path) -> Record:
    """Read a record that may come from anywhere; what is wrong with it is told in a UserError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large to be the record of a search")
        told = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(_read_trial(item) for item in told["trials"])
        made = Record(
            id=str(told["search"])[:64],
            command=str(told["command"])[:4000],
            objectives=tuple((str(name)[:64], str(way)) for name, way in told["objectives"]),
            sampler=str(told["sampler"])[:64],
            pruner=str(told["pruner"])[:64],
            asked=int(told["trials_asked"]),
            space={str(name)[:200]: str(text)[:500] for name, text in told["space"].items()},
            fixed=tuple(str(text)[:500] for text in told["fixed"]),
            trials=trials,
            best=tuple(int(number) for number in told["best"]),
            importance=tuple(
                {str(name)[:200]: _number(share) for name, share in item.items()} for item in told["importance"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} cannot be read as the record of a search ({type(error).__name__})") from None
    ways = {way for _, way in made.objectives}
    named = all(name.isidentifier() for name, _ in made.objectives)
    whole = made.objectives and named and ways <= {"maximize", "minimize"}
    if not whole or any(len(trial.values) != len(made.objectives) for trial in made.finished):
        raise UserError(f"{path} cannot be read as the record of a search (objectives and values do not fit)")
    return made


def _read_trial(item: Mapping[str, Any]) -> Trial:
    values = tuple(_number(value) for value in item["values"] or ())
    intervals = item["intervals"] or [None] * len(values)
    run = item["run"]
    return Trial(
        number=int(item["number"]),
        state=str(item["state"])[:20],
        values=values,
        intervals=tuple(None if ends is None else (_number(ends[0]), _number(ends[1])) for ends in intervals),
        params={str(name)[:200]: str(text)[:500] for name, text in item["params"].items()},
        run=None if run is None else str(run)[:300],
        reason=str(item["reason"] or "")[:1000],
        seconds=_number(item["seconds"] or 0.0),
        curve=tuple((int(step), _number(value)) for step, value in item["curve"]),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)
