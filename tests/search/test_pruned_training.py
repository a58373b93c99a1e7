"""A real training that learns nothing is pruned by what another reached on validation, and says so."""

import json
from contextlib import suppress

import pytest

from ..commands import end, has_heard, held, result, runs, start, wait_for

WORDS = (
    *("size=tiny", "trainer.accelerator=cpu", "trainer.epochs=12", "trainer.epoch_draws=300", "trainer.batch_size=30"),
    *("logger=none", "evaluation.baselines=[]", "search.pruner=median", "search.pruner_startup=1"),
    *("search.pruner_epochs=2", "search.sampler=grid"),
)


@pytest.mark.slow
def test_a_training_that_learns_nothing_is_pruned_and_one_that_learns_is_not(tmp_path):
    space = "optimizer.lr=0.004,1e-9"
    process = start("-m", "hydra/sweeper=optuna", *WORDS, space, cwd=tmp_path)

    def idling():
        """Return the second training at its second epoch: what is pruned is looked at once a second."""
        found = [folder / "metrics.csv" for folder in runs(tmp_path)[1:]]
        return [path.parent for path in found if path.exists() and len(path.read_text().splitlines()) > 2]

    wait_for(idling, process)
    with suppress(ProcessLookupError), held(pid := result(idling()[0])["pid"]):
        wait_for(lambda: has_heard(pid), process)
    ended = end(process)
    assert ended.code == 0, ended.out + ended.err
    (path,) = tmp_path.glob("outputs/sweeps/*/search.json")
    trials = {float(trial["params"]["optimizer.lr"]): trial for trial in json.loads(path.read_text())["trials"]}
    learns, idles = trials[0.004], trials[1e-9]
    assert (learns["state"], idles["state"]) == ("finished", "pruned"), trials
    records = {folder.name: result(folder) for folder in runs(tmp_path)}
    assert records[learns["run"]]["status"] == "finished" and "pruned" not in records[learns["run"]]
    assert records[idles["run"]]["status"] == "interrupted"
    assert records[idles["run"]]["pruned"] == idles["reason"]
    epochs = [step for step, _ in idles["curve"]]
    assert 2 <= len(epochs) < 12 == len(learns["curve"])
    (folder,) = (folder for folder in runs(tmp_path) if folder.name == idles["run"])
    assert (folder / "checkpoints").is_dir() and not (folder / "predictions_test.npz").exists()
