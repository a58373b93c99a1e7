"""A search as a person gives it: what is tried, what is told, and how it goes on after whatever ended it."""

import json
import os
import shutil
import signal
import time

import optuna
import psutil
import pytest
import yaml
from optuna.trial import TrialState

from sgexp.composition import Composer
from sgexp.runs import config_hash
from sgexp.schema import plain
from sgexp.search.samplers import trial_seed

from ..commands import end, wait_for
from .conftest import SCORED_JOBS

optuna.logging.set_verbosity(optuna.logging.ERROR)
DISTRIBUTIONS = {
    "optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
    "model.width": optuna.distributions.IntDistribution(8, 32, step=8),
}


def study_of(searches):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(searches.folder / "study.journal"))
    )
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def params(searches):
    return [trial["params"] for trial in searches.trials()]


def test_trials_are_those_that_optuna_itself_proposes(searched):
    searches, _ = searched
    found = study_of(searches).trials
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 6
    own = optuna.create_study(direction="maximize")
    for trial in found:
        own.sampler = optuna.samplers.TPESampler(n_startup_trials=3, seed=trial_seed(1, trial.number))
        asked = own.ask(DISTRIBUTIONS)
        assert asked.params == trial.params
        own.tell(asked, trial.value)
    assert own.best_trial.number == study_of(searches).best_trial.number


def test_a_trial_is_judged_by_validation_and_not_by_test(searched):
    searches, ended = searched
    by_number = {trial["number"]: trial for trial in searches.trials()}
    (best,) = searches.record["best"]
    figures = [json.loads((searches.cwd / "outputs" / "train" / trial["run"] / "result.json").read_text())["metrics"]
               for trial in by_number.values()]  # fmt: skip
    validation = [told["validation"]["macro_f1"]["value"] for told in figures]
    test = [told["test_family"]["macro_f1"]["value"] for told in figures]
    assert [trial["values"] for trial in by_number.values()] == [[value] for value in validation]
    assert validation[best] == max(validation) and test[best] == min(test)
    value = by_number[best]["values"][0]
    assert f"{value:.3f} [{value - 0.1:.2f}, {value + 0.1:.2f}]" in ended.out


def test_the_best_trial_is_an_experiment_file_that_composes_to_the_same_run(searched):
    searches, ended = searched
    (best,) = searches.record["best"]
    path = searches.folder / "conf" / "experiment" / "best_trial.yaml"
    run = searches.cwd / "outputs" / "train" / searches.trials()[best]["run"]
    asked = yaml.safe_load((run / "config.yaml").read_text())
    content = yaml.safe_load(path.read_text())
    assert content["optimizer"]["lr"] == asked["optimizer"]["lr"]
    assert {"override /task": "scored"} in content["defaults"]
    assert config_hash(asked) in run.name
    assert "experiment=best_trial" in ended.out and "does not say all" not in ended.out


def test_the_same_line_again_runs_nothing_and_more_trials_go_on(searched, searches):
    shutil.copytree(searched[0].cwd, searches.cwd, dirs_exist_ok=True)
    before = params(searches)
    again = searches.run("search.trials=6", "search.startup=3")
    assert again.code == 0 and "6 finished before; 0 to run" in again.out
    assert len(searches.runs()) == 6
    more = searches.run("search.trials=7", "search.startup=3", "search.storage=journal")
    assert more.code == 0, more.err
    assert params(searches)[:6] == before and len(params(searches)) == 7


def test_an_interrupted_search_loses_nothing_and_proposes_what_it_would_have(searched, searches):
    go_on = searches.cwd / "go_on"  # so that the second trial is not at its end before it is interrupted
    words = ("search.trials=6", "search.startup=3", f"task.waits_for={go_on}", "task.waits_from=2")
    process = searches.start(*words)
    wait_for(lambda: len(searches.runs()) == 2 and (searches.runs()[1] / "metrics.csv").is_file(), process)
    os.killpg(process.pid, signal.SIGINT)
    ended = end(process)
    assert ended.code == 130
    assert "interrupted: 1 finished" in ended.sentence and "go on with: python -m sgexp -m " in ended.sentence
    assert [trial["state"] for trial in searches.trials()] == ["finished", "waiting"]
    go_on.touch()
    again = searches.run(*words)
    assert again.code == 0, again.out + again.err
    assert "1 interrupted before, goes on: 1" in again.out
    assert len(searches.runs()) == 6
    log = (searches.folder / "logs" / searches.trials()[1]["log"]).read_text()
    assert "resume=" in log
    assert params(searches) == params(searched[0])[:6]


def test_naively_seeded_a_search_that_goes_on_repeats_itself():
    def start(study, seed):
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        for _ in range(3):
            study.tell(study.ask(DISTRIBUTIONS), 0.0)

    study = optuna.create_study()
    start(study, 1)
    start(study, 1)
    assert [trial.params for trial in study.trials[:3]] == [trial.params for trial in study.trials[3:]]
    assert len({trial_seed(1, number) for number in range(1000)}) == 1000


def test_a_killed_search_gives_its_running_trials_back(searches):
    go_on = searches.cwd / "go_on"
    words = ("search.trials=2", "trainer.epochs=40", f"task.waits_for={go_on}", "search.storage=sqlite")
    process = searches.start(*words, "launcher.jobs=2")
    wait_for(lambda: len(list(searches.cwd.glob("outputs/train/*/metrics.csv"))) == 2, process)
    wait_for(lambda: all(trial["state"] == "running" for trial in searches.trials()), process)
    pids = [record["pid"] for record in searches.results()]
    os.kill(process.pid, signal.SIGKILL)
    end(process)
    until = time.monotonic() + 120  # were they told to go on before they notice, they would be at their end
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert [record["status"] for record in searches.results()] == ["interrupted"] * 2
    go_on.touch()
    again = searches.run(*words, "launcher.jobs=2")
    assert again.code == 0, again.out + again.err
    assert "2 interrupted before, go on: 0, 1" in again.out
    assert [record["status"] for record in searches.results()] == ["finished"] * 2
    assert [len((run / "metrics.csv").read_text().splitlines()) for run in searches.runs()] == [41, 41]


def test_two_searches_on_one_storage_share_the_trials(searches):
    go_on = searches.cwd / "go_on"  # so that neither runs all trials before the other begins
    words = ("search.trials=6", f"task.waits_for={go_on}", "search.sampler=random")
    first, second = searches.start(*words), searches.start(*words)
    for each in (first, second):
        wait_for(lambda: len(list(searches.cwd.glob("outputs/train/*/metrics.csv"))) == 2, each)
    go_on.touch()
    ended = [end(first), end(second)]
    assert [item.code for item in ended] == [0, 0], ended
    assert [trial["state"] for trial in searches.trials()] == ["finished"] * 6
    assert len({json.dumps(item) for item in params(searches)}) == 6 == len(searches.runs())
    pids = {trial.user_attrs["sgexp:worker"]["pid"] for trial in study_of(searches).trials}
    assert pids == {first.pid, second.pid}


def test_a_failed_job_is_a_failed_trial_and_the_others_go_on(searches):
    ended = searches.run("search.trials=4", "search.startup=2", "task.fails_above=8.3e-3", "model.width=16",
                         space=("optimizer.lr=tag(log,interval(1e-4,1e-1))",))  # fmt: skip
    assert ended.code == 0, ended.err
    states = [trial["state"] for trial in searches.trials()]
    assert set(states) == {"finished", "failed"} and len(states) == 4
    failed = searches.trials()[states.index("failed")]
    assert "the learning rate [red]is too high" in failed["reason"]
    assert "the learning rate [red]is too high" in ended.out and "Traceback" not in ended.out + ended.err


def test_pruned_runs_say_so_and_end_early(searches):
    never = f"task.waits_for={searches.cwd / 'never'}"  # no trial but the first, the best, comes to an end by itself
    words = ("search.trials=5", "search.pruner=median", "search.pruner_startup=1", "search.pruner_epochs=2",
             "search.sampler=grid", "search.seed=4", "trainer.epochs=40", "task.waits_from=2", never)  # fmt: skip
    ended = searches.run(*words, space=("optimizer.lr=1e-2,1e-3,1e-5,1e-6,1e-7",))
    assert ended.code == 0, ended.out + ended.err
    pruned = [trial for trial in searches.trials() if trial["state"] == "pruned"]
    assert searches.trials()[0]["params"] == {"optimizer.lr": "0.01"} and searches.trials()[0]["state"] == "finished"
    assert len(pruned) == 4 and "pruned after" in ended.out
    assert len(searches.trials()[0]["curve"]) == 40, "epochs between the last look and the end are known to the pruner"
    for trial in pruned:
        folder = searches.cwd / "outputs" / "train" / trial["run"]
        record = json.loads((folder / "result.json").read_text())
        assert record["status"] == "interrupted"
        assert record["pruned"] == trial["reason"]
        assert "by the median pruner after epoch" in record["pruned"] and "validation macro_f1" in record["pruned"]
        assert len((folder / "metrics.csv").read_text().splitlines()) < 41
        assert trial["curve"][0] == [1, pytest.approx(trial["curve"][1][1] / 2)]
    states = {trial.number: trial.state for trial in study_of(searches).trials}
    assert {states[trial["number"]] for trial in pruned} == {TrialState.PRUNED}


def test_several_objectives_leave_what_none_beats(searches):
    ended = searches.run("search.trials=6", "search.sampler=nsgaii", "search.startup=3",
                         "search.objectives=[macro_f1,seconds]")  # fmt: skip
    assert ended.code == 0, ended.err
    trials = {trial["number"]: trial["values"] for trial in searches.trials()}
    widths = {trial["number"]: int(trial["params"]["model.width"]) for trial in searches.trials()}
    assert all(values[1] == 2.0 * widths[number] for number, values in trials.items())  # of the last epoch
    front = {
        number
        for number, (score, seconds) in trials.items()
        if not any(a >= score and b <= seconds and (a, b) != (score, seconds) for a, b in trials.values())
    }
    assert set(searches.record["best"]) == front
    names = (
        [f"best_trial-{place}.yaml" for place in range(1, len(front) + 1)] if len(front) > 1 else ["best_trial.yaml"]
    )
    assert sorted(path.name for path in (searches.folder / "conf" / "experiment").iterdir()) == names


def test_a_grid_is_run_once_and_the_same_choices_are_not_run_twice(searches):
    ended = searches.run("search.trials=50", "search.sampler=grid", space=("model.width=8,16", "optimizer.lr=0.1,0.01"))
    assert ended.code == 0, ended.err
    assert len(searches.trials()) == 4 == len({json.dumps(item) for item in params(searches)})
    again = searches.run("search.trials=6", "search.sampler=random", space=("model.width=8,16",))
    assert again.code == 0 and len(searches.runs()) == 6  # two of the six trials differ


@pytest.mark.parametrize(
    ("words", "space", "said"),
    [
        ([], (), "nothing to search"),
        ([], ("optimizer.lr=interval(1,0)",), "cannot be searched"),
        ([], ("optimizer.lrr=interval(0,1)",), "did you mean 'optimizer.lr'"),
        ([], ("model.width=range(1,9)",), "model.width=1"),
        ([], ("seed=1,2",), "a seed is not searched"),
        ([], ("split=nested,material",), "judge trials on different data"),
        ([], ("optimizer.lr=tag(x,interval(0,1))",), "tag 'x' means nothing"),
        (["search.objectives=[test_family]"], None, "'test_family' is none of macro_f1"),
        (["search.objectives=[macro_f1,seconds]", "search.pruner=median"], None, "needs one figure"),
        (["search.sampler=grid"], None, "grid cannot list optimizer.lr"),
        (["search.storage=somewhere"], None, "search.storage must be journal, sqlite"),
        (["search.storage=mysql://user:secret@nowhere/db"], None, "cannot be opened"),
        (["hydra/launcher=basic"], None, "leave hydra/launcher=process as it is"),
        (["task=train", "split.validation=0", "callbacks.patience=0"], None, "needs a validation set"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(words, space, said, tmp_path, monkeypatch, capsys):
    from sgexp.__main__ import main

    monkeypatch.chdir(tmp_path)
    given = ("optimizer.lr=interval(0.1,0.2)",) if space is None else space
    assert main(["-m", "hydra/sweeper=optuna", *given, *words]) == 2
    sentence = capsys.readouterr().err
    assert said in sentence and "Traceback" not in sentence and "secret" not in sentence


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch, capsys):
    from sgexp.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert main(["-m", "hydra/sweeper=optuna", "optimizer.lr=interval(0.1,0.2)"]) == 2
    assert "pip install 'sgexp[search]'" in capsys.readouterr().err


def test_hydra_scans_the_sweeper_without_importing_optuna():
    import subprocess
    import sys

    code = (
        "import sys; from sgexp.composition import Composer; Composer().compose(['hydra/sweeper=optuna']); "
        "from hydra.core.plugins import Plugins; Plugins.instance(); "
        "assert 'hydra_plugins.sgexp_optuna_sweeper.sweeper' in sys.modules; assert 'optuna' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_knobs_of_the_search_name_no_other_experiment():
    composer = Composer(SCORED_JOBS / "conf")
    assert config_hash(plain(composer.check(["search.trials=7"]))) == config_hash(plain(composer.check([])))
