"""`experiment=best` and the systems of the literature on CBED-230 S at equal training time: docs/results.md.

    python benchmarks/best.py --output results/                     # about an hour on one core, and making the data
    python benchmarks/best.py --output results/ --only best default --seeds 1 2 3

Each trains on one thread, from nothing, one after the other, with its own network, optimizer, input code, augmentation
and stages, for as many epochs as fit into the same minutes (an epoch is timed first; all seeds have as many). The best
epoch on validation is judged; figures are means over seeds, and the first experiment is compared with each other
one, paired. `default` is no experiment: the package's own settings.
`smc2019_redistributed` and its honest twin differ from `smc2019_before` by their splits alone, which the
benchmark replaces.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

from laboratory import PARTS, Laboratory, finished, mean_of

COMMON = ("dataset=cbed230", "split=cbed230")
LITERATURE = (
    *("smc2019_before", "smc2019_smote", "stemdl_reference", "stemdl_stfc", "probability_flow", "trickle_down"),
)


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, for each")
    parser.add_argument("--only", nargs="+", default=["best", "default", *LITERATURE], metavar="EXPERIMENT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="two of them on two batches: whether it runs")
    asked = parser.parse_args()
    if asked.quick:
        asked.only = ["best", "default"]
    with tempfile.TemporaryDirectory() as scratch:
        folder, common = f"best_{asked.minutes:g}_minutes", () if asked.quick else COMMON
        laboratory = Laboratory(asked.output or Path(scratch), folder, quick=asked.quick, common=common)
        for name in asked.only:
            train(laboratory, name, asked)
        print(table(laboratory.runs, asked.only, asked.seeds), end="\n\n")
        for part in () if asked.quick else PARTS:
            print(laboratory.compared(part, asked.only, asked.seeds, asked.only[0]), end="\n\n")


def train(laboratory: Laboratory, name: str, asked: argparse.Namespace) -> None:
    """Time an epoch, then train for as many as fit."""
    words = () if name == "default" else (f"experiment={name}",)
    if asked.quick:
        laboratory.train({name: (*words, "trainer.limit_batches=2")}, asked.seeds)
        return
    timing = f"timing_{name}"
    laboratory.train({timing: (*words, "trainer.epochs=2", "evaluation.resamples=100")}, asked.seeds[:1])
    first, second = seconds(finished(laboratory.runs, timing)[asked.seeds[0]])
    epochs = max(2, round(60 * asked.minutes / (second - first)))
    laboratory.train({name: (*words, f"trainer.epochs={epochs}")}, asked.seeds)


def seconds(folder: Path) -> list[float]:
    """Return how long a run had trained at the end of each epoch, its validation included."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return [float(row["seconds"]) for row in csv.DictReader(stream)]


def table(runs: Path, names: list[str], seeds: list[int]) -> str:
    """Return a Markdown table, with the ratio of each macro-F1 on test_material to that of the first row.

    Figures, and the ends of their intervals over families, are means over seeds.
    """
    parts = [f"{part} {figure}" for part in PARTS for figure in ("top-1", "macro-F1")]
    lines = [
        "| experiment | epochs | trained, s | " + " | ".join(parts) + " | ratio |",
        "|---" * (len(parts) + 4) + "|",
    ]
    first = 0.0
    for name in names:
        folders = [finished(runs, name)[seed] for seed in seeds]
        metrics = [json.loads((folder / "result.json").read_text())["metrics"] for folder in folders]
        means = {
            (part, figure): mean_of([one[part] for one in metrics], figure)
            for part in PARTS
            for figure in ("top1", "macro_f1")
        }
        times = [seconds(folder) for folder in folders]
        first = first or means["test_material", "macro_f1"][0]
        ratio = means["test_material", "macro_f1"][0] / first if first else float("nan")
        cells = [f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in means.values()]
        trained = sum(one[-1] for one in times) / len(times)
        lines.append(f"| {name} | {len(times[0])} | {trained:.0f} | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
