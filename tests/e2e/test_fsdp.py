"""Two processes that share the network's weights: the figures of a single process, before and after a stop."""

import os
import signal

import numpy as np
import pytest
import torch

from ..commands import caught, command, end, only_run, result, start, wait_for
from .test_resume import history
from .test_run_folder import arrays

COMMON = ("size=tiny", "trainer.accelerator=cpu", "trainer.epochs=2", "trainer.batch_size=10", "augment=none")
ALIKE = ("model.norm=group", "logger=none", "evaluation.baselines=[]")
FSDP = ("trainer=fsdp", *COMMON, *ALIKE)
SLOWLY = ("optimizer.lr=0.001",)  # at the default rate training is chaotic: rounding grows to 0.02 in the logits
LONG = ("trainer.epoch_draws=600",)


@pytest.mark.slow
def test_sharded_weights_train_like_whole_ones(tmp_path):
    ended = command(*FSDP, *SLOWLY, cwd=tmp_path / "shared")
    assert (ended.code, ended.err) == (0, "")
    shared = only_run(tmp_path / "shared")
    assert result(shared)["status"] == "finished"
    single = command("trainer=cpu", *COMMON, *ALIKE, *SLOWLY, cwd=tmp_path / "alone")
    assert single.code == 0, single.err
    alone = only_run(tmp_path / "alone")
    for name in ("predictions_validation.npz", "predictions_test.npz"):
        found, expected = arrays(shared / name), arrays(alone / name)
        assert np.array_equal(found["row"], expected["row"])
        assert np.allclose(found["logits"], expected["logits"], atol=1e-4)
    ours, whole = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (shared, alone))
    shapes = [{name: value.shape for name, value in each["state_dict"].items()} for each in (ours, whole)]
    assert shapes[0] == shapes[1]  # a checkpoint is whole, whoever wrote it


@pytest.mark.slow
def test_a_run_that_shares_its_weights_goes_on_after_a_stop(tmp_path):
    undisturbed = command(*FSDP, *LONG, cwd=tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err

    def stop(cwd):
        process = start(*FSDP, *LONG, "resume=auto", "callbacks.progress=false", cwd=cwd)
        wait_for(lambda: any(cwd.glob("outputs/train/*/checkpoints/last.ckpt")), process)
        os.killpg(process.pid, signal.SIGTERM)
        code = end(process).code
        if len(history(only_run(cwd))) == 2:
            return None
        assert code == 75
        return cwd

    stopped = caught(stop, tmp_path / "stopped")
    again = command(*FSDP, *LONG, "resume=auto", cwd=stopped)
    assert again.code == 0, again.err
    found, expected = only_run(stopped), only_run(tmp_path / "undisturbed")
    assert history(found) == history(expected)
    assert result(found)["metrics"] == result(expected)["metrics"]
