"""``dataset=stream`` as a person asks for it: killed and resumed, by workers or not, it is one training."""

import os
import signal

import numpy as np
import pytest

from ..commands import caught, command, end, only_run, result, start, wait_for
from .test_resume import ends_like, history, rows_written
from .test_run_folder import arrays

STREAM = ("size=tiny", "dataset=stream", "dataset.keep=2", "callbacks.progress=false", "logger=none")
EPOCHS = 12  # seconds, of which a kill needs a moment


@pytest.mark.slow
def test_a_stream_killed_and_resumed_with_workers_ends_like_an_undisturbed_one_without(tmp_path):
    words = (*STREAM, f"trainer.epochs={EPOCHS}", "trainer.batch_size=8", "sampler=random_over")
    one = command(*words, cwd=tmp_path / "one")
    assert one.code == 0, one.err
    assert "patterns simulated for training" in one.words
    expected = only_run(tmp_path / "one")
    assert result(expected)["stream"]["simulated"] > 100 and not result(expected)["split"]["leaky"]

    def kill(cwd):
        process = start(*words, "trainer.workers=2", cwd=cwd)
        wait_for(lambda: rows_written(cwd) >= 3, process)
        os.killpg(process.pid, signal.SIGKILL)
        end(process)
        return cwd if rows_written(cwd) < EPOCHS else None

    cwd = caught(kill, tmp_path / "two")
    assert 3 <= rows_written(cwd)
    folder = only_run(cwd)
    assert list(folder.glob("stream-*.cache"))
    again = command(f"resume={folder}", cwd=cwd)
    assert again.code == 0, again.err
    ends_like(folder, expected)


@pytest.mark.slow
def test_two_processes_stream_like_one(tmp_path):
    words = (*STREAM, "trainer.epochs=4", "trainer.batch_size=10", "trainer.accelerator=cpu", "model.norm=group")
    two = command("trainer=ddp", "trainer.devices=2", *words, cwd=tmp_path / "two")
    assert two.code == 0, two.err
    one = command(*words, cwd=tmp_path / "one")
    assert one.code == 0, one.err
    first, second = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    losses = [[float(row["train/loss"]) for row in history(folder)] for folder in (first, second)]
    assert np.allclose(losses[0], losses[1], rtol=2e-3)
    names = ("predictions_test.npz", "logits")
    assert np.allclose(arrays(first / names[0])[names[1]], arrays(second / names[0])[names[1]], atol=5e-3)
    assert result(second)["stream"]["simulated"] >= result(first)["stream"]["simulated"] > 0


def test_what_cannot_be_with_a_stream_is_refused_at_once(tmp_path):
    ended = command("dataset=stream", "simulation.engine.device=auto", "trainer.workers=2", cwd=tmp_path)
    assert ended.code == 2 and "loading processes, which cannot use a GPU" in ended.sentence
    ended = command("dataset=stream", "trainer.overfit_batches=2", cwd=tmp_path)
    assert ended.code == 2 and "choose dataset=crystals" in ended.sentence
