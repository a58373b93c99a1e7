"""Where the time from the command to the first training step goes, with a warm cache of data.

The real command runs in a fresh process, with a stopwatch at the doors of its stages, and is ended after the first
optimizer step; the median of several starts is printed. For scale: Python alone, and the imports of torch and
Lightning alone, each in a fresh process too. The first start of all makes the data and is not counted.

    python benchmarks/startup.py [--rounds 5] [override ...]     # such as size=small or model=resnet50
    python benchmarks/startup.py --quick                         # size=tiny, one round
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Table, machine

STAGES = (
    ("interpreter", "Python starts"),
    ("command", "the command line is read (no torch yet)"),
    ("config", "the config is composed and checked"),
    ("imports", "torch, Lightning and the rest are imported"),
    ("folder", "the run folder and the logger are made"),
    ("data", "the data set is found, its catalog and packed patterns opened"),
    ("plan", "who trains and tests; the draws are planned"),
    ("network", "network, loaders and trainer are built"),
    ("forecast", "a step is timed for the forecast"),
    ("first batch", "Lightning sets up; the first batch is on its device"),
    ("first step", "the first optimizer step is done"),
)
PEERS = (("python", "pass"), ("import torch", "import torch"), ("import pytorch_lightning", "import pytorch_lightning"))


def child(begun: float, overrides: list[str]) -> None:
    """Run the command with a stopwatch at its doors; print the marks as JSON on the last line."""
    marks = {"interpreter": time.time() - begun}

    def mark(stage: str) -> None:
        marks.setdefault(stage, time.time() - begun)

    def after(module, name: str, stage: str) -> None:
        inner = getattr(module, name)

        def timed(*args, **kwargs):
            value = inner(*args, **kwargs)
            mark(stage)
            return value

        setattr(module, name, timed)

    sys.argv = ["sgexp", *overrides]
    from sgexp import jobs
    from sgexp.__main__ import main

    mark("command")
    dispatch = jobs.dispatch

    def watched(config):
        mark("config")
        from sgexp.machine import imported

        story = imported("sgexp.tasks.train")
        import pytorch_lightning as pl

        mark("imports")
        for name, stage in (("prepare_data", "data"), ("make_plan", "plan"), ("make_trainer", "network")):
            after(story, name, stage)
        after(story.terminal, "config_tree", "folder")
        after(story, "announce", "forecast")

        class Stopwatch(pl.Callback):
            def on_train_batch_start(self, *args) -> None:
                mark("first batch")

            def on_train_batch_end(self, *args) -> None:
                mark("first step")
                print(json.dumps(marks), flush=True)
                os._exit(0)

        inner = story.make_trainer

        def with_stopwatch(*args, **kwargs):
            kwargs["extra_callbacks"] = [*kwargs["extra_callbacks"], Stopwatch()]
            return inner(*args, **kwargs)

        story.make_trainer = with_stopwatch
        return dispatch(config)

    jobs.dispatch = watched
    main()


def seconds_of(command: list[str], cwd: Path) -> tuple[float, str]:
    """Return how long a command takes by the clock, and what it printed."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - begin, done.stdout


def main() -> None:
    """Start the command some times and print the median of each stage."""
    if sys.argv[1:2] == ["--child"]:
        child(float(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="size=tiny, one round")
    parser.add_argument("overrides", nargs="*", help="what to train, as on the command line")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.overrides = 1, ["size=tiny", *asked.overrides]
    print(f"machine: {machine('torch', 'pytorch-lightning', 'hydra-core')}")
    print(f"python -m sgexp {' '.join(asked.overrides)}")
    with tempfile.TemporaryDirectory() as folder:
        here = [sys.executable, str(Path(__file__).resolve()), "--child"]
        starts = []
        for turn in range(asked.rounds + 1):
            _, printed = seconds_of([*here, str(time.time()), "logger=none", *asked.overrides], Path(folder))
            if turn:
                starts.append(json.loads(printed.splitlines()[-1]))
        table = Table(("stage", 62), ("s", 7), ("in all", 7))
        before = 0.0
        for stage, words in STAGES:
            until = float(np.median([start[stage] for start in starts]))
            table.row(words, f"{until - before:.2f}", f"{until:.2f}")
            before = until
        for name, code in PEERS:
            alone = np.median([seconds_of([sys.executable, "-c", code], Path(folder))[0] for _ in range(asked.rounds)])
            table.row(f"alone: {name}", f"{alone:.2f}")
        print(f"ratio {before / alone:.2f} of the first step's time to that of importing Lightning alone, the floor")


if __name__ == "__main__":
    main()
