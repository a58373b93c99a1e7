"""Sweeps of short jobs: a task that joins by an entry point, as any package's would."""

import json
from pathlib import Path

import pytest

from ..commands import command, start

SHORT_JOBS = Path(__file__).parent / "short_jobs"


@pytest.fixture(scope="session")
def python_path(tmp_path_factory):
    """Return a folder of what an installation leaves, by which sgexp finds the task, and the task's own."""
    folder = tmp_path_factory.mktemp("installed")
    metadata = folder / "short_jobs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: short-jobs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sgexp.schemas]\nshort = sgexp_short_jobs.schema\n")
    return f"{folder}:{SHORT_JOBS}:{SHORT_JOBS.parents[1] / 'jobs'}"


class Sweeps:
    """Starts sweeps of short jobs in one folder, and reads what they left there."""

    def __init__(self, cwd, python_path):
        self.cwd, self.env = cwd, {"PYTHONPATH": python_path, "COLUMNS": "100"}

    def words(self, *arguments):
        return ("-m", "--config-dir", str(SHORT_JOBS / "conf"), "task=short", "trainer.epochs=2", *arguments)

    def run(self, *arguments):
        return command(*self.words(*arguments), cwd=self.cwd, env=self.env)

    def start(self, *arguments):
        return start(*self.words(*arguments), cwd=self.cwd, env=self.env)

    def manifests(self):
        return sorted(self.cwd.glob("outputs/sweeps/*/manifest.json"))

    @property
    def manifest(self):
        (path,) = self.manifests()
        return path

    def jobs(self):
        return json.loads(self.manifest.read_text())["jobs"]

    def states(self):
        return [job["state"] for job in self.jobs()]

    def folders(self):
        return sorted(self.cwd.glob("outputs/train/*"))

    def results(self):
        return [json.loads((folder / "result.json").read_text()) for folder in self.folders()]


@pytest.fixture
def sweeps(tmp_path, python_path):
    return Sweeps(tmp_path, python_path)
