"""Defaults of every test: one thread for torch, no window, nobody called, and made data in a folder of the session."""

import os
import signal
from pathlib import Path

import pytest

from sgexp.runs import SWEEP

from .commands import TINY, command, only_run

# Before anything imports matplotlib, torch or wandb; subprocesses of the tests inherit them.
os.environ["MPLBACKEND"] = "Agg"
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("HYDRA_FULL_ERROR", None)

# A shell without job control starts background commands deaf to Ctrl-C, and their children too: the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def made_data(tmp_path_factory):
    """A folder for data that are made on first use, shared by the tests of a session (and by its xdist workers)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "sgexp_data"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("SGEXP_DATA")
    os.environ["SGEXP_DATA"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SGEXP_DATA"]
    else:
        os.environ["SGEXP_DATA"] = before


@pytest.fixture(autouse=True)
def left_as_found(made_data):
    """Leave no word in the environment that makes the next test's runs part of a sweep, a cluster or another run."""
    telling = ("SGEXP_", "SLURM_", "LSB_", "JSM_", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_", "HYDRA_")

    def words():
        return {name: value for name, value in os.environ.items() if name.startswith(telling)}

    before = words()
    yield
    after = words()
    for name in after:
        del os.environ[name]
    os.environ.update(before)
    assert after.get(SWEEP) == before.get(SWEEP), "a sweep that has ended still claims what its process runs"


@pytest.fixture(scope="session")
def root():
    """The checkout that the tests belong to."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Return (run folder, how the command ended) of ``python -m sgexp size=tiny trainer.epochs=2``, undisturbed."""
    cwd = tmp_path_factory.mktemp("tiny")
    ended = command(*TINY, cwd=cwd)
    assert ended.code == 0, ended.err
    return only_run(cwd), ended


@pytest.fixture(scope="session")
def tiny_files(tiny_run, made_data):
    """The folder of the HDF5 files that the tiny run trained on; other tests make other sets of 60 crystals."""
    from sgexp.composition import Composer
    from sgexp.schema import build
    from sgexp.tasks.prepare import simulation_recipe

    config = Composer().check(["size=tiny"])
    recipe, dataset = simulation_recipe(config), build(config.dataset)
    assert dataset.folder(recipe).parent == made_data / "crystals" and dataset.is_prepared(recipe)
    return dataset.folder(recipe)


@pytest.fixture(scope="session")
def wandb_run(tmp_path_factory):
    """Return (run folder, how the command ended) of a tiny run with the default logger, in nobody's home."""
    cwd = tmp_path_factory.mktemp("wandb")
    home = {"HOME": str(cwd / "home"), "WANDB_MODE": "", "WANDB_BASE_URL": "http://127.0.0.1:9", "COLUMNS": "200"}
    ended = command("size=tiny", "trainer.epochs=3", cwd=cwd, env=home)
    assert ended.code == 0, ended.err
    return only_run(cwd), ended
