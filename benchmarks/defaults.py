"""What the defaults gain over their neighbours, on validation alone: the real command, a variant and a seed at a time.

    python benchmarks/defaults.py --seeds 1 2 --output results/

Test figures are neither printed nor read: every run's result is reduced to ``metrics.validation``. A run that is there
already is not repeated, so the script may be stopped and started again.
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

VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "noise 0.05": ("augment.noise=0.05",),
    "noise 0.4": ("augment.noise=0.4",),
    "zoom 0": ("augment.zoom=0",),
    "zoom 0.1": ("augment.zoom=0.1",),
    "label smoothing 0": ("loss.label_smoothing=0",),
    "label smoothing 0.2": ("loss.label_smoothing=0.2",),
    "mirrors": ("augment.mirror=true",),
    "quarter turns": ("augment.rotate=quarter",),
    "random erasing 0.5": ("augment.erase=0.5",),
    "learning rate 3e-3": ("optimizer.lr=0.003",),
    "learning rate 0.012": ("optimizer.lr=0.012",),
    "batches of 32": ("trainer.batch_size=32",),
    "36 epochs": ("trainer.epochs=36",),
    "logits pooled": ("model.pool=logits",),
}
QUICK = ("size=tiny", "trainer.epochs=1", "logger=none", "evaluation.resamples=100")
FIGURES = ("top1", "top5", "macro_f1")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--output", type=Path, help="folder of the results; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="two variants of the tiny size: whether it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        output = arguments.output or Path(scratch)
        if arguments.quick:
            print(table(collect(["defaults", "zoom 0"], [1], output, QUICK)))
        else:
            print(table(collect(arguments.variants, arguments.seeds, output)))


def collect(
    variants: list[str], seeds: list[int], output: Path, more: tuple[str, ...] = ()
) -> dict[str, list[dict[str, dict[str, float]]]]:
    """Return the validation figures of each variant, a run a seed."""
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for seed in seeds:
        for name in variants:
            found.setdefault(name, []).append(validation(name, seed, output, more))
            print(f"seed {seed}, {name}: macro-F1 {found[name][-1]['macro_f1']['value']:.3f}", flush=True)
    return found


def validation(name: str, seed: int, output: Path, more: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return the validation figures of one run, trained now unless it is there."""
    kept = output / f"{name.replace(' ', '-')}-{seed}.json"
    if not kept.exists():
        folder = output / "runs" / kept.stem
        words = [*VARIANTS[name], *more, f"seed={seed}", "evaluation.baselines=[]", f"output_dir={folder}"]
        words.append(f"data_dir={os.environ.get('SGEXP_DATA', output / 'data')}")
        subprocess.run([sys.executable, "-m", "sgexp", *words], check=True, stdout=subprocess.DEVNULL)
        newest = max(folder.glob("train/*/result.json"))  # one that was interrupted may lie beside it
        kept.write_text(json.dumps(json.loads(newest.read_text())["metrics"]["validation"]))
    return json.loads(kept.read_text())


def table(found: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """Return a Markdown table: each figure's mean over seeds, its spread, and the mean half-width of its interval.

    The last column is the ratio of the macro-F1 to that of the first variant.
    """
    lines = ["| variant | " + " | ".join(FIGURES) + " | ratio |", "|---" * (len(FIGURES) + 2) + "|"]
    means = {name: float(np.mean([run["macro_f1"]["value"] for run in runs])) for name, runs in found.items()}
    first = next(iter(means.values()))
    for name, runs in found.items():
        cells = []
        for figure in FIGURES:
            values = np.array([run[figure]["value"] for run in runs])
            half = np.mean([(run[figure]["high"] - run[figure]["low"]) / 2 for run in runs])
            cells.append(f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f}; interval +-{half:.3f})")
        cells.append(f"{means[name] / first:.3f}" if first else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
