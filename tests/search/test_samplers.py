"""Samplers: each proposes what Optuna's own does, and a storage from a stranger runs nothing."""

import pickle

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sgexp.errors import ConfigError, DataError
from sgexp.search.samplers import SafeCmaEsSampler, SeededSampler, trial_seed
from sgexp.search.schema import SearchConfig
from sgexp.search.space import read_space

optuna.logging.set_verbosity(optuna.logging.ERROR)


def space(*words):
    return read_space(OverridesParser.create().parse_overrides(list(words)))


SPACE = space("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=interval(0,0.5)")


def value(trial):
    return -((trial.params["optimizer.lr"] - 0.01) ** 2) - trial.params["model.dropout"]


def run(sampler, count, study=None):
    study = study or optuna.create_study(direction="maximize")
    for _ in range(count):
        study.sampler = sampler() if callable(sampler) else sampler
        trial = study.ask(SPACE.distributions)
        study.tell(trial, value(trial))
    return study


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii", "cmaes"])
def test_a_sampler_proposes_what_optunas_does_and_the_same_when_it_goes_on(name):
    config = SearchConfig(sampler=name, startup=4)
    ours = run(SeededSampler(config, SPACE), 12)
    halves = run(SeededSampler(config, SPACE), 5)
    run(SeededSampler(config, SPACE), 7, halves)
    number = iter(range(12))
    own = {
        "tpe": lambda seed: optuna.samplers.TPESampler(n_startup_trials=4, seed=seed),
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "nsgaii": lambda seed: optuna.samplers.NSGAIISampler(population_size=4, seed=seed),
        "cmaes": lambda seed: optuna.samplers.CmaEsSampler(
            n_startup_trials=4, seed=seed, independent_sampler=optuna.samplers.RandomSampler(seed=seed)
        ),
    }[name]
    theirs = run(lambda: own(trial_seed(1, next(number))), 12)
    assert [trial.params for trial in ours.trials] == [trial.params for trial in theirs.trials]
    assert [trial.params for trial in ours.trials] == [trial.params for trial in halves.trials]


class Harm:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


def test_a_pickle_in_a_strangers_storage_is_refused():
    study = optuna.create_study(sampler=SafeCmaEsSampler(n_startup_trials=1, seed=1))
    trial = study.ask(SPACE.distributions)
    text = pickle.dumps(Harm()).hex()
    study._storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", text)
    study.tell(trial, 1.0)
    with pytest.raises(DataError, match=r"holds builtins\.exec"):
        study.ask(SPACE.distributions)
    naive = optuna.load_study(study_name=study.study_name, storage=study._storage,
                              sampler=optuna.samplers.CmaEsSampler(n_startup_trials=1, seed=1))  # fmt: skip
    with pytest.raises(SystemExit, match="run"):  # what Optuna's own does
        naive.ask(SPACE.distributions)


@pytest.mark.parametrize(
    ("word", "listed"),
    [
        ("model.width=range(8,33,8)", [8, 16, 24, 32]),
        ("model.width=range(8,32,8)", [8, 16, 24]),  # Hydra's ranges leave their end out
        ("model.dropout=range(0,0.3,0.1)", pytest.approx([0.0, 0.1, 0.2])),
        ("model.width=int(interval(4,6))", [4, 5, 6]),
        ("sampler=choice(none,smote)", ["none", "smote"]),
        ("+sampler.table=choice({14:5},{2:9})", ["{14:5}", "{2:9}"]),
    ],
)
def test_hydras_sweeps_are_read_as_hydra_means_them(word, listed):
    found = space(word)
    (values,) = found.grid().values()
    assert values == listed
    (name,) = found.texts
    assert found.overrides({name: values[0]}) == [f"{word.partition('=')[0]}={values[0]}"]


def test_a_real_interval_has_no_grid():
    with pytest.raises(ConfigError, match=r"cannot list optimizer\.lr"):
        SPACE.grid()
