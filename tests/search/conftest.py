"""Searches over jobs that cost nothing: a task that joins by an entry point, as any package's would."""

import json
from pathlib import Path

import pytest

from ..commands import command, runs, start

SCORED_JOBS = Path(__file__).parent / "scored_jobs"
SPACE = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.width=range(8,33,8)")


@pytest.fixture(scope="session")
def python_path(tmp_path_factory):
    """Return a folder of what an installation leaves, by which sgexp finds the task, and the task's own."""
    folder = tmp_path_factory.mktemp("installed")
    metadata = folder / "scored_jobs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: scored-jobs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sgexp.schemas]\nscored = sgexp_scored.schema\n")
    return f"{folder}:{SCORED_JOBS}:{SCORED_JOBS.parents[1] / 'jobs'}"


class Searches:
    """Starts searches in one folder, and reads what they left there."""

    def __init__(self, cwd, python_path):
        self.cwd, self.env = cwd, {"PYTHONPATH": python_path, "COLUMNS": "160"}

    def words(self, *arguments, space=SPACE):
        fixed = ("task=scored", "trainer.epochs=4", "logger=none", "hydra/sweeper=optuna")
        return ("-m", "--config-dir", str(SCORED_JOBS / "conf"), *fixed, *space, *arguments)

    def run(self, *arguments, space=SPACE):
        return command(*self.words(*arguments, space=space), cwd=self.cwd, env=self.env)

    def start(self, *arguments, space=SPACE):
        return start(*self.words(*arguments, space=space), cwd=self.cwd, env=self.env)

    @property
    def folder(self):
        (folder,) = self.cwd.glob("outputs/sweeps/*/")
        return folder

    @property
    def record(self):
        return json.loads((self.folder / "search.json").read_text())

    def trials(self):
        return self.record["trials"]

    def runs(self):
        return runs(self.cwd)

    def results(self):
        return [json.loads((folder / "result.json").read_text()) for folder in self.runs()]


@pytest.fixture
def searches(tmp_path, python_path):
    return Searches(tmp_path, python_path)


@pytest.fixture(scope="session")
def searched(tmp_path_factory, python_path):
    """Return a search of six trials that nobody disturbed, and how it ended."""
    found = Searches(tmp_path_factory.mktemp("searched"), python_path)
    ended = found.run("search.trials=6", "search.startup=3")
    assert ended.code == 0, ended.out + ended.err
    return found, ended
