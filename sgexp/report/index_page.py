"""The leaderboard as a page: every run with figures in the table of its test set, the rest listed with the reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgexp.console import duration
from sgexp.report.collect import Collection, Run
from sgexp.report.leaderboard import (
    COLUMNS,
    GROUPS_SHOWN,
    Cell,
    Row,
    TestSet,
    cell,
    show,
)
from sgexp.report.rendering import render
from sgexp.report.terminal import METRIC_TITLES
from sgexp.report.verdicts import COLUMNS as VERDICT_COLUMNS
from sgexp.report.verdicts import Verdicts

PARTS = {"test_family": "families never seen", "test_material": "new crystals of known families"}
MOST_CHOICES = 30  # a setting with more values than this is searched for, not chosen


@dataclass(frozen=True)
class Column:
    """A column of figures; ``most`` is the end of the scale of its bars."""

    key: str
    part: str
    title: str
    first: bool
    most: float

    @property
    def most_text(self) -> str:
        """The end of the scale, for the column's head."""
        return f"{self.most:g}"


@dataclass(frozen=True)
class Board:
    """The table of one test set, as the template reads it."""

    set: TestSet
    choices: list[str]  # the main choices that runs of this test set differ in: they have a column
    common: str  # those that they share
    differing: bool
    columns: list[Column]
    runs: list[dict[str, Any]]
    experiments: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    verdicts: Verdicts

    @property
    def last_columns(self) -> int:
        """How many columns stand behind the figures: verdict and differences, where there are any, and time."""
        return 1 + bool(self.verdicts.rows) + self.differing

    def over(self, part: str) -> str:
        """Return what figures of a part are over."""
        counts = self.set.counts[part]
        nouns = (("samples", "samples"), ("materials", "crystals"), ("families", "families"), ("classes", "groups"))
        return ", ".join(f"{counts[key]:,} {noun}" for key, noun in nouns if key in counts)


def index_page(
    sets: Sequence[TestSet],
    found: Collection,
    pages: set[str],
    figures: Sequence[str],
    root: Path,
    said: Mapping[str, Verdicts],
    searches: int = 0,
) -> str:
    """Return the page.

    ``pages``: names of the run pages that are there to be linked; ``root``: where paths start; ``said``: the verdicts
    of a test set, by its letter; ``searches``: how many the page of searches shows.
    """
    boards = [board(item, pages, said.get(item.letter, Verdicts())) for item in sets]
    unfinished = [run for run in found.runs if not run.metrics]
    return render(
        "index.html",
        "index.js",
        inputs="index",
        boards=boards,
        n_runs=sum(len(item.rows) for item in sets),
        parts=list(PARTS.items()),
        filters=filters(sets),
        verdict_columns=VERDICT_COLUMNS,
        unfinished=[_unfinished(run, pages) for run in unfinished],
        left_out=[(_relative(folder, root), reason) for folder, reason in found.left_out],
        figures=list(figures),
        searches=searches,
        confidence=confidence_of(found.runs),
    )


def confidence_of(runs: Sequence[Run]) -> str:
    """Return the level of the runs' intervals, ``95 %``; of several levels all."""
    told = {run.config.get("evaluation.confidence", 0.95) for run in runs if run.metrics}
    levels = sorted(level for level in told if isinstance(level, float))
    return " or ".join(f"{100 * level:g} %" for level in levels) or "95 %"


def board(item: TestSet, pages: set[str], verdicts: Verdicts) -> Board:
    """Return the table of one test set."""
    baselines = {
        name.replace("_", " "): [cell([figures.get(part, {}).get(metric)]) for part, metric in COLUMNS]
        for name, figures in item.baselines.items()
    }
    cells = [[row.cell(*column) for column in COLUMNS] for row in item.rows]
    columns = [
        Column(
            key=f"{part}.{metric}",
            part=part,
            title=METRIC_TITLES[metric].replace("balanced accuracy", "balanced"),
            first=index == 0 or COLUMNS[index - 1][0] != part,
            most=scale_end([line[index] for line in (*cells, *baselines.values())]),
        )
        for index, (part, metric) in enumerate(COLUMNS)
    ]
    made = {group: {row.runs[0].choice(group) for row in item.rows} for group in GROUPS_SHOWN}
    choices = [group for group in GROUPS_SHOWN if len(made[group]) > 1]
    common = [f"{group} {min(made[group])}" for group in GROUPS_SHOWN if group not in choices]
    return Board(
        set=item,
        choices=choices,
        common=", ".join(common),
        differing=bool(item.differing),
        columns=columns,
        runs=[_line(row, item, choices, pages, verdicts) for row in item.rows],
        experiments=[_line(row, item, choices, pages, verdicts) for row in item.experiments],
        baselines=[{"name": name, "cells": line} for name, line in baselines.items()],
        verdicts=verdicts,
    )


def scale_end(cells: Sequence[Cell | None]) -> float:
    """Return a round number that no interval passes: the end of a column's bars."""
    most = max((item.high if item.high is not None else item.value for item in cells if item is not None), default=1.0)
    for end in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8):
        if most <= end:
            return end
    return 1.0 if most <= 1 else float(math.ceil(most))


def filters(sets: Sequence[TestSet]) -> list[dict[str, Any]]:
    """Return the settings to choose by, with their values: the main choices first, then what differs in any table."""
    values: dict[str, set[str]] = {key: set() for key in (*GROUPS_SHOWN, "seed", "test set")}
    for item in sets:
        for key in item.differing:
            values.setdefault(key, set())
        for row in item.rows:
            for key, told in _facets(row, item).items():
                values.setdefault(key, set()).update(told)
    return [
        {"key": key, "values": sorted(told, key=_natural)}
        for key, told in values.items()
        if 1 < len(told) <= MOST_CHOICES
    ]


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _facets(row: Row, item: TestSet) -> dict[str, list[str]]:
    """Return what a row can be chosen by: key -> its values (an experiment has several seeds)."""
    first = row.runs[0]
    facets = {group: [first.choice(group)] for group in GROUPS_SHOWN}
    facets |= {"seed": [str(seed) for seed in row.seeds], "test set": [item.letter]}
    return facets | {key: [value] for key, value in row.differences}


def _line(row: Row, item: TestSet, choices: Sequence[str], pages: set[str], verdicts: Verdicts) -> dict[str, Any]:
    first = row.runs[0]
    facets = _facets(row, item)
    values: dict[str, Any] = {"name": first.name, "seconds": row.seconds}
    values |= {group: first.choice(group) for group in GROUPS_SHOWN}
    cells = [row.cell(part, metric) for part, metric in COLUMNS]
    for (part, metric), told in zip(COLUMNS, cells, strict=True):
        values[f"{part}.{metric}"] = None if told is None else told.value
    searched = [first.name, *(run.folder.name for run in row.runs), *row.stamps]
    searched += [f"{key}={value}" for key, told in facets.items() for value in told]
    return {
        "name": first.name,
        "status": first.status,
        "trained": first.trained,
        "href": _href(first, pages),
        "links": [{"seed": run.seed, "href": _href(run, pages)} for run in row.runs],
        "seeds": ", ".join(str(seed) for seed in row.seeds) or "-",
        "stamps": row.stamps,
        "choices": [first.choice(group) for group in choices],
        "cells": cells,
        "differences": row.differences,
        "time": "-" if row.seconds is None else duration(row.seconds),
        "facets": json.dumps(facets),
        "values": json.dumps(values),
        "text": " ".join(searched),
        "verdict": verdicts.of(row),
        "repeats": row.repeats,
    }


def _href(run: Run, pages: set[str]) -> str | None:
    return f"runs/{run.page}.html" if run.page in pages else None


def _unfinished(run: Run, pages: set[str]) -> dict[str, Any]:
    return {
        "name": run.name,
        "href": _href(run, pages),
        "status": run.status,
        "seeds": show(run.seed),
        "started": run.started,
        "said": run.error or ("; ".join(run.stamps)),
    }


def _relative(folder: Path, root: Path) -> str:
    try:
        return str(folder.relative_to(root))
    except ValueError:
        return str(folder)
