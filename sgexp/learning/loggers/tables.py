"""Tables that a logger shows of a run: class counts, recall of each group, who is taken for whom."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, crystal_system_of, space_group
from sgexp.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Table:
    """Named columns and rows of plain numbers and strings."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def label(group: int) -> str:
    """Return a group's number and symbol, so that sorting as text sorts by number: ``014 P2_1/c``."""
    return f"{group:03d} {space_group(group).symbol.replace(' ', '')}"


def class_counts(folder: Path) -> Table:
    """Return a run's classes.csv with names and crystal systems: families, materials, draws, samples of each part."""
    with (folder / "classes.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    rows = [tuple(int(cell) for cell in line) for line in lines]
    named = [(label(row[0]), space_group(row[0]).crystal_system, *row[1:]) for row in rows]
    return Table(("space_group", "crystal_system", *header[1:]), named)


def recall(predictions: Predictions, counts: Table) -> Table:
    """Return, for each group among the labels, rarest in training last: recall, samples judged, training samples."""
    train = {row[0]: row[counts.columns.index("train")] for row in counts.rows}
    right = predictions.predicted == predictions.label
    rows = []
    for group in np.unique(predictions.label).tolist():
        own = right[predictions.label == group]
        rows.append((label(group), float(own.mean()), len(own), train.get(label(group), 0)))
    return Table(("space_group", "recall", "samples", "train"), sorted(rows, key=lambda row: -row[3]))


def confusion_of_groups(predictions: Predictions, most: int) -> Table:
    """Return how often each group was taken for each: the cells that are not 0, at most so many, the largest first.

    (All 230 x 230 cells would be 52,900 rows, nearly all of them 0.)
    """
    pairs, counts = np.unique(np.stack([predictions.label, predictions.predicted]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    true, taken = pairs[:, order].tolist()
    rows = [(label(t), label(p), count) for t, p, count in zip(true, taken, counts[order].tolist(), strict=True)]
    return Table(("Actual", "Predicted", "nPredictions"), rows)


def confusion_of_systems(predictions: Predictions) -> Table:
    """Return all 7 x 7 counts of true and predicted crystal systems."""
    size = len(CRYSTAL_SYSTEMS)
    cells = crystal_system_of[predictions.label] * size + crystal_system_of[predictions.predicted]
    names = [f"{place} {name}" for place, name in enumerate(CRYSTAL_SYSTEMS, start=1)]
    counts = np.bincount(cells, minlength=size**2).tolist()
    rows = [(names[cell // size], names[cell % size], count) for cell, count in enumerate(counts)]
    return Table(("Actual", "Predicted", "nPredictions"), rows)
