"""The command as a person gives it: run to its end, or started and left to be disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TINY = ("size=tiny", "trainer.epochs=2", "logger=none")  # W&B costs each run two seconds


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What was printed, with the line breaks of a narrow terminal taken out."""
        return " ".join(self.out.split())

    @property
    def sentence(self) -> str:
        """The one line on the error stream; asserts that there is no other (and so no stack trace)."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("sgexp: "), self.err
        return lines[0]


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, as a terminal does."""
    options["env"] = os.environ | {"COLUMNS": "400"} | options.pop("env", {})
    cwd.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "sgexp", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for a started command."""
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err)


def command(*arguments: str, cwd: Path, **options: Any) -> Ended:
    """Run the command to its end."""
    return end(start(*arguments, cwd=cwd, **options))


def runs(cwd: Path) -> list[Path]:
    """Return the run folders below ``cwd``, oldest first."""
    return sorted((cwd / "outputs" / "train").glob("*"))


def only_run(cwd: Path) -> Path:
    """Return the one run folder below ``cwd``."""
    (folder,) = runs(cwd)
    return folder


def result(folder: Path) -> dict[str, Any]:
    """Return what result.json says."""
    return json.loads((folder / "result.json").read_text())


def wait_for(happened: Any, process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    """Wait until ``happened()`` is true while ``process`` lives."""
    until = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
