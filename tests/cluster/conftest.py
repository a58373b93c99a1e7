"""A real Slurm of two nodes on this machine, and the run of one process that all others are compared with."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ..commands import command, only_run, result

# 31 training draws in batches of 30: an epoch is one step, so that each row of metrics.csv is the loss of a step.
# Group normalisation, since batch normalisation is over a process's own share on CPUs; augmentation stays on.
TRAINING = (
    *("size=tiny", "trainer.accelerator=cpu", "trainer.epochs=6", "trainer.batch_size=30", "model.norm=group"),
    *("logger=none", "evaluation.baselines=[]", "callbacks.progress=false"),
)


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """The run folder of the training in one process."""
    cwd = tmp_path_factory.mktemp("alone")
    ended = command(*TRAINING, cwd=cwd)
    assert ended.code == 0, ended.err
    return only_run(cwd)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Start the cluster; its commands find it by the environment variable SLURM_CONF."""
    missing = [program for program in ("sbatch", "slurmctld", "slurmd", "munged") if shutil.which(program) is None]
    why = f"needs Debian's slurm-wlm and munge ({', '.join(missing)} not found)" if missing else None
    if os.geteuid() != 0:
        why = "needs root, to start Slurm's daemons"
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"this test {why}")
    if why:
        pytest.skip(f"this test {why}")
    folder = tmp_path_factory.mktemp("slurm")
    script = str(Path(__file__).with_name("slurm_local.sh"))
    subprocess.run([script, "start", str(folder)], check=True, stdin=subprocess.DEVNULL, timeout=300)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    os.environ["MASTER_ADDR"] = "127.0.0.1"  # the nodes' names, n1 and n2, are nobody's address
    yield folder
    del os.environ["SLURM_CONF"], os.environ["MASTER_ADDR"]
    subprocess.run([script, "stop", str(folder)], check=True, timeout=120)


def losses(folder):
    """Return the training's loss at every step, and the validation's."""
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return np.array([[float(row["train/loss"]), float(row["val/loss"])] for row in rows])


def assert_same_training(folder, expected):
    """Assert that a run is whole, and that its steps and its answers are those of another, up to rounding."""
    assert result(folder)["status"] == "finished"
    assert losses(folder).shape == (6, 2)
    np.testing.assert_allclose(losses(folder), losses(expected), rtol=2e-3)
    with (folder / "split.csv").open(newline="") as stream:
        parts = [(int(row["row"]), row["split"]) for row in csv.DictReader(stream)]
    for name in ("validation", "test"):
        found = dict(np.load(folder / f"predictions_{name}.npz", allow_pickle=False))
        of_one = dict(np.load(expected / f"predictions_{name}.npz", allow_pickle=False))
        assert sorted(found["row"].tolist()) == [row for row, part in parts if part.startswith(name)]  # each once
        assert np.array_equal(found["row"], of_one["row"])
        np.testing.assert_allclose(found["logits"], of_one["logits"], atol=5e-3)
