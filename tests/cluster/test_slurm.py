"""On two real Slurm nodes: what task=submit writes runs, as one run, with the numbers of a single process."""

import subprocess

import pytest

from ..commands import command, only_run, result, runs
from .conftest import TRAINING, assert_same_training
from .queue import wait_until_empty

SUBMIT = ("task=submit", "task.submit=true", "task.cpus=1", "task.time=00:10:00")


def logs(cwd):
    return "\n".join(path.read_text() for path in sorted((cwd / "outputs").glob("submit/*.log")))


@pytest.mark.slow
def test_two_nodes_train_one_run_like_a_single_process(slurm, alone, tmp_path):
    cwd = tmp_path / "a folder with 100 % of its mätter"
    ended = command(*SUBMIT, "trainer=multinode", *TRAINING, cwd=cwd)
    assert ended.code == 0, ended.err
    assert "submitted as job" in ended.words
    again = command(*SUBMIT, "trainer=multinode", *TRAINING, cwd=cwd)
    assert again.code == 0 and "not submitted: " in again.words
    wait_until_empty()
    said = logs(cwd)
    assert runs(cwd), said
    assert_same_training(only_run(cwd), alone)
    assert said.count("Results on crystals") == 1
    assert "learning rate" in said and "Traceback" not in said
    again = command(*SUBMIT, "trainer=multinode", *TRAINING, cwd=cwd)
    assert "is finished" in again.words and len(list((cwd / "outputs" / "submit").glob("*.sh"))) == 1


@pytest.mark.slow
def test_a_job_of_another_size_than_the_training_is_refused_in_one_sentence(slurm, tmp_path):
    words = ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "python", "-m", "sgexp", *TRAINING]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("sgexp: ")]
    assert len(said) == 1 and "srun started 2 processes" in said[0] and "Traceback" not in ended.stderr
    assert not (tmp_path / "outputs").exists()
    sweep = subprocess.run([*words, "-m", "seed=1,2"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert sweep.returncode != 0 and "a sweep (-m) is started once" in sweep.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_multirun_submits_a_job_for_each_combination(slurm, root, tmp_path):
    words = ["--quick", "--slurm", *TRAINING, "trainer.epochs=1", "trainer.epoch_draws=null", "model=small"]
    few = ["seed=1", "sampler=none,smote", "task.cpus=1", "task.time=00:10:00"]
    line = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    ended = subprocess.run([root / "multirun.sh", *words, *few], **line)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("submitted as job") == 2
    wait_until_empty()
    folders = sorted((tmp_path / "outputs" / "multirun-quick" / "train").iterdir())
    assert [result(folder)["status"] for folder in folders] == ["finished", "finished"]
    again = subprocess.run([root / "multirun.sh", *words, *few], **line)
    assert again.stdout.count("is finished") == 2 and "submitted as job" not in again.stdout.replace(
        "not submitted", ""
    )
