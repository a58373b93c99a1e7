"""What the benchmarks share: the machine's name, clocks, measuring in turns, medians and printed tables."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil

Prepare = Callable[[], None]
"""What is done before a measurement and not measured."""
Run = Callable[[int], None]
"""What is measured; it is told the round, 0 being the one that warms up."""


def r1(ours: np.ndarray, reference: np.ndarray) -> float:
    """Return sum |ours - reference| / sum reference, the R factor of two patterns."""
    return float(np.abs(ours - reference).sum() / reference.sum())


def machine(*packages: str) -> str:
    """Name the processor, the cores this process may use, how busy they are now, and versions."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    busy = f"{usable} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS {threads}"
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    return ", ".join([processor(), busy, f"Python {platform.python_version()}", *versions])


def processor() -> str:
    """Return the processor's name as the operating system tells it (virtual machines often hide the model)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def clocks() -> np.ndarray:
    """Return seconds by the clock and of processor time, (2,); the second leaves out what other programs take.

    Processor time is this process's and that of its children, in user code and in the kernel.
    """
    busy = time.process_time()
    for child in psutil.Process().children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.Error:  # it ended just now
            continue
        busy += spent.user + spent.system
    return np.array([time.perf_counter(), busy])


def in_turns(ways: Mapping[str, tuple[Prepare, Run]], rounds: int) -> dict[str, np.ndarray]:
    """Call each way, (prepare, run), once a round and return the seconds (clock, processor) of its run, (rounds, 2).

    In turns, so that a machine that others use slows all ways alike; each round begins with another way. Round 0 is
    called but not measured (memory, kernels and worker processes warm up).
    """
    gc.collect()
    gc.freeze()  # what was imported need not be searched for garbage before each measurement
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        first = turn % len(ways)
        for name in [*list(ways)[first:], *list(ways)[:first]]:
            prepare, run = ways[name]
            prepare()
            gc.collect()
            begin = clocks()
            run(turn)
            if turn:
                seconds[name].append(clocks() - begin)
    return {name: np.array(measured) for name, measured in seconds.items()}


def medians(seconds: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the median clock and processor seconds of several measurements, (2,)."""
    return np.median(seconds, axis=0)


class Table:
    """A table whose rows are printed as soon as they are known: ``columns`` are (title, width), and "|" separates.

    The first column stands left, the others right.
    """

    def __init__(self, *columns: tuple[str, int] | str) -> None:
        self.columns = columns
        titles = [column[0] for column in columns if not isinstance(column, str)]
        self.row(*titles)

    def row(self, *cells: object) -> None:
        """Print one row; cells beyond the last column stand as they are, and a row may end early, with a remark."""
        line, rest = [], [str(cell) for cell in cells]
        for column in self.columns:
            if isinstance(column, str):
                line.append(column)
            elif rest:
                line.append(f"{rest.pop(0):{'>' if len(line) else '<'}{column[1]}}")
        print(" ".join([*line, *rest]).rstrip(" |"), flush=True)
