"""The leak of the 2019 project: the same network on the same patterns, tested on each split's own test.

    python benchmarks/leak.py --output results/     # about half an hour on one core, simulation included
    python benchmarks/leak.py --quick               # the tiny size: whether it runs

Each crystal has four patterns, at four beam energies. `sample` draws samples, as the project did: a crystal is tested
at one energy and was trained on at another. `material` keeps crystals together, `nested` also tests whole families.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from laboratory import Laboratory, finished, mean_of

DATA = ("size.materials=1450", "size.energies_per_material=4", "size.train_pixels=32", "trainer.epochs=16")
SHARES = ("split.validation=0.1", "split.test_material=0.15")
SPLITS = {
    "sample": ("split=sample", *SHARES),
    "material": ("split=material", *SHARES),
    "nested": ("split=nested", "split.validation=0.1", "split.test_material=0.15", "split.test_family=0.15"),
}
TOLD = {
    ("sample", "test_material"): "other energies of crystals trained on (leaky)",
    ("material", "test_material"): "new crystals, most of known families",
    ("nested", "test_material"): "new crystals of known families",
    ("nested", "test_family"): "families never seen",
}
FIGURES = ("top1", "balanced_accuracy", "macro_f1")


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, of one thread each")
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="the tiny size: whether it runs")
    asked = parser.parse_args()
    seeds = [1] if asked.quick else asked.seeds
    with tempfile.TemporaryDirectory() as scratch:
        common = () if asked.quick else DATA
        laboratory = Laboratory(asked.output or Path(scratch), "leak", asked.jobs, asked.quick, common)
        laboratory.train(SPLITS, seeds[:1])  # the first makes the data, alone
        laboratory.train(SPLITS, seeds)
        print(table(laboratory.runs, seeds))


def table(runs: Path, seeds: list[int]) -> str:
    """Return a Markdown table: means over seeds, with the ratio of top-1 to that of the honest headline."""
    found = {split: [read(finished(runs, split)[seed]) for seed in seeds] for split in SPLITS}
    means = {
        (split, part): {name: mean_of([record[part] for record in found[split]], name) for name in FIGURES}
        for split, part in TOLD
    }
    honest = means["nested", "test_family"]["top1"][0]
    lines = [
        "| split | what is tested | " + " | ".join(FIGURES) + " | ratio of top-1 |",
        "|---" * (len(FIGURES) + 3) + "|",
    ]
    for (split, part), told in TOLD.items():
        cells = [f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in means[split, part].values()]
        ratio = means[split, part]["top1"][0] / honest if honest else float("nan")
        lines.append(f"| {split} | {told} | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join(lines)


def read(folder: Path) -> dict[str, dict]:
    """Return the figures of a run, by part."""
    return json.loads((folder / "result.json").read_text())["metrics"]


if __name__ == "__main__":
    main()
