"""``task=evaluate task.posthoc=...``: corrections for class frequency beside a run's own figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation import posthoc
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.models.heads import last_layer
from sgexp.learning.stages import Stages
from sgexp.runs import RunFolder
from sgexp.schema import build
from sgexp.tasks.schema import EvaluateTask
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config


def corrected(
    config: Config, trained: TrainedRun, own: bool, predictions: Mapping[str, Predictions], run: RunFolder
) -> dict[str, Any]:
    """Choose each correction's tau on validation and score it on the tests; keep its logits in the run folder."""
    task = config.task
    assert isinstance(task, EvaluateTask)
    found: dict[str, Any] = {}
    if task.posthoc == "none":
        return found
    plain_views = not task.rotations and task.patterns == "all"
    validation = predictions.get("validation") if own else validation_of(trained) if plain_views else None
    if validation is None or not len(validation):
        raise ConfigError(
            f"task.posthoc={task.posthoc} needs the run's validation samples, to choose tau on: evaluate the run on "
            "its own data and split, with some validation"
        )
    tests = {part: item for part, item in predictions.items() if part != "validation"}
    families = trained.trained_on().families_per_group
    for name in posthoc.METHODS if task.posthoc == "all" else (task.posthoc,):
        correction, notes = correction_of(name, config, trained)
        chosen = posthoc.choose(correction, validation)
        answers = {part: correction(item, chosen.tau) for part, item in tests.items()}
        if answers:
            Predictions.concatenate(list(answers.values())).save(run.path(f"predictions_test_{name}.npz"))
        found[name] = {
            "tau": chosen.tau,
            "chosen_on": "validation",
            "by": "macro_f1",
            "samples": chosen.samples,
            "validation": {"plain": chosen.plain, "corrected": chosen.best},
            "curve": dict(zip(map(str, posthoc.TAUS.tolist()), chosen.curve.tolist(), strict=True)),
            "metrics": {part: evaluate(item, families, config.evaluation).as_dict() for part, item in answers.items()},
            "notes": notes,
        }
    return found


def correction_of(name: str, config: Config, trained: TrainedRun) -> tuple[posthoc.Correction, list[str]]:
    """Return a correction for the run's draws or last layer, and what a reader must know of it."""
    notes = []
    already = [name for name in ("loss", "stage", "mixing") if getattr(config, name).treats_imbalance]
    if already:
        notes.append(
            f"the run's {' and '.join(already)} treated the imbalance already: what is left to correct is little, "
            "tau may be 0"
        )
    if name == "tau_normalisation":
        weights, bias = last_layer(trained.network.network, build(config.transform).pixels)
        return posthoc.tau_normalisation(weights, bias), notes
    stages: Stages = build(config.stage)
    if stages.draws_evenly:
        notes = ["the run's last stage drew all groups equally often: there is no frequency to adjust for"]
        return posthoc.logit_adjustment(np.ones(len(trained.classes))), notes
    counts_K = drawn_counts(trained)
    augment = build(config.augment, classes=trained.classes.tolist(), seed=config.seed)
    if config.labels == 230 and hasattr(augment, "counts_shown"):
        counts_K = augment.counts_shown(counts_K)
    return posthoc.logit_adjustment(counts_K), notes


def drawn_counts(trained: TrainedRun) -> np.ndarray:
    """Return how often an epoch draws each of the network's groups, as the run's classes.csv says, (K,)."""
    path = trained.folder / "classes.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            drawn = {int(row["space_group"]): int(row["drawn"]) for row in csv.DictReader(file)}
        return np.array([drawn[group] for group in trained.classes.tolist()], dtype=np.float64).clip(0, 1e12)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} does not say how often each of the network's groups was drawn ({error!r})") from error


def validation_of(trained: TrainedRun) -> Predictions | None:
    """Return what the run itself answered on validation, or None where it kept nothing that fits."""
    path = trained.folder / "predictions_validation.npz"
    if not path.is_file():
        return None
    predictions = Predictions.load(path)
    return predictions if np.array_equal(predictions.classes, trained.classes) else None
