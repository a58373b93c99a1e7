"""What a search is, and its study in Optuna's storage: opened, counted, and rid of trials that nobody runs any more."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sgexp.errors import ConfigError
from sgexp.runs import alive
from sgexp.search.samplers import SeededSampler, pruner_of
from sgexp.search.schema import OBJECTIVES, SearchConfig
from sgexp.search.space import Space

_NOT_ITS_NAME = ("trials", "storage")  # said anew, it is the same search, which goes on
WORKER, RUN, KEY, LOG, REASON, SECONDS, INTERVALS, SAME = (
    *("sgexp:worker", "sgexp:run", "sgexp:key", "sgexp:log"),
    *("sgexp:reason", "sgexp:seconds", "sgexp:intervals", "sgexp:same_as"),
)
"""What is noted of a trial in the storage, as Optuna's user attributes."""

STORAGE_ERRORS: tuple[type[Exception], ...] = (optuna.exceptions.OptunaError, SQLAlchemyError)
"""What a storage raises that cannot be reached or read."""

_NOT_OPENED: tuple[type[Exception], ...] = (ImportError, ValueError, OSError, *STORAGE_ERRORS)


@dataclass(frozen=True)
class Plan:
    """What is searched, and how; ``fixed`` are the overrides that all trials share."""

    config: SearchConfig
    space: Space
    fixed: list[str]
    base: str  # config hash of the fixed choices with the first value of each parameter

    @property
    def id(self) -> str:
        """Eight hex digits that name the search: its fixed choices, its space, and how it is searched."""
        how = {key: value for key, value in asdict(self.config).items() if key not in _NOT_ITS_NAME}
        text = json.dumps([self.base, self.space.texts, how], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def trials(self) -> int:
        """How many trials it has in all; a grid has no more than cells."""
        if self.config.sampler != "grid":
            return self.config.trials
        return min(self.config.trials, math.prod(len(values) for values in self.space.grid().values()))

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Which way each objective is better."""
        return ["minimize" if OBJECTIVES[name] == "minimize" else "maximize" for name in self.config.objectives]


def open_study(plan: Plan, folder: Path) -> optuna.Study:
    """Make or open the study of a search; its storage is a file in ``folder``, or a database elsewhere."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    try:
        return optuna.create_study(
            storage=_storage(plan.config.storage, folder),
            sampler=SeededSampler(plan.config, plan.space),
            pruner=pruner_of(plan.config),
            study_name=f"sgexp-{plan.id}",
            directions=plan.directions,
            load_if_exists=True,
        )
    except _NOT_OPENED as error:
        said = without_password(str(error).strip().partition("\n")[0])
        raise ConfigError(
            f"search.storage={without_password(plan.config.storage)} cannot be opened ({said or type(error).__name__})"
        ) from None


def _storage(text: str, folder: Path) -> BaseStorage:
    if text == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return get_storage(f"sqlite:///{folder / 'study.db'}" if text == "sqlite" else text)


def without_password(text: str) -> str:
    """Return a text without the passwords of URLs in it."""
    return re.sub(r"(://[^/@:\s]*):[^@\s]*@", r"\1:***@", text)


def count(trials: Sequence[FrozenTrial], *states: TrialState) -> int:
    """Return how many trials are in one of the states."""
    return sum(trial.state in states for trial in trials)


def give_back(study: optuna.Study, trial_id: int) -> None:
    """Let a trial that was interrupted wait for whoever asks next; it keeps its number and its values."""
    study._storage.set_trial_state_values(trial_id, TrialState.WAITING)


def take_back_abandoned(study: optuna.Study) -> list[int]:
    """Let trials wait whose process is gone, here or on another machine; return their numbers."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if not isinstance(worker, dict) or not _alive(worker):
            give_back(study, trial._trial_id)
            found.append(trial.number)
    return found


def _alive(worker: dict[str, Any]) -> bool:
    try:
        return alive(worker)
    except (TypeError, ValueError, OverflowError):  # the storage may hold anything
        return False


def best(study: optuna.Study) -> list[FrozenTrial]:
    """Return the best trial, or with several objectives those that none beats in all, best in the first one first."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not finished:
        return []
    if len(study.directions) == 1:
        return [study.best_trial]
    sign = 1 if study.directions[0] == optuna.study.StudyDirection.MINIMIZE else -1
    return sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))


def importance(study: optuna.Study) -> list[dict[str, float]]:
    """Return for each objective how much each parameter matters (shares of 1); empty where too few trials tell."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found: list[dict[str, float]] = []
    for index in range(len(study.directions)):
        if len(finished) < 4 or len({trial.values[index] for trial in finished}) < 2:
            found.append({})
            continue
        target = None if len(study.directions) == 1 else _value(index)
        try:
            told = optuna.importance.get_param_importances(study, target=target)
        except (RuntimeError, ValueError):  # such as one value of every parameter
            told = {}
        found.append({name: float(share) for name, share in told.items() if math.isfinite(share)})
    return found


def _value(index: int) -> Any:
    return lambda trial: trial.values[index]
