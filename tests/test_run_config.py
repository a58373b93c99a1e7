"""The rule of run=: the run's config is the base, data and judging may be named anew, the network may not."""

from dataclasses import replace

import pytest
import yaml

from sgexp.composition import Composer
from sgexp.errors import ConfigError
from sgexp.run_config import read_run_config, resumed, settled
from sgexp.runs import ADDED_LATER, config_hash
from sgexp.schema import plain


@pytest.fixture(scope="module")
def composer():
    return Composer()


@pytest.fixture(scope="module")
def trained(composer):
    """The config of a tiny training on another machine, as runs write it."""
    machine = ("data_dir=/elsewhere/data", "output_dir=/elsewhere/out", "trainer=ddp")
    return yaml.safe_dump(plain(composer.check(["size=tiny", "model.width=8", "seed=7", *machine])), sort_keys=False)


@pytest.fixture
def run(trained, tmp_path):
    """A run folder with that config."""
    write(tmp_path, trained)
    return tmp_path


@pytest.fixture(scope="module")
def plainly_asked(composer):
    """What ``task=evaluate run=DIR`` composes (composing takes most of a second)."""
    return composer.check(["task=evaluate", "run=DIR"])


def write(folder, values):
    (folder / "config.yaml").write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False))


def settle(composer, run, *words, task="evaluate"):
    overrides = [f"task={task}", f"run={run}", *words]
    return settled(composer.check(overrides), overrides)


def test_without_words_it_is_the_runs_config_on_this_machine(composer, run):
    config = settle(composer, run, "data_dir=here", "output_dir=out")
    assert (config.seed, config.model.width, config.size.materials, config.transform.pixels) == (7, 8, 60, 32)
    assert config.dataset.root == "here/crystals" and config.dataset.materials == 60
    assert config.data_dir == "here" and config.output_dir == "out" and config.run == str(run)
    assert config.trainer.devices == 1 and config.trainer.accelerator == "auto"


def test_naming_data_takes_dataset_size_and_simulation_from_the_command_line(composer, run):
    config = settle(composer, run, "size=small")
    assert (config.size.materials, config.dataset.materials, config.simulation.pixels) == (600, 600, 64)
    assert config.transform.pixels == 32 and config.model.width == 8  # the network's own
    config = settle(composer, run, "dataset=smc19", "dataset.root=/data")
    assert config.dataset.root == "/data" and config.name == "default-on-smc19"
    config = settle(composer, run, "dataset.seed=2")
    assert config.dataset.seed == 2 and config.dataset.materials == config.size.materials


def test_where_data_lie_may_be_said_alone(composer, run):
    config = settle(composer, run, "dataset.root=/data/crystals", "dataset.max_bad_fraction=0.5")
    assert config.dataset.root == "/data/crystals" and config.dataset.max_bad_fraction == 0.5
    assert config.dataset.materials == 60 and config.name == "default"


def test_split_evaluation_and_devices_may_be_named(composer, run):
    config = settle(
        composer, run, "split=material", "evaluation.resamples=200", "trainer=cpu", "trainer.eval_batch_size=7"
    )
    assert type(config.split).__name__ == "MaterialSplit" and config.evaluation.resamples == 200
    assert config.trainer.accelerator == "cpu" and config.trainer.eval_batch_size == 7 and config.size.materials == 60


@pytest.mark.parametrize(
    "word", ["model=resnet18", "seed=3", "transform=power", "experiment=quick", "trainer.epochs=3", "trainer=debug"]
)
def test_what_is_the_runs_is_refused_by_name(plainly_asked, run, word):
    with pytest.raises(ConfigError, match="cannot be said beside run=") as caught:
        settled(replace(plainly_asked, run=str(run)), ["task=evaluate", f"run={run}", word])
    assert word in str(caught.value)


def test_predict_reads_no_data_set(composer, run):
    with pytest.raises(ConfigError, match="not read by task=predict"):
        settle(composer, run, "input=x.npy", "dataset.root=/data", task="predict")
    assert settle(composer, run, "input=x.npy", task="predict").input == "x.npy"


def test_tasks_that_know_no_run_refuse_one(composer, run):
    with pytest.raises(ConfigError, match="run= is read by task=evaluate"):
        settle(composer, run, task="train")
    with pytest.raises(ConfigError, match="input= is read by task=predict"):
        settle(composer, run, "input=x.npy")
    overrides = ["task=evaluate"]
    with pytest.raises(ConfigError, match="needs the folder of a trained run"):
        settled(composer.check(overrides), overrides)


def test_data_coarser_than_the_network_reads_are_refused(composer, run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["transform"]["pixels"] = 64
    values["simulation"] |= {"pixels": 64, "grid": 128}
    write(run, values)
    with pytest.raises(ConfigError, match=r"reads patterns of 64 pixels, and simulation.pixels=32 cannot"):
        settle(composer, run, "size=tiny", "dataset.seed=2")


def test_groups_that_an_older_run_did_not_have_come_from_the_command_line(composer, run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    for group in ("logger", "report", "launcher", "callbacks", "evaluation"):
        values.pop(group, None)
    write(run, values)
    assert settle(composer, run).evaluation.resamples == 1000


@pytest.fixture
def old(run):
    """The run folder of a run that is older than stages, mixing and the search."""
    values = yaml.safe_load((run / "config.yaml").read_text())
    assert set(ADDED_LATER) <= values.keys()
    write(run, {key: value for key, value in values.items() if key not in ADDED_LATER})
    return run


@pytest.mark.parametrize("task", ["resume", "evaluate", "predict"])
def test_what_came_after_a_run_is_what_the_run_did_without_it(task, composer, old):
    beside = {"resume": None, "evaluate": ["mixing=mixup"], "predict": ["input=x.npy", "stage=crt"]}[task]
    if beside is None:
        config = resumed(str(old))
    else:
        with pytest.raises(ConfigError, match="cannot be said beside run="):
            settle(composer, old, *beside, task=task)
        config = settle(composer, old, *(word for word in beside if word.startswith("input")), task=task)
    assert {group: plain(config)[group] for group in ("stage", "mixing")} == {
        group: ADDED_LATER[group] for group in ("stage", "mixing")
    }
    assert plain(config)["search"]["trials"] == 20  # the defaults: a run knows nothing of the search it was part of


def test_what_came_after_a_run_does_not_rename_its_experiment(composer, old):
    before = yaml.safe_load((old / "config.yaml").read_text())
    assert not set(ADDED_LATER) & before.keys()
    words = ("size=tiny", "model.width=8", "seed=7")
    asked = plain(composer.check([*words, "trainer=ddp"]))
    assert {config_hash(config) for config in (before, plain(resumed(str(old))), asked)} == {config_hash(before)}
    others = [plain(composer.check([*words, word])) for word in ("stage=crt", "mixing=mixup", "auxiliary=cell")]
    assert len({config_hash(config) for config in (before, *others)}) == 4


@pytest.mark.parametrize("dataset", ["crystals", "stream"])
def test_a_run_that_names_no_edition_of_the_library_keeps_the_first_and_its_hash(composer, tmp_path, dataset):
    words = ("size=tiny", f"dataset={dataset}")
    before = plain(composer.check([*words, "dataset.library=1"]))
    del before["dataset"]["library"], before["dataset"]["jitter"]
    write(tmp_path, before)
    config = resumed(str(tmp_path))
    assert (config.dataset.library, config.dataset.jitter) == (1, 0.0)
    asked = [plain(composer.check([*words, f"dataset.library={edition}"])) for edition in (1, 2)]
    assert config_hash(before) == config_hash(plain(config)) == config_hash(asked[0]) != config_hash(asked[1])


def set_key(text, key, value):
    values = yaml.safe_load(text)
    values[key] = value
    return yaml.safe_dump(values)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: set_key(text, "model", {"_target_": "os.system", "command": "x"}), "model._target_='os.system'"),
        (lambda text: set_key(text, "transform", {"_target_": "builtins.eval"}), "builtins.eval"),
        (lambda text: set_key(text, "_target_", "os.system"), "_target_ is refused"),
        (lambda text: set_key(text, "seed", "${oc.env:HOME}"), "is refused"),
        (lambda text: set_key(text, "trainer", [1]), "trainer"),
        (lambda text: set_key(text, "dataset", "x"), "dataset"),
        (lambda text: set_key(text, "models", 1), "did you mean 'model'"),
        (lambda text: set_key(text, "name", "../../etc"), "name"),
        (lambda text: "!!python/object/apply:os.system ['x']", "cannot be read"),
        (lambda text: BOMB, "aliases"),
        (lambda text: "[" * 100_000, "cannot be read"),
        (lambda text: text + "#" * 2_000_000, "too large"),
        (lambda text: "just words", "is no run's config"),
    ],
)
def test_a_config_from_a_stranger_runs_nothing_and_fills_no_memory(plainly_asked, run, change, words):
    write(run, change((run / "config.yaml").read_text()))
    with pytest.raises(ConfigError) as caught:
        settled(replace(plainly_asked, run=str(run)), ["task=evaluate", f"run={run}"])
    assert words in str(caught.value) and str(run) in str(caught.value)


def test_a_folder_without_config_is_no_run_folder(tmp_path):
    with pytest.raises(ConfigError, match="is no run folder"):
        read_run_config(str(tmp_path), "run")
