"""A sampler, a model and a dataset of an outside package join by an entry point and ``--config-dir``."""

import csv
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """Install the example package into a folder of its own and return that folder."""
    folder = tmp_path_factory.mktemp("plugin")
    source = root / "tests" / "example_plugin"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder), str(source)], check=True, timeout=600)
    return folder


@pytest.fixture
def command(root, tmp_path):
    """Run the command with the example's config folder, in a folder of its own."""

    def run(*arguments, python_path=""):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "sgexp",
                "--config-dir",
                str(root / "tests" / "example_plugin" / "conf"),
                *arguments,
            ],
            env=os.environ | {"PYTHONPATH": str(python_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


CHOICES = ("sampler=one_each", "model=linear", "dataset=some_groups", "dataset.root=nowhere")


def test_choices_of_an_installed_plugin_are_composed_and_checked(installed, command):
    ended = command(*CHOICES, "--cfg", "job", python_path=installed)
    assert ended.returncode == 0, ended.stderr
    assert "sgexp_example.sampler.OneEach" in ended.stdout


def test_ranges_of_a_plugins_schema_hold(installed, command):
    ended = command("sampler=one_each", "sampler.per_material=0", python_path=installed)
    assert ended.returncode == 2
    assert "sampler.per_material=0 is out of range" in ended.stderr


def test_a_config_file_alone_brings_no_code(command):
    ended = command("sampler=one_each")
    assert ended.returncode == 2
    assert "sgexp_example.sampler.OneEach" in ended.stderr and "refused" in ended.stderr


def test_config_files_of_a_plugin_are_validated_too_and_nothing_is_left_behind(installed, command, tmp_path):
    ended = command("task=validate", python_path=installed)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "one_each" in ended.stdout
    assert not list(tmp_path.iterdir())


def test_a_plugin_that_cannot_be_loaded_is_named(installed, command, tmp_path):
    metadata = tmp_path / "broken" / "broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sgexp.schemas]\nbroken = no_such_module\n")
    ended = command(python_path=tmp_path / "broken")
    assert ended.returncode == 2
    assert "plugin 'broken'" in ended.stderr and ended.stderr.count("\n") == 1


def groups_of(run):
    """Return the space groups in the record of who trained and who tested."""
    with (run / "split.csv").open() as stream:
        return {int(row["space_group"]) for row in csv.DictReader(stream)}


@pytest.mark.slow
def test_a_plugins_sampler_model_and_dataset_are_trained_with(installed, command, tmp_path):
    data = f"data_dir={tmp_path / 'data'}"
    quick = ("experiment=quick", data, "sampler=one_each", "model=linear")
    first = command(*quick, "name=first", python_path=installed)
    assert first.returncode == 0, first.stdout + first.stderr
    (run,) = (tmp_path / "outputs" / "train").glob("*_first-*")
    assert "sgexp_example.model.Linear" in (run / "config.yaml").read_text()

    wanted = sorted(groups_of(run))[1:]
    chosen = (f"dataset.root={tmp_path / 'data' / 'crystals'}", f"dataset.space_groups={wanted}".replace(" ", ""))
    second = command(*quick, "dataset=some_groups", *chosen, "name=second", python_path=installed)
    assert second.returncode == 0, second.stdout + second.stderr
    (run,) = (tmp_path / "outputs" / "train").glob("*_second-*")
    assert groups_of(run) == set(wanted)
