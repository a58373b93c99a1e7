"""``sampler=physical`` against SMOTE and plain training at equal time, simulation included: docs/results.md.

    python benchmarks/physical.py --output results/ --seeds 1 2 3 --budget 60
    python benchmarks/physical.py --quick    # two treatments of the tiny size: whether it runs

Time is processor time: what a simulated crystal cost is recorded with it, and the cost of an epoch is measured on plain
runs. Each treatment is given the same seconds in all, so that the one that simulates trains for fewer epochs. Beside it
stands ``physical_steps``, with as many steps as the others and its simulation on top. The figures are those of the
validation part, over all seeds, and what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from treatments import figures, table

QUICK = ["size=tiny", "evaluation.resamples=100"]
COMMON = ("evaluation.baselines=[]", "logger=none", "callbacks.progress=false")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=30, help="of those that do not simulate")
    parser.add_argument("--draws", type=int, default=512, help="of an epoch")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of simulation")
    parser.add_argument("--size", nargs="+", default=["size=small"], help="words on the data, such as size=tiny")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the five, such as plain smote physical")
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="two treatments of the tiny size: whether it runs")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.epochs, asked.draws, asked.budget, asked.size = [1], 2, 40, 1.0, QUICK
    with tempfile.TemporaryDirectory() as scratch:
        asked.output = asked.output or Path(scratch)
        compare(asked)


def compare(asked: argparse.Namespace) -> None:
    """Run what is missing of the treatments, and print the table."""
    common = (*COMMON, *asked.size, f"trainer.epoch_draws={asked.draws}")
    epoch = 1.0 if asked.quick else seconds_of_an_epoch(asked.output, common)
    fewer = max(2, round(asked.epochs - asked.budget / epoch))
    print(f"an epoch: {epoch:.2f} s; budget {asked.budget:g} s = {asked.budget / epoch:.1f} epochs", file=sys.stderr)
    made = ("sampler=physical", "sampler.balance=sqrt", f"sampler.budget={asked.budget:g}")
    treatments: dict[str, tuple[tuple[str, ...], int]] = {
        "plain": ((), asked.epochs),
        "smote": (("sampler=smote", "sampler.balance=sqrt"), asked.epochs),
        "random_over": (("sampler=random_over", "sampler.balance=sqrt"), asked.epochs),
        "physical": (made, fewer),
        "physical_steps": (made, asked.epochs),
    }
    chosen = ("plain", "physical") if asked.quick else asked.only or tuple(treatments)
    treatments = {name: treatments[name] for name in chosen}
    for seed in asked.seeds:
        for name, (words, epochs) in treatments.items():
            train(asked.output, name, seed, (*words, *common, f"trainer.epochs={epochs}"))
    folder = asked.output / "outputs" / "train"
    print(f"{asked.epochs} epochs of {asked.draws} draws; physical {fewer}; seeds {asked.seeds}")
    print(table({name: figures(folder, name, asked.seeds) for name in treatments}))


def train(output: Path, name: str, seed: int, words: tuple[str, ...]) -> None:
    """Train one treatment with one seed unless that is finished."""
    for path in (output / "outputs" / "train").glob(f"????-??-??_??-??-??_{name}-????????*/result.json"):
        record = json.loads(path.read_text())
        if record["seed"] == seed and record["status"] == "finished":
            return
    words = (*words, f"seed={seed}", f"name={name}", f"output_dir={output / 'outputs'}")
    data = os.environ.get("SGEXP_DATA", str(output / "data"))
    subprocess.run([sys.executable, "-m", "sgexp", *words, f"data_dir={data}"], check=True, stdout=subprocess.DEVNULL)
    print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)


def seconds_of_an_epoch(output: Path, common: tuple[str, ...]) -> float:
    """Return the processor seconds of one epoch of plain training, measured once for a folder."""
    known = output / "seconds_of_an_epoch.json"
    if not known.is_file():
        seconds_of(output, 1, common)  # makes the data, where they are not there
        long, short = (seconds_of(output, epochs, common) for epochs in (6, 2))
        known.write_text(json.dumps((long - short) / 4))
    return json.loads(known.read_text())


def seconds_of(output: Path, epochs: int, common: tuple[str, ...]) -> float:
    """Return the processor seconds that a plain run of so many epochs takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    train(output / "timing" / str(epochs), "timing", 0, (*common, f"trainer.epochs={epochs}"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
