"""Every benchmark runs in its quick form and prints a ratio; how large it is, only a quiet machine can say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted({path.name for path in FOLDER.glob("*.py")} - {"common.py", "laboratory.py"})  # which they share


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs_quickly_from_any_folder_and_prints_a_ratio(script, tmp_path):
    command = [sys.executable, FOLDER / script, "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"\bratio", done.stdout), done.stdout
    assert re.search(r"\b\d+\.\d+", done.stdout), done.stdout
    assert not list(tmp_path.iterdir()), "a benchmark leaves files where it is started"


def test_every_benchmark_is_explained():
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [script for script in SCRIPTS if f"benchmarks/{script}" not in page] == []
