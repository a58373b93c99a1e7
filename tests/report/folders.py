"""Run folders made from a real one: other seeds, samplers and test sets, and what may be wrong with a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE = "<script>document.title='taken'</script>"
HOSTILE_END = "</script><img src=x onerror=document.title='taken'>"


def record(folder: Path) -> dict[str, Any]:
    """Return what a folder's result.json says."""
    return json.loads((folder / "result.json").read_text())


def change(folder: Path, **facts: Any) -> None:
    """Change what result.json says."""
    (folder / "result.json").write_text(json.dumps(record(folder) | facts))


def shifted(metrics: dict[str, Any], by: float) -> dict[str, Any]:
    """Return figures moved by a little, intervals with them."""
    return {
        part: {
            name: {end: float(np.clip(value + by, 0, 1)) for end, value in told.items()} for name, told in own.items()
        }
        for part, own in metrics.items()
    }


def other_run(source: Path, target: Path, by: float, sampler: str = "none", seed: int = 1, **facts: Any) -> Path:
    """Copy a run as one of another sampler or seed, its figures ``by`` better."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("checkpoints", "wandb"))
    told = record(source)
    config = json.loads(json.dumps(told["config"]))
    config["seed"] = seed
    config["sampler"] = config["sampler"] | {"_target_": f"sgexp.sampling.{sampler}.Sampler"}
    choices = told["choices"] | {"sampler": sampler}
    own = {"config": config, "choices": choices, "seed": seed, "name": sampler}
    change(target, **own, metrics=shifted(told["metrics"], by), **facts)
    return target


def folders(source: Path, output_dir: Path) -> Path:
    """Make an output_dir with ten run folders, and four that are none."""
    runs = output_dir / "train"
    runs.mkdir(parents=True)
    for number, (sampler, seed) in enumerate((s, n) for s in ("none", "smote", "random_over") for n in (1, 2)):
        other_run(source, runs / f"{sampler}-{seed}", 0.01 * number, sampler, seed)
    told = record(source)
    hostile = other_run(source, runs / "hostile", 0.2, "smote", 7)
    config = record(hostile)["config"]
    config["model"]["norm"] = HOSTILE_END
    change(hostile, name=HOSTILE, config=config, notes=[HOSTILE], choices=told["choices"] | {"model": HOSTILE_END})
    with np.load(hostile / "gallery.npz") as gallery:
        arrays = {name: gallery[name] for name in gallery.files}
    arrays["formula"] = np.full(len(arrays["formula"]), HOSTILE_END)
    np.savez(hostile / "gallery.npz", **arrays)
    for path in runs.glob("*/predictions_test.npz"):  # of all: the runs must stay comparable
        with np.load(path) as predictions:
            arrays = {name: predictions[name] for name in predictions.files}
        np.savez(path, **arrays | {"material": np.full(len(arrays["material"]), HOSTILE)})
    leaky = {**told["split"], "name": "sample", "leaky": True, "digest": "0123456789abcdef"}
    other_run(source, runs / "leaky", 0.4, split=leaky, stamps=["LEAKY SPLIT (sample): do not believe these scores"])
    other_run(source, runs / "running", 0, status="interrupted", metrics_=0)
    gone = record(runs / "running")
    for key in ("metrics", "metrics_", "baselines", "counts"):
        gone.pop(key)
    (runs / "running" / "result.json").write_text(json.dumps(gone))
    for name, text in {"cut": '{"status": "fini', "list": "[1, 2]", "no_figures": '{"schema_version": 1}'}.items():
        (runs / name).mkdir()
        (runs / name / "result.json").write_text(text)
    (runs / "foreign").mkdir()
    (runs / "foreign" / "letter.txt").write_text("hello")
    return output_dir
