"""The predictions in run folders, a part at a time, and comparisons of whole runs."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.comparison import Comparison, compare_all
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.runs import RunResult

PARTS = ("test_family", "test_material", "validation")  # what a comparison may be over, the headline first


def read_predictions(folder: Path, part: str) -> Predictions:
    """Return a run's predictions of one of ``PARTS``: a column of its test, or its validation samples."""
    name = "validation" if part == "validation" else "test"
    predictions = Predictions.load(folder / f"predictions_{name}.npz")
    if not np.isfinite(predictions.logits).all():
        raise DataError(
            f"{folder}: the logits are not finite numbers: training has diverged, there is nothing to compare"
        )
    rows = [row for row, where, _, _ in _split_rows(folder) if where == part]
    return predictions.take(np.isin(predictions.row, rows))


def train_families(folder: Path) -> dict[int, int]:
    """Return space group -> families that the run was trained on: what makes a group many-, medium- or few-shot."""
    families: dict[int, set[str]] = defaultdict(set)
    for _, where, group, family in _split_rows(folder):
        if where == "train":
            families[group].add(family)
    return {group: len(names) for group, names in families.items()}


def compare_runs(
    treatments: Mapping[str, Sequence[RunResult]],
    reference: str | None = None,
    figures: Sequence[str] = ("macro_f1",),
    part: str = "test_family",
    config: EvaluationConfig | None = None,
    allow_different: bool = False,
) -> list[Comparison]:
    """Compare treatments (name -> runs, one a seed, as ``by_treatment`` returns them) on one of ``PARTS``.

    Runs on other data or with another split raise DataError unless ``allow_different``, which stamps the comparisons
    instead; stamps of the runs themselves (a leaky split) are handed on. See ``compare_all`` for the rest.
    """
    runs = [run for own in treatments.values() for run in own]
    for run in runs:
        if run.status != "finished":
            raise ConfigError(f"{run.folder} is {run.status}: only finished runs can be compared")
    stamps = _stamps(runs, allow_different)
    answers = {name: [read_predictions(run.folder, part) for run in own] for name, own in treatments.items()}
    for run, answered in zip(runs, (item for own in answers.values() for item in own), strict=True):
        if not len(answered):
            raise DataError(f"{run.folder} has no predictions of {part}: its split makes none; compare another part")
    trained = train_families(runs[0].folder) if any(name.endswith("_shot") for name in figures) else None
    found = compare_all(answers, reference, figures, config, trained, allow_different)
    return [item.stamped(stamps) for item in found]


def _stamps(runs: Sequence[RunResult], allow_different: bool) -> tuple[str, ...]:
    """Return what must be said of runs that are compared; refuse what makes a comparison unfair."""
    stamps: list[str] = []
    for what, facts in (
        ("DIFFERENT DATA", [run.record.get("data_fingerprint") for run in runs]),
        ("DIFFERENT SPLITS", [_of_split(run, "digest") for run in runs]),
    ):
        other = next((run for run, fact in zip(runs, facts, strict=True) if fact != facts[0]), None)
        if other is None:
            continue
        why = f"{what}: {runs[0].folder.name} and {other.folder.name} were not trained and tested on the same"
        if not allow_different:
            raise DataError(f"{why}; give task.allow_different=true to compare them all the same, with a stamp")
        stamps.append(why)
    stamps += [str(stamp) for run in runs for stamp in _list_of(run.record.get("stamps"))]
    return tuple(dict.fromkeys(stamps))


def _of_split(run: RunResult, key: str) -> object:
    split = run.record.get("split")
    return split.get(key) if isinstance(split, Mapping) else None


def _list_of(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _split_rows(folder: Path) -> list[tuple[int, str, int, str]]:
    """Return (row, part, space group, family) of every line of a run's split.csv."""
    path = folder / "split.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            return [(int(line["row"]), line["split"], int(line["space_group"]), line["family"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or was written by something else"
        raise DataError(f"{path} cannot be read: {reason}") from error
