"""A job that another program runs, such as submitit, starts the processes of its training itself."""

import pytest

from ..commands import command, only_run, result

TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.batch_size=10", "trainer.epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "joblib"])
def test_a_job_of_another_launcher_may_be_distributed(launcher, tmp_path):
    """Lightning would start submitit or joblib again: `unrecognized arguments: hydra.run.dir`."""
    words = ("size=tiny", *TWO, "logger=none", "evaluation.baselines=[]", "seed=3")
    ended = command("-m", f"hydra/launcher={launcher}", *words, cwd=tmp_path)
    assert ended.code == 0, ended.out + ended.err
    assert result(only_run(tmp_path))["status"] == "finished"
