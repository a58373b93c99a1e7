"""On two real Slurm nodes: what task=submit writes runs, as one run, with the numbers of a single process."""

import re
import subprocess

import pytest

from ..commands import command, digests, only_run, result, runs
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
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("sgexp: ")]
    assert len(said) == 1 and "srun started 2 processes" in said[0] and "Traceback" not in ended.stderr
    assert not (tmp_path / "outputs").exists()
    sweep = subprocess.run([*words, "-m", "seed=1,2"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert sweep.returncode != 0 and "a sweep (-m) is started once" in sweep.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_multirun_submits_a_job_for_each_combination(slurm, root, tmp_path):
    words = ["--quick", "--slurm", *TRAINING, "trainer.epochs=1", "trainer.epoch_draws=null", "model=small"]
    few = ["seed=1", "sampler=none,smote", "task.cpus=1", "task.time=00:10:00"]
    line = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 600}
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


@pytest.mark.slow
def test_the_array_of_the_docs_makes_the_files_of_one_job(slurm, root, tmp_path):
    few = "task=simulate size=tiny task.limit=12 simulation.materials_per_file=3"
    told = (root / "docs" / "clusters.md").read_text(encoding="utf-8")
    script = re.search(r"```sh\n(#!/bin/bash\n#SBATCH --job-name=sgexp-simulate.*?)```", told, re.DOTALL)[1]
    for whole, small in (
        ("1-40", "1-2"),
        ("/40", "/2"),
        ("cpus-per-task=4", "cpus-per-task=1"),
        ("processes=4", "processes=1"),
    ):
        assert whole in script
        script = script.replace(whole, small)
    assert "task=simulate size=smc19 task.folder=data/smc19-like" in script
    (tmp_path / "array.sh").write_text(script.replace("task=simulate size=smc19", few))
    subprocess.run(["sbatch", "array.sh"], cwd=tmp_path, check=True, capture_output=True, timeout=240)
    one = command(*few.split(), "task.folder=one", "simulation.processes=1", cwd=tmp_path)
    assert one.code == 0, one.err
    wait_until_empty()
    said = "".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
    assert "shard 1/2" in said and "shard 2/2" in said, said
    array, alone = digests(tmp_path / "data" / "smc19-like"), digests(tmp_path / "one")
    assert len(alone) >= 5 and array == alone, said
