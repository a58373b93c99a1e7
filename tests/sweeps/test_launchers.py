"""Hydra's other launchers run the same jobs, keep the same record, and hide no failure."""

import pytest
from hydra.errors import MissingConfigException

from sgexp.composition import Composer, _missing_file
from sgexp.errors import ConfigError


@pytest.mark.parametrize(
    "choice", [["basic"], ["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"]], ids=lambda choice: choice[0]
)
def test_a_failure_is_counted_and_the_same_command_skips_the_rest(choice, sweeps):
    words = (f"hydra/launcher={choice[0]}", *choice[1:], "seed=1,2", "task.fails_with=1")
    ended = sweeps.run(*words)
    assert ended.code == 1
    assert sweeps.states() == ["failed", "finished"]
    assert "job 1 of 2 failed" in ended.out and "RuntimeError: the seed [red]is wrong" in ended.out
    assert "job 2 of 2 finished" in ended.out
    assert ended.err.strip().splitlines()[-1].startswith("sgexp: 1 of 2 jobs are finished; job 1 failed")
    again = sweeps.run(*words, "launcher.retry_failed=true")
    assert again.code == 1
    assert "1 finished before" in again.out
    assert len(sweeps.folders()) == 3


def test_a_launcher_that_is_not_installed_is_named_with_its_extra():
    error = MissingConfigException("", missing_cfg_file="hydra/launcher/joblib", options=["basic", "process"])
    assert "pip install 'sgexp[launchers]'" in str(_missing_file(error, "config"))


def test_shell_lines_of_a_launcher_are_taken_from_the_command_line_alone(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "foreign.yaml").write_text(
        "# @package _global_\n# A stranger's\n\ndefaults:\n  - override /hydra/launcher: submitit_slurm\n"
        "hydra:\n  launcher:\n    setup: [touch /tmp/x]\n"
    )
    composer = Composer(tmp_path)
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.setup is refused in a file"):
        composer.check(["experiment=foreign"])
    composer.check(["hydra/launcher=submitit_slurm", "hydra.launcher.setup=[module load cuda]"])


@pytest.mark.parametrize(
    "words", ["submitit_slurm hydra.launcher.nodes=2", "submitit_local hydra.launcher.tasks_per_node=4"]
)
def test_a_job_of_several_tasks_by_submitit_is_refused_before_anything_starts(words, tmp_path, monkeypatch, capsys):
    from sgexp.__main__ import main

    monkeypatch.chdir(tmp_path)
    launcher, many = words.split()
    assert main(["-m", f"hydra/launcher={launcher}", many, "seed=1,2"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"{many} is refused" in sentence and "trainer.devices=N" in sentence and "trainer.nodes=N" in sentence
    assert not list(tmp_path.iterdir())
