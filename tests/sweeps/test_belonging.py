"""A run belongs to the sweep that started it, and to none that has ended: only then may it ask Slurm for a start."""

import os

import pytest

from sgexp.__main__ import main
from sgexp.runs import SWEEP, runs_of_sweep


def test_only_what_runs_meanwhile_belongs_to_a_sweep(monkeypatch):
    monkeypatch.delenv(SWEEP, raising=False)
    with pytest.raises(ValueError, match="ended"), runs_of_sweep("outer"):
        with runs_of_sweep("inner"):
            assert os.environ[SWEEP] == "inner"
        assert os.environ[SWEEP] == "outer"
        raise ValueError("ended")
    assert SWEEP not in os.environ


@pytest.mark.parametrize("words", [["seed=1,2"], ["hydra/sweeper=optuna", "optimizer.lr=interval(0.001,0.01)"]])
def test_a_sweep_called_in_a_process_leaves_no_word_in_it(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SWEEP, raising=False)
    assert main(["-m", "size=tiny", "launcher.dry_run=true", *words]) == 0
    assert SWEEP not in os.environ
