"""Processes that torchrun or jsrun starts are one run, with the numbers of a single process."""

import os
import socket
import subprocess
import sys

import pytest

from sgexp.machine import free_port

from ..commands import only_run
from .conftest import TRAINING, assert_same_training

ON_TWO = ("trainer=ddp", *TRAINING)


def torchrun(*words, cwd):
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "sgexp"]
    return subprocess.run([*start, *words], cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_torchrun_makes_one_run_like_that_of_a_single_process(alone, tmp_path):
    ended = torchrun(*ON_TWO, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert_same_training(only_run(tmp_path), alone)
    assert ended.stdout.count("Results on crystals") == 1


@pytest.mark.slow
def test_all_of_them_end_when_the_first_refuses(tmp_path):
    (tmp_path / "outputs").write_text("a file where the run folder is to be")
    ended = torchrun(*ON_TWO, cwd=tmp_path)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("sgexp: ")]
    assert len(said) == 1 and "output_dir=outputs" in said[0], ended.stderr
    assert "broadcast" not in ended.stderr


@pytest.mark.slow
def test_jsrun_is_understood_by_its_environment(alone, tmp_path):
    """No LSF can be installed here: two processes get the variables and the rank file that jsrun gives."""
    host = socket.gethostname()
    (tmp_path / "rankfile").write_text(f"launch-node\n{host}\n{host}\n")
    lsf = {"LSB_JOBID": "4711", "LSB_DJOB_RANKFILE": str(tmp_path / "rankfile"), "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "sgexp", *ON_TWO],
            cwd=tmp_path,
            env=os.environ
            | lsf
            | {"JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_RANK": rank, "JSM_NAMESPACE_LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    (first, errors), (second, more_errors) = (process.communicate(timeout=600) for process in started)
    assert [process.returncode for process in started] == [0, 0], errors + more_errors
    assert_same_training(only_run(tmp_path), alone)
    assert "Results on crystals" in first and second == ""
