"""Sharded weights where others start the processes: torchrun, and srun on two real Slurm nodes."""

import subprocess
import sys

import pytest

from ..commands import only_run
from .conftest import TRAINING, assert_same_training

SGEXP = ("-m", "sgexp", *TRAINING, "trainer.strategy=fsdp")


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "srun"])
def test_processes_that_share_their_weights_train_like_a_single_one(starter, alone, tmp_path, request):
    if starter == "srun":
        request.getfixturevalue("slurm")
    words = {
        "torchrun": [*("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"), *SGEXP, "trainer=fsdp"],
        "srun": [*SGEXP, "trainer=multinode"],
    }[starter]
    step = ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1"] if starter == "srun" else []
    ended = subprocess.run([*step, sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert_same_training(only_run(tmp_path), alone)
    assert ended.stdout.count("Results on crystals") == 1
