"""``multirun.sh``: the sweep of the paper as one command."""

import os
import shutil
import subprocess
import sys

import pytest

from ..commands import result, runs


@pytest.fixture
def multirun(root, tmp_path):
    """Run the script in a folder of its own."""

    def run(*arguments, timeout=600):
        return subprocess.run(
            [str(root / "multirun.sh"), *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHON": sys.executable, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


def test_a_dry_run_lists_24_jobs_and_leaves_nothing(multirun, tmp_path):
    ended = multirun("--dry-run", "--jobs", "2")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[-1].startswith("24 jobs, 24 to run")
    assert len({line.partition("sampler=")[2] for line in lines if "sampler=" in line}) == 24
    assert not list(tmp_path.iterdir())


def test_a_dry_run_for_a_cluster_lists_the_same_jobs_and_submits_none(multirun, tmp_path):
    for system in ("--slurm", "--lsf"):
        ended = multirun(system, "--dry-run", "seed=1", "task.time=00:30:00")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[-1].startswith("8 jobs, 8 to run")
    assert not list(tmp_path.iterdir())
    assert multirun("--slurm", "--dry-run", "task.tme=00:30:00").returncode == 2


def test_further_overrides_win(multirun):
    ended = multirun("--dry-run", "--quick", "seed=7", "model=small", "trainer.epochs=1")
    assert ended.returncode == 0, ended.stderr
    assert "4 jobs, 4 to run" in ended.stdout
    assert multirun("--dry-run", "samplr=none").returncode == 2


@pytest.mark.parametrize("wrong", [["--qick"], ["--jobs"], ["none"]])
def test_a_wrong_word_is_told(wrong, multirun):
    ended = multirun(*wrong)
    assert ended.returncode == 2
    assert ended.stderr.startswith("multirun.sh: ") and ended.stderr.count("\n") == 1


def test_help_names_every_option(multirun):
    ended = multirun("--help")
    assert ended.returncode == 0
    for option in ("--quick", "--dry-run", "--resume", "--jobs N", "--slurm", "--lsf", "trainer.epoch_draws"):
        assert option in ended.stdout


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_is_clean(root):
    subprocess.run(["shellcheck", str(root / "multirun.sh")], check=True)


@pytest.mark.slow
def test_a_quick_sweep_ends_with_a_table_and_a_page(multirun, tmp_path):
    few = ("size=tiny", "trainer.epochs=1", "model=small", "sampler=none,random_over", "seed=1", "logger=none")
    ended = multirun("--quick", "--jobs=2", *few, "trainer.batch_size=4")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    out = tmp_path / "outputs" / "multirun-quick"
    folders = sorted((out / "train").iterdir())
    assert not runs(tmp_path) and [result(folder)["status"] for folder in folders] == ["finished"] * 2
    trained = (folders[0] / "split.csv").read_text().count(",train\n")
    assert trained > 20, "as many draws an epoch as there are training samples, whatever the sampler plans"
    steps = {(folder / "metrics.csv").read_text().splitlines()[1].split(",")[1] for folder in folders}
    assert steps == {str(trained // 4)}
    assert "Means over seeds" in ended.stdout and "sampler=random_over" in ended.stdout
    assert (out / "report" / "index.html").is_file()
