"""Optuna's samplers, drawn anew for each trial from the search's seed and the trial's number, and its pruners.

So a search that is interrupted and goes on proposes what it would have proposed, and two machines that share a storage
do not propose the same: with one seed for a whole process, both repeat the first proposals.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from sgexp.errors import DataError
from sgexp.search.schema import SearchConfig
from sgexp.search.space import Space


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial's proposal."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def plain_sampler(config: SearchConfig, space: Space, seed: int) -> BaseSampler:
    """Return Optuna's sampler of the config's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config.sampler:
            case "tpe":
                return TPESampler(n_startup_trials=config.startup, seed=seed)
            case "random":
                return RandomSampler(seed=seed)
            case "grid":
                return GridSampler(space.grid(), seed=config.seed)  # it numbers its cells by its seed
            case "cmaes":
                return SafeCmaEsSampler(
                    n_startup_trials=config.startup,
                    seed=seed,
                    independent_sampler=RandomSampler(seed=seed),
                    warn_independent_sampling=False,
                )
            case _:
                return NSGAIISampler(population_size=config.startup, seed=seed)


class SeededSampler(BaseSampler):
    """Hands each trial to a sampler of its own, which takes all that it knows from the storage."""

    def __init__(self, config: SearchConfig, space: Space) -> None:
        self.config, self.space = config, space
        self.inner = plain_sampler(config, space, config.seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin a trial with a seed of its own."""
        self.inner = plain_sampler(self.config, self.space, trial_seed(self.config.seed, trial.number))
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the sampler proposes jointly."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the joint part."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Propose one value."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Let the sampler note what it must; a grid that is used up only asks to stop, and the trials are counted."""
        if not isinstance(self.inner, GridSampler):
            self.inner.after_trial(study, trial, state, values)


class SafeCmaEsSampler(CmaEsSampler):
    """Optuna's CMA-ES; its state lies pickled in the storage, which may be a stranger's: only numbers are read."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            parts = {key: text for key, text in trial.system_attrs.items() if key.startswith(self._attr_key_optimizer)}
            if parts:
                return _NumbersOnly(io.BytesIO(bytes.fromhex(self._concat_optimizer_attrs(parts)))).load()
        return None


class _NumbersOnly(pickle.Unpickler):
    """Reads an optimizer of cmaes, which is made of NumPy's arrays and generators, and refuses anything else."""

    def find_class(self, module: str, name: str) -> Any:
        of_cmaes = module.split(".")[0] == "cmaes" and name in ("CMA", "SepCMA", "CMAwM")
        of_numpy = (module.split(".")[0] == "numpy") and name in _OF_NUMPY
        if not (of_cmaes or of_numpy):
            raise DataError(f"the search's storage holds {module}.{name}, which no sampler of sgexp wrote there")
        return super().find_class(module, name)


_OF_NUMPY = frozenset(
    {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer", "RandomState", "MT19937"}
    | {"__randomstate_ctor", "__bit_generator_ctor"}
)


def pruner_of(config: SearchConfig) -> BasePruner:
    """Return Optuna's pruner of the config's name; epochs count from 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config.pruner:
            case "median":
                return MedianPruner(n_startup_trials=config.pruner_startup, n_warmup_steps=config.pruner_epochs)
            case "hyperband":
                return HyperbandPruner(min_resource=config.pruner_epochs)
            case _:
                return NopPruner()
