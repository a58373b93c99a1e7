"""What a sweep came to: the same choices with several seeds in one row, their mean and how far seeds move it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from sgexp.console import console
from sgexp.sweeps.manifest import Job, Sweep, read_or_none

COLUMNS = (
    ("test_family", "top1", "top-1"),
    ("test_family", "macro_f1", "macro-F1"),
    ("test_material", "top1", "top-1"),
    ("test_material", "macro_f1", "macro-F1"),
)
"""The figures shown: part, name in result.json, title. Families never seen come first: they are the headline."""


@dataclass(frozen=True)
class Mean:
    """The mean of one figure over seeds, and half the width of its 95 % interval (None for a single seed)."""

    value: float
    half_width: float | None

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if self.half_width is None else f" ± {self.half_width:.3f}")


def mean(values: Sequence[float]) -> Mean:
    """Return the mean with Student's t interval: t(0.975, n - 1) * s / sqrt(n), s the sample standard deviation."""
    count = len(values)
    middle = math.fsum(values) / count
    if count < 2:
        return Mean(middle, None)
    from scipy.special import stdtrit

    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1))
    return Mean(middle, float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count))


def rows(sweep: Sweep) -> list[tuple[str, int, list[Mean | None]]]:
    """Return for each set of choices but the seed: its label, the number of its finished runs, the means of COLUMNS."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for job in sweep.distinct:
        run = read_or_none(job.folder) if job.state == "finished" and job.folder else None
        if run is not None and run.record.get("metrics"):
            groups.setdefault(without_seed(job), []).append(run.record)
    found = []
    for label, records in groups.items():
        figures = [
            [value for record in records if (value := figure(record, part, name)) is not None]
            for part, name, _ in COLUMNS
        ]
        found.append((label, len(records), [mean(values) if values else None for values in figures]))
    return found


def without_seed(job: Job) -> str:
    """Return the label of a job without its seed."""
    return " ".join(word for word in job.label.split(" ") if not word.startswith("seed=")) or "all"


def figure(record: Mapping[str, Any], part: str, name: str) -> float | None:
    """Return a figure of result.json, or None where it is not there or undefined."""
    try:
        value = record["metrics"][part][name]["value"]
    except (KeyError, TypeError):
        return None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def show(sweep: Sweep) -> None:
    """Print the means over seeds of everything that is finished."""
    found = rows(sweep)
    if not found:
        return
    table = Table(title="Means over seeds", title_justify="left", box=None, pad_edge=False)
    table.add_column("choices", overflow="fold")
    table.add_column("runs", justify="right")
    for part, _, title in COLUMNS:
        table.add_column(f"{part.removeprefix('test_')} {title}", justify="right", min_width=13)
    for label, count, means in found:
        table.add_row(escape(label), str(count), *("-" if item is None else str(item) for item in means))
    console.print(table)
    console.print(
        "family: crystals of families never seen; material: new crystals of known families. "
        "±: 95 % t-interval over seeds, how far repeating the training moves the mean on the same test crystals; "
        "each run's own intervals over families are in its result.json."
        if any(count > 1 for _, count, _ in found)
        else "family: crystals of families never seen; material: new crystals of known families. One seed: no interval."
    )
