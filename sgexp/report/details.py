"""What the page of one run shows: its files, whatever of them can be read, and what follows from its predictions."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sgexp.errors import DataError
from sgexp.evaluation.confusion import (
    LEVELS,
    ClassRecall,
    ErrorShare,
    FamilyBin,
    class_recall,
    confusion_pairs,
    error_shares,
    recall_by_training_families,
)
from sgexp.evaluation.curves import Reliability, RiskCoverage, reliability_diagram, risk_coverage
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.report.collect import Run
from sgexp.report.gallery import Gallery
from sgexp.sampling.plan import ResamplingPlan

INPUTS = (
    *("result.json", "metrics.csv", "split.csv", "classes.csv", "plan.npz", "gallery.npz"),
    *("predictions_validation.npz", "predictions_test.npz"),
)
MOST_SAMPLES = 10**12
JUDGED = ("test_family", "test_material", "validation")
MOST_BYTES = 500_000_000  # of one file; SMC-19's split.csv has 20 MB
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, csv.Error, DataError)

Value = TypeVar("Value")


@dataclass(frozen=True)
class PartDetails:
    """One part's answers and what is computed from them."""

    predictions: Predictions
    recall: dict[str, ClassRecall]  # by symmetry level
    pairs: tuple[np.ndarray, np.ndarray]
    by_families: list[FamilyBin]
    errors: list[ErrorShare]
    reliability: Reliability
    risk: RiskCoverage


@dataclass
class Details:
    """One run's files as values; ``missing`` says what could not be read, and why."""

    run: Run
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    classes: dict[str, list[int]] = field(default_factory=dict)
    train_families: dict[int, int] = field(default_factory=dict)
    parts: dict[str, PartDetails] = field(default_factory=dict)
    draws: Draws | None = None
    gallery: Gallery | None = None
    missing: list[tuple[str, str]] = field(default_factory=list)

    def attempt(self, file: str, read: Callable[[Path], Value]) -> Value | None:
        """Return what ``read`` makes of a file of the run, or nothing, and note why."""
        path = self.run.folder / file
        try:
            if not path.is_file():
                raise DataError("not there (yet)")
            if path.stat().st_size > MOST_BYTES:
                raise DataError("too large to have been written by sgexp")
            return read(path)
        except UNREADABLE as error:
            said = str(error).replace(f"{path} ", "") if isinstance(error, DataError) else f"{type(error).__name__}"
            self.missing.append((file, said if isinstance(error, DataError) else f"cannot be read ({said})"))
            return None


@dataclass(frozen=True)
class Draws:
    """What an epoch draws: how many draws, of them mixed from two samples, and distinct samples among the others."""

    draws: int
    mixed: int
    distinct: int


def read_details(run: Run, config: EvaluationConfig) -> Details:
    """Read a run's folder and compute what its page shows."""
    found = Details(run)
    found.curves = found.attempt("metrics.csv", read_curves) or {}
    found.classes = found.attempt("classes.csv", read_classes) or {}
    found.draws = found.attempt("plan.npz", read_draws)
    part_of_row, families = found.attempt("split.csv", read_split) or ({}, {})
    found.train_families = families
    for file in ("predictions_test.npz", "predictions_validation.npz"):
        predictions = found.attempt(file, Predictions.load)
        if predictions is None or not part_of_row:
            continue
        parts = np.array([part_of_row.get(row, "") for row in predictions.row.tolist()])
        for part in JUDGED:
            if (parts == part).any():
                own = predictions.take(parts == part)
                details = found.attempt(file, lambda _, own=own: part_details(own, families, config))  # type: ignore[misc]
                if details is not None:
                    found.parts[part] = details
    found.gallery = found.attempt("gallery.npz", Gallery.load)
    return found


def part_details(predictions: Predictions, train_families: dict[int, int], config: EvaluationConfig) -> PartDetails:
    """Compute one part's curves and tables."""
    if not np.isfinite(predictions.logits).all():
        raise DataError("the logits are not finite numbers: training has diverged")
    return PartDetails(
        predictions=predictions,
        recall={level: class_recall(predictions, level, config.confidence) for level in LEVELS},
        pairs=confusion_pairs(predictions),
        by_families=recall_by_training_families(predictions, train_families, config),
        errors=error_shares(predictions, config.confidence),
        reliability=reliability_diagram(predictions, config),
        risk=risk_coverage(predictions, config),
    )


def read_curves(path: Path) -> dict[str, list[float | None]]:
    """Return the columns of metrics.csv; a field that is empty or no finite number is ``None``."""
    columns: dict[str, list[float | None]] = {}
    for row in _rows(path):
        for name in row:
            columns.setdefault(name, [])
        for name, values in columns.items():
            values.append(_finite(row.get(name)))
    known = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    if "epoch" not in known:
        raise DataError("holds no curve")
    return known


def _finite(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e15 else None  # also NaN


def read_classes(path: Path) -> dict[str, list[int]]:
    """Return the columns of classes.csv, all whole numbers."""
    columns: dict[str, list[int]] = {}
    for row in _rows(path):
        for name, text in row.items():
            number = int(text)
            if not 0 <= number < MOST_SAMPLES:
                raise DataError("holds counts that cannot be")
            columns.setdefault(name, []).append(number)
    if not {"space_group", "train", "drawn"} <= set(columns) or not set(columns["space_group"]) <= set(range(1, 231)):
        raise DataError("lacks the counts of each space group")
    return columns


def read_split(path: Path) -> tuple[dict[int, str], dict[int, int]]:
    """Return the part of each row, and on how many families each group is trained."""
    part_of_row: dict[int, str] = {}
    trained: dict[int, set[str]] = {}
    for row in _rows(path):
        part_of_row[int(row["row"])] = row["split"]
        if row["split"] == "train":
            trained.setdefault(int(row["space_group"]), set()).add(row["family"] or f"material {row['material']}")
    if not part_of_row:
        raise DataError("lists no sample")
    return part_of_row, {group: len(families) for group, families in trained.items()}


def read_draws(path: Path) -> Draws:
    """Return how an epoch is made up."""
    plan = ResamplingPlan.load(path)
    mixed = plan.weight != 0
    often = np.ones(len(plan)) if plan.expected is None else plan.expected
    return Draws(plan.draws, round(float(often[mixed].sum())), len(np.unique(plan.base[~mixed])))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield {name: text for name, text in row.items() if isinstance(name, str) and isinstance(text, str)}
