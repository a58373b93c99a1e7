"""``sampler=physical`` against SMOTE and plain training at equal time, simulation included: docs/results.md.

    python benchmarks/physical.py --output results/ --seeds 1 2 3 --budget 60
    python benchmarks/physical.py --quick    # two treatments of the tiny size: whether it runs

Time is processor time: what a simulated crystal cost is recorded with it, and the cost of an epoch is measured on plain
runs. Each treatment is given the same seconds in all, so that the one that simulates trains for fewer epochs. Beside it
stands ``physical_steps``, with as many steps as the others and its simulation on top. The first table's figures are
those of the validation part, over all seeds; the others compare, paired, on every part. What is finished is not run
again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from laboratory import PARTS, Laboratory, figures, table

QUICK = ["size=tiny", "evaluation.resamples=100"]


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
    """Run what is missing of the treatments, and print the tables."""
    common = (*asked.size, f"trainer.epoch_draws={asked.draws}")
    laboratory = Laboratory(asked.output, "physical", common=common)
    epoch = 1.0 if asked.quick else laboratory.seconds_of_an_epoch("plain", ())
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
    laboratory.train(
        {name: (*words, f"trainer.epochs={epochs}") for name, (words, epochs) in treatments.items() if name in chosen},
        asked.seeds,
    )
    print(f"{asked.epochs} epochs of {asked.draws} draws; physical {fewer}; seeds {asked.seeds}")
    print(table({name: figures(laboratory.runs, name, asked.seeds) for name in chosen}), end="\n\n")
    for part in () if asked.quick else PARTS:
        for reference in [name for name in ("plain", "smote") if name in chosen]:
            print(laboratory.compared(part, chosen, asked.seeds, reference), end="\n\n")


if __name__ == "__main__":
    main()
