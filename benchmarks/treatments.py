"""Every treatment of the imbalance against plain training, in equal numbers of steps: evidence for docs/results.md.

    python benchmarks/treatments.py --output results/            # all of it: about three hours on two idle cores
    python benchmarks/treatments.py --output results/ --steps screen --only plain smote mixup

1. `curve`: plain training for 12, 24, 48, 96 and 192 epochs, to see whether 24 are enough.
2. `screen`: every treatment once, by validation alone.
3. `confirm`: plain training, SMOTE and the five others with the best macro-F1 of the screening, five seeds each; by
   validation alone.
4. `test`: these against plain training on the two tests, which nothing before has looked at. Paired, and corrected by
   Holm's method.
5. `posthoc`: plain training's five networks corrected for class frequency without training, tau chosen on validation.

The data are like those of the default run, 5,800 crystals at 32 pixels; half of them judge, so that small effects can
be found. Each training is the real command; what is finished is not run again, so the script may be stopped and started
again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from laboratory import ONE_THREAD, PARTS, Laboratory, figures, finished, mean_of, table

DATA = (
    "size.materials=5800",
    "size.train_pixels=32",
    "split.validation=0.15",
    "split.test_material=0.15",
    "split.test_family=0.2",
)
# As many draws an epoch for all as training crystals: a plan that balances to the largest group has many more.
DRAWS = "trainer.epoch_draws=2871"
EPOCHS = 24
SEEDS = (1, 2, 3, 4, 5)
MOST_PROMISING = 5
ORDER = ("curve", "screen", "confirm", "test", "posthoc")
CURVE = (12, 24, 48, 96, 192)
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
    "staged": ("sampler=staged",),
    "tau_0.5": ("loss=logit_adjusted", "loss.tau=0.5"),
    "mixup_balanced_softmax": ("mixing=mixup", "loss=balanced_softmax"),
}
# Looked at when the choice for confirmation had been made: screened where --only names them.
LATER: dict[str, tuple[str, ...]] = {
    "smote_sqrt": ("sampler=smote", "sampler.balance=sqrt"),
    "adasyn": ("sampler=adasyn",),
    "cluster_centroids": ("sampler=cluster_centroids",),
    "hierarchical": ("head=hierarchical",),
    "random_under_fresh": ("sampler=random_under", "sampler.fresh=true"),
    "smote_fresh": ("sampler=smote", "sampler.fresh=true"),
    "set": ("model=set",),
    "instance_hardness_discriminant": ("sampler=instance_hardness", "sampler.estimator=discriminant"),
    "embedding_smote": ("sampler=embedding_smote", "sampler.run={plain}"),  # plain training's folder, same seed
    **{name: (f"sampler={name}",) for name in ("svm_smote", "kmeans_smote", "near_miss", "instance_hardness")},
    **{
        name: (f"sampler={name}", "sampler.rare=keep")  # all refuse otherwise: they would empty classes
        for name in (
            *("smote_enn", "smote_tomek", "tomek_links", "enn", "renn", "all_knn", "neighbourhood_cleaning"),
            *("one_sided_selection", "condensed_nn"),
        )
    },
}


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", default=list(ORDER), choices=ORDER, metavar="STEP")
    parser.add_argument("--only", nargs="+", default=list(TREATMENTS), choices=[*TREATMENTS, *LATER], metavar="NAME")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each training but the curve's")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of the confirmation and after")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, of one thread each")
    parser.add_argument("--output", type=Path, help="folder of the runs; without it they are not kept")
    parser.add_argument("--quick", action="store_true", help="two of the tiny size, one seed: whether it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = "treatments" if arguments.epochs == EPOCHS else f"treatments_{arguments.epochs}_epochs"
        common = (*(() if arguments.quick else DATA), f"trainer.epochs={arguments.epochs}", DRAWS)
        run(Treatments(arguments.output or Path(scratch), folder, arguments.jobs, arguments.quick, common), arguments)


def run(laboratory: Treatments, arguments: argparse.Namespace) -> None:
    """Run what is missing of the steps asked for, then print their tables."""
    names = ["plain", "mixup"] if arguments.quick else arguments.only
    seeds = [1] if arguments.quick else arguments.seeds
    if "curve" in arguments.steps and not arguments.quick:
        print(laboratory.curve(), end="\n\n")
    screened = laboratory.screened(names)
    if "screen" in arguments.steps:
        print(table(screened), end="\n\n")
    if "posthoc" in arguments.steps and "plain" in names:
        print(laboratory.corrected_afterwards(seeds), end="\n\n")
    if "confirm" not in arguments.steps and "test" not in arguments.steps:
        return
    chosen = confirmed(screened)
    laboratory.train({name: (TREATMENTS | LATER)[name] for name in chosen}, seeds)
    for part in PARTS if "test" in arguments.steps else PARTS[:1]:
        print(laboratory.compared(part, chosen, seeds, "plain"), end="\n\n")
        if {"smote", "random_over"} <= set(chosen):  # mixing against repeating
            print(laboratory.compared(part, ["smote", "random_over"], seeds, "random_over"), end="\n\n")


class Treatments(Laboratory):
    """The steps that are more than training and comparing."""

    def curve(self) -> str:
        """Train the plain network for longer and longer; return a table of its validation figures."""
        lengths = {f"plain_{epochs}_epochs": (f"trainer.epochs={epochs}",) for epochs in CURVE}
        self.train(lengths, SEEDS[:1])
        return table({name: figures(self.runs, name, SEEDS[:1]) for name in lengths}, best_first=False)

    def screened(self, names: Sequence[str]) -> dict[str, list[dict[str, dict[str, float]]]]:
        """Train treatments with one seed; return their validation figures."""
        known = TREATMENTS | LATER
        self.train({name: known[name] for name in names}, SEEDS[:1])
        return {name: figures(self.runs, name, SEEDS[:1]) for name in names}

    def corrected_afterwards(self, seeds: Sequence[int]) -> str:
        """Evaluate plain networks with post-hoc corrections; return a Markdown table of means over seeds."""
        self.train({"plain": ()}, seeds)
        runs = self.folder / "outputs" / "evaluate"
        for seed in seeds:
            if seed not in finished(runs, "posthoc"):
                run = finished(self.runs, "plain")[seed]
                words = [f"run={run}", "task.posthoc=all", "name=posthoc", "evaluation.baselines=[]"]
                words += [f"output_dir={self.folder / 'outputs'}", f"data_dir={self.data}"]
                command = [sys.executable, "-m", "sgexp", "task=evaluate", *words]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | ONE_THREAD)
        records = [json.loads((finished(runs, "posthoc")[seed] / "result.json").read_text()) for seed in seeds]
        ways = {"plain": [(0.0, record["metrics"]) for record in records]}
        for way in ("logit_adjustment", "tau_normalisation"):
            ways[way] = [(record["posthoc"][way]["tau"], record["posthoc"][way]["metrics"]) for record in records]
        columns = [(part, figure) for part in PARTS[1:] for figure in ("top1", "macro_f1")]
        lines = [
            f"| corrected afterwards | tau | {' | '.join(f'{part} {figure}' for part, figure in columns)} | ratio |",
            "|---" * (len(columns) + 3) + "|",
        ]
        base = mean_of([metrics["test_material"] for _, metrics in ways["plain"]], "macro_f1")[0]
        for way, found in ways.items():
            means = [mean_of([metrics[part] for _, metrics in found], figure) for part, figure in columns]
            cells = [f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in means]
            taus = "" if way == "plain" else ", ".join(f"{tau:g}" for tau, _ in found)
            lines.append(f"| {way} | {taus} | {' | '.join(cells)} | {means[1][0] / base if base else 0.0:.2f} |")
        return "\n".join(lines)


def confirmed(screened: dict[str, list[dict[str, dict[str, float]]]]) -> list[str]:
    """Return plain training, SMOTE, and the most promising of the others by the macro-F1 of the screening."""
    always = [name for name in ("plain", "smote") if name in screened]
    others = sorted(set(screened) - set(always), key=lambda name: -mean_of(screened[name], "macro_f1")[0])
    return always + others[:MOST_PROMISING]


if __name__ == "__main__":
    main()
