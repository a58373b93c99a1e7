"""Sharded weights where others start the processes: torchrun, and srun on two real Slurm nodes."""

import subprocess
import sys

import pytest

from ..commands import only_run
from .conftest import TRAINING, assert_same_training

SGEXP = ("-m", "sgexp", *TRAINING, "trainer.strategy=fsdp")


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
SRUN = ("srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", sys.executable)


def assert_trains_like_one(command, alone, cwd):
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert_same_training(only_run(cwd), alone)
    assert ended.stdout.count("Results on crystals") == 1


@pytest.mark.slow
def test_processes_of_torchrun_that_share_their_weights_train_like_a_single_one(alone, tmp_path):
    assert_trains_like_one([*TORCHRUN, *SGEXP, "trainer=fsdp"], alone, tmp_path)


@pytest.mark.slow
def test_two_nodes_that_share_their_weights_train_like_a_single_process(slurm, alone, tmp_path):
    assert_trains_like_one([*SRUN, *SGEXP, "trainer=multinode"], alone, tmp_path)
