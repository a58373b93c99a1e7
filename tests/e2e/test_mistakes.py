"""What a person types wrongly ends in one sentence that says what and where, exit code 2, and nothing on the disk."""

import subprocess
import sys

import pytest

from sgexp.__main__ import main
from sgexp.usage import CONF_DIR


def command(*arguments, cwd=None):
    """Run the command as a person does, from any folder."""
    return subprocess.run(
        [sys.executable, "-m", "sgexp", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


# (what is typed, what the sentence must hold)
MISTAKES = [
    (["samplr=smote"], ["'samplr'", "'sampler'"]),
    (["sampler=smot"], ["sampler=smot", "'smote'"]),
    (["trainer.epohcs=3"], ["'trainer.epohcs'", "'trainer.epochs'"]),
    (["++trainer.epohcs=3"], ["'trainer.epohcs'", "'trainer.epochs'"]),
    (["+trainer.epohcs=3"], ["'trainer.epohcs'", "'trainer.epochs'"]),
    (["epochs=3"], ["'epochs'", "'trainer.epochs'"]),
    (["+colour=blue"], ["'colour'"]),
    (["sampler=smote", "sampler.k_neighbours=3"], ["'sampler.k_neighbours'", "'sampler.k_neighbors'"]),
    (["sampler.k_neighbors=3"], ["'sampler.k_neighbors'"]),
    (["simulation/engine=multislce"], ["simulation/engine=multislce", "'multislice'"]),
    (["experiment=quik"], ["experiment=quik", "'quick'"]),
    (["trainer.epochs=0"], ["trainer.epochs=0", "between 1 and"]),
    (["trainer.epochs=ten"], ["trainer.epochs='ten'", "whole number"]),
    (["trainer.precision=b16"], ["trainer.precision='b16'", "'bf16'"]),
    (["seed=-1"], ["seed=-1"]),
    (["seed=1,2"], ["'seed=1,2'", "-m"]),
    (["seed"], ["'seed'", "key=value"]),
    (["seed=[1"], ["'seed=[1'"]),
    (["sampler="], ["sampler="]),
    (["sampler=null"], ["sampler=null"]),
    (["~sampler"], ["sampler"]),
    (["+seed=3"], ["seed=<value>"]),
    (["sampler@model=smote"], ["sampler@model"]),
    (["seed=${size.pixles}"], ["seed", "'size.pixels'"]),
    (["name=a/b"], ["name='a/b'"]),
    (["dataset=smc19"], ["dataset.root"]),
    (["--multrun"], ["--multrun", "'--multirun'"]),
    (["--cfg", "jbo"], ["jbo", "job"]),
    (["--config-dir", "no_such_folder"], ["no_such_folder"]),
    (["--config-name", "confg"], ["confg.yaml"]),
    (["-m", "sampler=none,smot"], ["job 2 of 2", "'smote'"]),
    (["-m", "seed=1,2", "trainer.epochs=3,0"], ["job 2 of 4", "trainer.epochs=0"]),
    (["-m", "sampler=glob(x*)"], ["sampler=glob(x*)"]),
    (["-m", "seed=interval(1,2)"], ["seed=interval(1,2)"]),
    (["hydra.mode=MULTIRUN"], ["-m"]),
    # choices that contradict one another, also when only one job of a sweep makes them
    (["size.grid=100"], ["simulation.grid=100", "size.grid to 126"]),
    (["size.train_pixels=256"], ["transform.pixels=256", "simulation.pixels=64"]),
    (["size.energies_per_material=11"], ["simulation.energies_per_material=11", "energies_kev lists 10"]),
    (["evaluation.few_to=10"], ["evaluation.few_to=10", "evaluation.many_from=10"]),
    (["sampler=smote", "sampler.balance=table"], ["sampler.balance=table", "+sampler.table={"]),
    (["sampler=random_under", "+sampler.table={231:5}"], ["group 231", "1 to 230"]),
    (["trainer.validate_every=50"], ["trainer.validate_every=50", "trainer.epochs=24"]),
    (["trainer=ddp", "trainer.batch_size=63"], ["trainer.batch_size=63", "multiple of 2"]),
    (["trainer=cpu", "trainer.precision=16"], ["trainer.precision=16", "GPU"]),
    (["split.validation=0.5", "split.test_family=0.5"], ["split.validation=0.5", "nothing to train on"]),
    (["split.validation=0", "callbacks.patience=3"], ["callbacks.patience=3", "split.validation=0"]),
    (["task=simulate", "task.source=cifs"], ["task.cifs=DIR"]),
    (["-m", "evaluation.few_to=3,10"], ["job 2 of 2", "evaluation.few_to=10"]),
    # what a stranger's line must not reach
    (["++sampler._target_=os.system"], ["sampler._target_", "refused"]),
    (["++sampler._partial_=true"], ["sampler._partial_", "refused"]),
    (["++model.extra={_target_:os.system}"], ["model.extra._target_", "refused"]),
    (["name=${oc.env:HOME}"], ["name=", "refused"]),
    (["+hydra.callbacks.x._target_=os.system"], ["hydra.callbacks", "refused"]),
    (["hydra.launcher._target_=os.system"], ["hydra.launcher._target_", "refused"]),
    (["hydra.searchpath=[pkg://this]"], ["hydra.searchpath", "refused"]),
    (["+hydra.job.env_set.A=1"], ["hydra.job.env_set", "refused"]),
    (["hydra.run.dir=${oc.env:HOME}"], ["hydra.run.dir", "refused"]),
]


@pytest.mark.parametrize(("typed", "held"), MISTAKES, ids=[" ".join(typed) for typed, _ in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(typed, held, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("sgexp: ") and told.err.count("\n") == 1
    assert "Traceback" not in told.err
    for part in held:
        assert part in told.err
    assert not list(tmp_path.iterdir())


# (file below the config folder, its text, what is typed, what the sentence must hold)
FILES = [
    ("experiment/own.yaml", "# @package _global_\nsede: 3\n", "experiment=own", ["'sede'", "'seed'"]),
    ("experiment/own.yaml", "# @package _global_\ntrainer:\n  epohcs: 3\n", "experiment=own", ["'trainer.epochs'"]),
    (
        "experiment/own.yaml",
        "# @package _global_\ntrainer:\n  epochs: many\n",
        "experiment=own",
        ["trainer.epochs='many'"],
    ),
    (
        "experiment/own.yaml",
        "# @package _global_\ndefaults:\n  - override /sampler: smot\n",
        "experiment=own",
        ["sampler=smot", "'smote'"],
    ),
    (
        "experiment/own.yaml",
        "# @package _global_\ndefaults:\n  - override /samplr: smote\n",
        "experiment=own",
        ["experiment/own.yaml", "'sampler'"],
    ),
    (
        "experiment/own.yaml",
        "# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: os.system\n",
        "experiment=own",
        ["hydra.callbacks", "refused"],
    ),
    (
        "experiment/own.yaml",
        "# @package _global_\nhydra:\n  job_logging:\n    handlers:\n      x:\n        (): os.system\n",
        "experiment=own",
        ["hydra.job_logging", "refused"],
    ),
    ("sampler/own.yaml", "_target_: os.system\ncommand: touch evil\n", "sampler=own", ["sampler._target_='os.system'"]),
    (
        "sampler/own.yaml",
        "_target_: sgexp.sampling.plain.Plain\nx:\n  _target_: os.system\n",
        "sampler=own",
        ["sampler.x._target_", "refused"],
    ),
    ("sampler/own.yaml", "a: [\nb: c: d\n", "sampler=own", ["own.yaml, line", "YAML"]),
    ("sampler/own.yaml", "- a\n- b\n", "sampler=own", ["sampler=['a', 'b']"]),
]


@pytest.mark.parametrize(("path", "text", "typed", "held"), FILES)
def test_a_mistake_in_a_file_is_told_in_one_sentence(path, text, typed, held, capsys, tmp_path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert main(["--config-dir", str(tmp_path), typed]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("sgexp: ") and told.err.count("\n") == 1
    for part in held:
        assert part in told.err


def test_a_primary_config_from_elsewhere_imports_no_package(capsys, tmp_path):
    (tmp_path / "own.yaml").write_text("defaults:\n  - config\nhydra:\n  searchpath:\n    - pkg://this\n")
    sys.modules.pop("this", None)
    assert main(["--config-dir", str(tmp_path), "--config-name", "own"]) == 2
    assert "hydra.searchpath" in capsys.readouterr().err
    assert "this" not in sys.modules


def test_the_command_itself_exits_with_2_and_leaves_nothing(tmp_path):
    ended = command("sampler=smot", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "'smote'" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_no_heavy_library_is_imported_before_the_config_is_right():
    script = (
        "import sys; from sgexp.__main__ import main; code = main(['trainer.epohcs=3'])\n"
        "print(code, sorted({'torch', 'pytorch_lightning', 'imblearn', 'sklearn'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert ended.stdout.strip() == "2 []"


def test_a_composed_config_is_printed(tmp_path):
    ended = command("--cfg", "job", "--resolve", "-p", "simulation", "size=tiny", "sampler=smote", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "grid:" in ended.stdout and "${" not in ended.stdout
    assert not list(tmp_path.iterdir())


def test_options_may_stand_among_overrides(tmp_path):
    ended = command("size=tiny", "--cfg", "job", "sampler=smote", "-p", "sampler", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "k_neighbors" in ended.stdout


def test_ctrl_c_is_answered_with_a_sentence(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgexp.__main__.run", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err.strip() == "sgexp: interrupted"


def test_a_file_that_the_package_s_own_would_hide_is_refused(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    theirs = tmp_path / "model" / "resnet18.yaml"
    theirs.write_bytes((CONF_DIR / "model" / "resnet18.yaml").read_bytes())
    assert main(["--config-dir", str(tmp_path), "--cfg", "job"]) == 0  # the same file: nothing is hidden
    theirs.write_text(theirs.read_text() + "norm: group\n")
    assert main(["--config-dir", str(tmp_path), "--cfg", "job", "model=resnet18"]) == 2
    sentence = " ".join(capsys.readouterr().err.split())
    assert "model/resnet18.yaml would not be read" in sentence and "another name" in sentence
