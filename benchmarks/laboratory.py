"""Trainings by the real command, side by side, for the scripts that compare them; what is finished is kept.

Each script has a folder of its own below the output, since runs are known by name and seed; the data are shared.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sgexp.console import progress

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
QUICK = ("size=tiny", "trainer.epochs=1", "trainer.epoch_draws=40", "evaluation.resamples=100")
FIGURES = ("top1", "top5", "balanced_accuracy", "macro_f1")
PARTS = ("validation", "test_material", "test_family")


class Laboratory:
    """Trains what is missing below ``output/name``, ``jobs`` at a time on a thread each, all with the words ``common``.

    ``quick`` adds ``QUICK``. Data are those of SGEXP_DATA, or below ``output/data``.
    """

    def __init__(self, output: Path, name: str, jobs: int = 1, quick: bool = False, common: Sequence[str] = ()) -> None:
        self.folder, self.jobs = output.resolve() / name, jobs
        self.data = os.environ.get("SGEXP_DATA", output.resolve() / "data")
        self.common = (*common, "evaluation.baselines=[]", "logger=none")
        self.last = QUICK if quick else ()
        self.runs = self.folder / "outputs" / "train"

    def train(self, treatments: dict[str, tuple[str, ...]], seeds: Sequence[int]) -> None:
        """Train each treatment with each seed that is missing."""
        wanted = [(name, words, seed) for seed in seeds for name, words in treatments.items()]
        missing = [(name, words, seed) for name, words, seed in wanted if seed not in finished(self.runs, name)]
        with progress() as bar, ThreadPoolExecutor(self.jobs) as pool:
            task = bar.add_task("trainings", total=len(missing))
            for _ in pool.map(lambda job: self.train_one(*job), missing):
                bar.advance(task)

    def train_one(self, name: str, words: Sequence[str], seed: int) -> None:
        """Train once, by the command; ``{plain}`` stands for the folder of plain training with this seed."""
        if any("{plain}" in word for word in words):
            plain = finished(self.runs, "plain").get(seed)
            if plain is None:
                raise SystemExit(f"{name} needs the network of plain training with seed {seed}: train plain first.")
            words = [word.replace("{plain}", str(plain)) for word in words]
        places = [f"name={name}", f"output_dir={self.folder / 'outputs'}", f"data_dir={self.data}", "resume=auto"]
        command = [sys.executable, "-m", "sgexp", *self.common, *words, *self.last, *places, f"seed={seed}"]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | ONE_THREAD)
        if ended.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")

    def seconds_of_an_epoch(self, name: str, words: Sequence[str]) -> float:
        """Return the processor seconds of an epoch with these words, measured once: of six epochs less two."""
        known = self.folder / f"seconds_of_an_epoch_{name}.json"
        if not known.is_file():
            # The first makes the data, where they are not there.
            self.train_one(f"timing_{name}_1", (*words, "trainer.epochs=1"), 0)
            spent = []
            for epochs in (6, 2):
                before = children_seconds()
                self.train_one(f"timing_{name}_{epochs}", (*words, f"trainer.epochs={epochs}"), 0)
                spent.append(children_seconds() - before)
            known.write_text(json.dumps((spent[0] - spent[1]) / 4))
        return json.loads(known.read_text())

    def compared(self, part: str, names: Sequence[str], seeds: Sequence[int], reference: str) -> str:
        """Return a Markdown table of ``task=compare``: paired by seed, what each run differs from ``reference`` by."""
        runs = [finished(self.runs, name)[seed] for name in names for seed in seeds]
        answer = self.folder / f"compare_{part}_{reference}.json"
        words = [f"task.runs=[{','.join(map(str, runs))}]", f"task.reference={reference}", f"task.part={part}"]
        words += ["task.figures=[macro_f1,top1]", f"task.json={answer}", f"output_dir={self.folder / 'outputs'}"]
        subprocess.run([sys.executable, "-m", "sgexp", "task=compare", *words], check=True, stdout=subprocess.DEVNULL)
        return comparison(part, reference, json.loads(answer.read_text())["comparisons"])


def children_seconds() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def finished(folder: Path, name: str) -> dict[int, Path]:
    """Return the folders of a treatment's finished runs in ``folder`` by seed."""
    # The whole name of a run's folder, DATE_TIME_NAME-HASH: "smote" is not "borderline_smote".
    found = sorted(folder.glob(f"????-??-??_??-??-??_{name}-????????*/result.json"))
    records = [(json.loads(path.read_text()), path.parent) for path in found]
    return {record["seed"]: folder for record, folder in records if record["status"] == "finished"}


def figures(folder: Path, name: str, seeds: Sequence[int]) -> list[dict[str, dict[str, float]]]:
    """Return the validation figures of a treatment's runs with these seeds."""
    found = finished(folder, name)
    return [json.loads((found[seed] / "result.json").read_text())["metrics"]["validation"] for seed in seeds]


def table(found: dict[str, list[dict[str, dict[str, float]]]], best_first: bool = True) -> str:
    """Return a Markdown table: means over seeds with the mean interval over families, best macro-F1 first.

    The last column is the ratio of the macro-F1 to that of plain training, where that is among them.
    """
    lines = ["| treatment | " + " | ".join(FIGURES) + " | ratio to plain |", "|---" * (len(FIGURES) + 2) + "|"]
    means = {name: {key: mean_of(runs, key) for key in FIGURES} for name, runs in found.items()}
    plain = means["plain"]["macro_f1"][0] if "plain" in means else 0.0
    for name in sorted(means, key=lambda name: -means[name]["macro_f1"][0] if best_first else 0.0):
        cells = [f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in means[name].values()]
        cells.append(f"{means[name]['macro_f1'][0] / plain:.2f}" if plain else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison(part: str, reference: str, found: Sequence[dict]) -> str:
    """Return a Markdown table of comparisons with ``reference``, best first."""
    lines = [
        f"| {part}: run | figure | run | {reference} | difference | p (Holm) | detectable | shown |",
        "|---" * 8 + "|",
    ]
    signs = [(one, 1 if one["b"] == reference else -1) for one in found]
    for one, sign in sorted(signs, key=lambda pair: (pair[0]["figure"], -pair[1] * pair[0]["difference"]["value"])):
        name, value, base = (
            (one["a"], one["value_a"], one["value_b"]) if sign > 0 else (one["b"], one["value_b"], one["value_a"])
        )
        low, high = sorted((sign * one["difference"]["low"], sign * one["difference"]["high"]))
        cells = [
            name,
            one["figure"],
            f"{value:.3f}",
            f"{base:.3f}",
            f"{sign * one['difference']['value']:+.3f} [{low:+.3f}, {high:+.3f}]",
        ]
        cells += [f"{one['p_holm']:.3f}", f"{one['detectable']:.3f}", "yes" if one["shown"] else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_of(runs: list[dict[str, dict[str, float]]], figure: str) -> list[float]:
    """Return a figure's mean over runs, and the means of its interval's two ends."""
    return [float(np.mean([run[figure][key] for run in runs])) for key in ("value", "low", "high")]
