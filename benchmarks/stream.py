"""Training on a stream of new crystals against a fixed set, at equal time, simulation included: docs/results.md.

    python benchmarks/stream.py --output results/ --minutes 5 --seeds 1 2 3
    python benchmarks/stream.py --quick    # the tiny size: whether it runs

Time is processor time, of one thread. An epoch of each is timed first; the stored patterns are there already. Few of
the crystals train and the others judge, so that small effects can be found: validation, and both tests, paired. What is
finished is not run again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from laboratory import PARTS, Laboratory, figures, table

DATA = (
    *("size.materials=5800", "size.train_pixels=32"),
    *("split.validation=0.2", "split.test_material=0.3", "split.test_family=0.3"),
)


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each")
    parser.add_argument("--keep", type=int, default=8, help="epochs that a simulated pattern is trained on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="the tiny size: whether it runs")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds = [1]
    with tempfile.TemporaryDirectory() as scratch:
        compare(asked.output or Path(scratch), asked)


def compare(output: Path, asked: argparse.Namespace) -> None:
    """Give the fixed set ("plain") and the stream the same seconds, with each seed."""
    laboratory = Laboratory(output, "stream", quick=asked.quick, common=() if asked.quick else DATA)
    treatments = {"plain": (), "stream": ("dataset=stream", f"dataset.keep={asked.keep}")}
    epochs = dict.fromkeys(treatments, 1)
    if not asked.quick:
        for name, words in treatments.items():
            epoch = laboratory.seconds_of_an_epoch(name, words)
            epochs[name] = max(2, round(60 * asked.minutes / epoch))
            print(f"{name}: an epoch takes {epoch:.2f} s, so {epochs[name]} epochs", file=sys.stderr, flush=True)
    laboratory.train(
        {name: (*words, f"trainer.epochs={epochs[name]}") for name, words in treatments.items()}, asked.seeds
    )
    print(f"{epochs['plain']} epochs of the fixed set, {epochs['stream']} of the stream; seeds {asked.seeds}")
    print(table({name: figures(laboratory.runs, name, asked.seeds) for name in treatments}))
    if len(asked.seeds) > 1:
        for part in PARTS:
            print(laboratory.compared(part, list(treatments), asked.seeds, "plain"), end="\n\n")


if __name__ == "__main__":
    main()
