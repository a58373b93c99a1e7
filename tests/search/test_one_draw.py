"""A distributed trial is one draw: all ranks of a job train what its one trial says."""

import json
import subprocess
import sys

import pytest

from ..commands import TINY

NAIVE = """
import optuna
backend = optuna.storages.journal.JournalFileBackend("study.journal")
study = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name="s", load_if_exists=True)
print(study.ask().suggest_float("lr", 0.0, 1.0))
"""


def test_naively_every_rank_draws_for_itself(tmp_path):
    """What a training script does that asks Optuna itself, started twice as DDP starts its ranks."""
    ranks = [subprocess.run([sys.executable, "-c", NAIVE], cwd=tmp_path, capture_output=True, text=True, check=True)
             for _ in range(2)]  # fmt: skip
    assert len({rank.stdout for rank in ranks}) == 2


@pytest.mark.slow
def test_all_ranks_of_a_trial_have_its_values(searches, tmp_path):
    searches.env |= {"TELLING": str(tmp_path)}
    ended = searches.run(*TINY, "task=train", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
                         "trainer.epochs=1", "model=telling", "search.sampler=random", "search.trials=2",
                         space=("model.width=range(4,13)",))  # fmt: skip
    assert ended.code == 0, ended.out + ended.err
    trials = searches.trials()
    assert [trial["state"] for trial in trials] == ["finished"] * 2
    assert len({trial["params"]["model.width"] for trial in trials}) == 2
    for trial in trials:
        told = [(tmp_path / f"{trial['run']}.rank{rank}").read_text() for rank in range(2)]
        assert told == [trial["params"]["model.width"]] * 2
        record = json.loads((searches.cwd / "outputs" / "train" / trial["run"] / "result.json").read_text())
        assert trial["values"] == [record["metrics"]["validation"]["macro_f1"]["value"]]
