"""A sweep of tiny trainings beside the same commands given one by one, and beside what no way of starting them saves.

Each job trains on 60 crystals for an epoch, so nearly all of its time is starting Python and importing PyTorch: what a
launcher adds would show here, and nowhere else. The data are made beforehand.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import Table, machine, medians

TINY = ("size=tiny", "trainer.epochs=1", "logger=none")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one job, one round: to see whether it runs")
    parser.add_argument("--jobs", type=int, default=20, help="jobs of the sweep (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the medians count (default 3)")
    parser.add_argument("--together", type=int, nargs="*", default=[1, 2], help="launcher.jobs to try (default 1 2)")
    options = parser.parse_args()
    if options.quick:
        options.jobs, options.rounds, options.together = 1, 1, [1]
    print(machine("torch", "hydra-core"))
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.jobs, options.rounds, options.together)


def measure(folder: Path, jobs: int, rounds: int, together: Sequence[int]) -> None:
    """Run every way once a round, each round beginning with another, and print a row a way."""
    run(["-m", "sgexp", *TINY], folder)  # makes the data, and warms the disk's cache
    seeds = range(1, jobs + 1)
    ways: dict[str, Callable[[], None]] = {
        "one by one": lambda: [run(["-m", "sgexp", *TINY, f"seed={seed}"], folder) for seed in seeds] and None,
        "imports alone": lambda: [run(["-c", "import sgexp.tasks.train"], folder) for _ in seeds] and None,
    }
    swept = "seed=" + ",".join(map(str, seeds))
    for number in together:
        words = ["-m", "sgexp", "-m", *TINY, swept, "launcher.fresh=true", f"launcher.jobs={number}"]
        ways[f"a sweep, {number} at a time"] = lambda words=words: run(words, folder)  # type: ignore[misc]
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in [*list(ways)[turn % len(ways) :], *list(ways)[: turn % len(ways)]]:
            before = clocks()
            ways[name]()
            seconds[name].append(clocks() - before)
    base = medians(seconds["one by one"])
    table = Table((f"{jobs} jobs", 24), ("seconds", 9), ("ratio", 7), "|", ("processor s", 12), ("ratio", 7))
    for name, measured in seconds.items():
        clock, busy = medians(measured)
        table.row(name, f"{clock:.1f}", f"{clock / base[0]:.3f}", f"{busy:.1f}", f"{busy / base[1]:.3f}")


def run(words: Sequence[str], folder: Path) -> None:
    """Run a Python command to its end in ``folder``; what it prints is shown only when it fails."""
    environment = os.environ | {"SGEXP_DATA": str(folder / "data"), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def clocks() -> np.ndarray:
    """Return seconds by the clock, and of processor time of all processes that have ended, (2,)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), ended.ru_utime + ended.ru_stime])


if __name__ == "__main__":
    main()
