"""What goes wrong with Hydra, Lightning, W&B and submitit as their own pages have it; each names the test of our way.

When one of these fails, an upstream project has cured what we work around: look whether ours is still needed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import hydra
import pytest

NAIVE = Path(__file__).parent / "naive"


def run(script, *arguments, cwd):
    """Run one of the naive programs and return what it said; it ends by itself."""
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(NAIVE / script), *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_a_further_rank_restarts_the_whole_sweep(tmp_path):
    """Ours: test_ddp.py::test_a_sweep_may_hold_several_distributed_jobs."""
    ended = run("distributed_sweep.py", "-m", "+seed=1,2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    started = re.findall(r"RANK (\d) SEED (\d) ARGV (.*)", ended.stdout)
    asked = {arguments for rank, _, arguments in started if rank == "1"}
    assert asked and all(arguments.startswith("-m +seed=1,2 ") for arguments in asked), "rank 1 is a sweep of its own"
    assert {seed for rank, seed, _ in started if rank == "1"} == {"1", "2"}


def test_the_second_job_of_a_sweep_writes_into_the_first_ones_wandb_run(tmp_path):
    """Ours: test_wandb.py::test_jobs_in_one_process_have_a_run_each_and_fail_alone."""
    ended = run("two_wandb_runs.py", "-m", "+seed=1,2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    runs = dict(re.findall(r"SEED (\d) RUN (\w+)", ended.stdout))
    assert runs["1"] == runs["2"]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_submitit_says_of_a_failed_job_that_it_completed_successfully(tmp_path):
    """Ours: sweeps/test_launchers.py and cluster/test_slurm_sweeps.py, where the job is failed and says why."""
    run("failing_job.py", "-m", "hydra/launcher=submitit_local", "+seed=1", cwd=tmp_path)
    (log,) = tmp_path.rglob("*_log.out")
    assert "Job completed successfully" in log.read_text()


def test_a_mistyped_key_in_a_global_file_passes(tmp_path):
    """Ours: test_mistakes.py::test_a_mistake_in_a_file_is_told_in_one_sentence."""
    (tmp_path / "config.yaml").write_text("defaults: [_self_, {experiment: own}]\nseed: 1\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\nsede: 3\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base=None):
        assert dict(hydra.compose("config")) == {"seed": 1, "sede": 3}
