"""The command as a person gives it: run to its end, or started and left to be disturbed."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
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
    """Wait for a started command; one that never ends is ended, with all that it has started."""
    try:
        out, err = process.communicate(timeout=1200)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Ended(process.returncode, out, err)


def command(*arguments: str, cwd: Path, **options: Any) -> Ended:
    """Run the command to its end."""
    return end(start(*arguments, cwd=cwd, **options))


def runs(cwd: Path) -> list[Path]:
    """Return the run folders below ``cwd``, oldest first.

    Their names tell the second; which of two of one second is the older is told by what is written first, and once.
    """

    def made(folder: Path) -> tuple[str, float]:
        try:
            return folder.name[:19], (folder / "provenance.json").stat().st_mtime_ns
        except FileNotFoundError:
            return folder.name[:19], float("inf")

    return sorted((cwd / "outputs" / "train").glob("*"), key=made)


def only_run(cwd: Path) -> Path:
    """Return the one run folder below ``cwd``."""
    (folder,) = runs(cwd)
    return folder


def result(folder: Path) -> dict[str, Any]:
    """Return what result.json says."""
    return json.loads((folder / "result.json").read_text())


def digests(folder: Path, names: str = "[!.]*") -> dict[str, str]:
    """Return name and digest of the files in a folder that are called so; of all that are not hidden unless told."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(names))}


def wait_for(happened: Any, process: subprocess.Popen[str], seconds: float = 480.0) -> None:
    """Wait until ``happened()`` is true while ``process`` lives."""
    until = time.monotonic() + seconds
    while not happened():
        # Once more after its end: it may have come to an end since it was asked.
        assert process.poll() is None or happened(), f"ended too early: {process.communicate()}"
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Hold a process still (SIGSTOP) while the body runs; what it was told meanwhile it hears after that."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + 480.0
        while (told := status(pid)) and told["State"][0] not in "TZ":  # one that waits for a disk stops after that
            assert time.monotonic() < until, f"process {pid} does not stop: {told['State']}"
            time.sleep(0.005)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def has_heard(pid: int) -> bool:
    """Say whether a signal has come to a process that is held; it may have ended it, or let it go on."""
    told = status(pid)
    return not told or int(told["ShdPnd"], 16) > 0 or not told["State"].startswith("T")


def status(pid: int) -> dict[str, str]:
    """Return what the system says of a process; {} where it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines())


def wait_for_all(process: subprocess.Popen[str], seconds: float = 240.0) -> None:
    """Wait until nobody of a command's process group is left."""
    until = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        raise AssertionError(f"{seconds:.0f} s after its end processes of the command {process.args!r} are left")


def read_until(words: str, process: subprocess.Popen[str], seconds: float = 480.0) -> str:
    """Return what a started command prints up to ``words``, of one line; `end` returns only what comes after it."""
    heard, until = b"", time.monotonic() + seconds
    assert process.stdout is not None
    while words.encode() not in heard:
        ready, _, _ = select.select([process.stdout], [], [], max(until - time.monotonic(), 0.0))
        piece = os.read(process.stdout.fileno(), 65536) if ready else b""  # nothing that a buffer keeps from `end`
        assert piece, f"never said {words!r}: {heard.decode()}"
        heard += piece
    return heard.decode()


def caught(attempt: Callable[[Path], Found | None], folder: Path, tries: int = 5) -> Found:
    """Return what ``attempt`` gives in a fresh folder below ``folder``; None says that its command was too fast.

    A command that is to be disturbed may be at its end before that, on a fast machine or where the test had to wait.
    """
    for number in range(1, tries + 1):
        found = attempt(folder / f"try_{number}")
        if found is not None:
            return found
    raise AssertionError(f"{tries} times the command ended before it was disturbed")
