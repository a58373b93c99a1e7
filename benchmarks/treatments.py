"""Every treatment of the imbalance against plain training, with equal numbers of steps, on one split: docs/results.md.

    python benchmarks/treatments.py --output results/                            # screen all, one seed, by validation
    python benchmarks/treatments.py --output results/ --only plain smote mixup --seeds 1 2 3 4 5
    python -m sgexp task=compare task.part=validation output_dir=results/outputs   # paired, corrected

Each treatment is a sweep of the real command over the seeds; what is finished is not run again, so the script may be
stopped and started again. It prints figures of the validation part alone: the test is for the few that are confirmed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# As many draws an epoch for all: a plan that balances to the largest group has sixteen times as many.
STEPS = ("trainer.epoch_draws=1757", "evaluation.baselines=[]", "logger=none")
TREATMENTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "mixup": ("mixing=mixup",),
    "logit_adjusted": ("loss=logit_adjusted",),
    "balanced_softmax": ("loss=balanced_softmax",),
    "smote": ("sampler=smote",),
    "crt": ("stage=crt",),
    "sqrt": ("sampler=sqrt",),
    "cutmix": ("mixing=cutmix",),
    "ldam_drw": ("loss=ldam", "stage=drw"),
    "class_balanced_sampler": ("sampler=class_balanced",),
    "focal": ("loss=focal",),
    "drw": ("stage=drw",),
    "random_over": ("sampler=random_over",),
    "family_balanced": ("sampler=family_balanced",),
    "seesaw": ("loss=seesaw",),
    "progressive": ("sampler=progressive",),
    "remix": ("mixing=remix",),
    "deferred": ("sampler=deferred",),
    "class_balanced_loss": ("loss=class_balanced",),
    "lws": ("stage=lws",),
    "cmo": ("mixing=cmo",),
    "weighted": ("loss=weighted",),
    "influence_balanced": ("loss=influence_balanced",),
    "repeat_factor": ("sampler=repeat_factor",),
    "borderline_smote": ("sampler=borderline_smote",),
    "m_per_class": ("sampler=m_per_class",),
    "drs": ("stage=drs",),
    "random_under": ("sampler=random_under",),
}
QUICK = ("size=tiny", "trainer.epochs=1", "trainer.epoch_draws=40", "evaluation.resamples=100")
FIGURES = ("top1", "top5", "balanced_accuracy", "macro_f1")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", default=list(TREATMENTS), choices=list(TREATMENTS), metavar="NAME")
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="two treatments of the tiny size: whether it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        output = arguments.output or Path(scratch)
        names, more = (["plain", "mixup"], QUICK) if arguments.quick else (arguments.only, ())
        for name in names:
            train(name, arguments.seeds, output, more)
        print(table({name: figures(output / "outputs" / "train", name, arguments.seeds) for name in names}))


def train(name: str, seeds: list[int], output: Path, more: tuple[str, ...]) -> None:
    """Train one treatment with every seed that is missing."""
    words = [*TREATMENTS[name], *STEPS, *more, f"name={name}", f"output_dir={output / 'outputs'}"]
    words += [f"data_dir={os.environ.get('SGEXP_DATA', output / 'data')}", f"seed={','.join(map(str, seeds))}"]
    print(f"{name}, seeds {seeds}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "sgexp", "-m", *words], check=True, stdout=subprocess.DEVNULL)


def figures(folder: Path, name: str, seeds: list[int]) -> list[dict[str, dict[str, float]]]:
    """Return the validation figures of a treatment's runs with these seeds."""
    # The whole name of a run's folder, DATE_TIME_NAME-HASH: "smote" is not "borderline_smote".
    found = sorted(folder.glob(f"????-??-??_??-??-??_{name}-????????*/result.json"))
    records = [json.loads(path.read_text()) for path in found]
    kept = {record["seed"]: record["metrics"]["validation"] for record in records if record["status"] == "finished"}
    return [kept[seed] for seed in seeds]


def table(found: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """Return a Markdown table: means over seeds with the mean interval over families, best macro-F1 first.

    The last column is the ratio of the macro-F1 to that of plain training, where that is among them.
    """
    lines = ["| treatment | " + " | ".join(FIGURES) + " | ratio to plain |", "|---" * (len(FIGURES) + 2) + "|"]
    means = {name: {key: mean_of(runs, key) for key in FIGURES} for name, runs in found.items()}
    plain = means["plain"]["macro_f1"][0] if "plain" in means else 0.0
    for name in sorted(means, key=lambda name: -means[name]["macro_f1"][0]):
        cells = [f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in means[name].values()]
        cells.append(f"{means[name]['macro_f1'][0] / plain:.2f}" if plain else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_of(runs: list[dict[str, dict[str, float]]], figure: str) -> list[float]:
    """Return a figure's mean over runs, and the means of its interval's two ends."""
    return [float(np.mean([run[figure][key] for run in runs])) for key in ("value", "low", "high")]


if __name__ == "__main__":
    main()
