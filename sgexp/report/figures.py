"""Figures for papers, PNG and SVG: the leaderboard and the best runs, from the numbers that the pages show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from sgexp.report.answer_charts import NOTHING, TESTS
from sgexp.report.details import Details, PartDetails, read_details
from sgexp.report.leaderboard import PARTS, Row, TestSet, cell
from sgexp.report.pictures import COLOURS
from sgexp.report.terminal import METRIC_TITLES
from sgexp.report.updates import inputs_digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sgexp.report.writing import Report

FORMATS = ("png", "svg")
MOST_ROWS = 40  # of a leaderboard in print; the page has them all
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text, to be edited
    "svg.hashsalt": "sgexp",  # the same figures give the same file
    "figure.dpi": 200,
}


def kept(folder: Path) -> list[str]:
    """Return the names of the figures that lie in a report's folder."""
    return sorted(path.name for path in (folder / "figures").glob("*") if path.suffix[1:] in FORMATS)


def write(report: Report, which: str) -> list[str]:
    """Write the leaderboard of each test set, and the figures of its best run or (``which="all"``) of every run."""
    folder = report.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for item in report.sets:
        with plt.rc_context(_STYLE):
            _save(leaderboard(item), folder / f"leaderboard-{item.letter}")
        runs = [row.runs[0] for row in (item.rows if which == "all" else item.rows[:1])]
        for run in runs:
            stem = folder / (run.page if which == "all" else f"best-{item.letter}")
            mark = inputs_digest(run, report.evaluation)
            if _marked(stem, mark):
                continue
            details = read_details(run, report.evaluation)
            with plt.rc_context(_STYLE):
                figure = of_run(details)
            if figure is not None:
                _save(figure, stem, mark)
    return kept(report.folder)


def _marked(stem: Path, mark: str) -> bool:
    """Say whether the figures were made from what is there now."""
    try:
        return mark in stem.with_name(f"{stem.name}.svg").read_text(encoding="utf-8")[:4000]
    except (OSError, UnicodeDecodeError):
        return False


def _save(figure: plt.Figure, stem: Path, mark: str = "") -> None:
    for form in FORMATS:  # SVG last: it carries the mark
        told = {"Date": None, "Description": mark} if form == "svg" else None
        figure.savefig(f"{stem}.{form}", metadata=told)
    plt.close(figure)


def leaderboard(item: TestSet) -> plt.Figure:
    """Draw every experiment's macro-F1 and top-1 on both test columns: its interval, its mean, its seeds."""
    rows = item.experiments[:MOST_ROWS]
    baselines = list(item.baselines.items())
    lines = len(rows) + len(baselines)
    figure, grid = plt.subplots(2, 2, figsize=(7, 1.5 + 0.4 * lines), sharey=True, layout="constrained")
    places = np.arange(lines)[::-1]
    for axes_row, metric in zip(grid, ("macro_f1", "top1"), strict=True):
        for axes, part in zip(axes_row, PARTS, strict=True):
            for place, row in zip(places, rows, strict=False):
                told = row.cell(part, metric)
                if told is not None:
                    _whisker(axes, place, told.value, told.low, told.high, COLOURS[part])
                    if len(told.values) > 1:
                        axes.plot(told.values, [place] * len(told.values), ".", color="black", ms=3, zorder=4)
            for place, (_, figures) in zip(places[len(rows) :], baselines, strict=True):
                told = cell([figures.get(part, {}).get(metric)])
                if told is not None:
                    _whisker(axes, place, told.value, told.low, told.high, "#888888")
            axes.set_xlim(left=0)
            axes.set_xlabel(f"{METRIC_TITLES[metric]}, {part}")
            axes.grid(axis="x", alpha=0.3)
        names = [_label(row) for row in rows] + [name.replace("_", " ") for name, _ in baselines]
        axes_row[0].set_yticks(places, names)
        axes_row[0].set_ylim(-0.6, lines - 0.4)
    return figure


def _label(row: Row) -> str:
    """Return what tells an experiment from the others, as plain text that is not read as mathematics."""
    name = row.runs[0].name.replace("$", r"\$")[:40]
    return f"{name} ({len(row.runs)} seeds)" if len(row.runs) > 1 else name


def _whisker(axes: Axes, y: float, value: float, low: float | None, high: float | None, colour: str) -> None:
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=2.2, alpha=0.45, solid_capstyle="round")
    axes.plot([value], [y], "o", color=colour, ms=4.5)


def of_run(details: Details) -> plt.Figure | None:
    """Draw a run: curves, recall against training families, kinship of errors, reliability, risk and coverage."""
    panels: list[tuple[str, Callable[[Axes, Details], None]]] = []
    if details.curves:
        panels.append(("training", curves))
    if any(part in details.parts for part in TESTS):
        panels += [
            ("recall against training families", recall_by_families),
            ("how far off errors are in symmetry", kinship),
            ("reliability", reliability),
            ("risk and coverage", risk_coverage),
        ]
    if details.classes:
        panels.append(("class counts", class_counts))
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(7, 2.5 * rows), squeeze=False, layout="constrained")
    for axes, (title, draw) in zip(grid.flat, panels, strict=False):
        axes.set_title(title, loc="left")
        draw(axes, details)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return figure


def curves(axes: Axes, details: Details) -> None:
    """Scores on validation and training against the epoch."""
    styles = {"val/macro_f1": ("validation macro-F1", "#0b5c9e"), "val/top1": ("validation top-1", "#777777")}
    for name, (label, colour) in (styles | {"train/top1": ("training top-1", COLOURS["drawn"])}).items():
        if name in details.curves:
            values = np.array(details.curves[name], dtype=float)
            axes.plot(np.arange(1, len(values) + 1), values, color=colour, label=label)
    axes.set_xlabel("epoch")
    axes.legend(frameon=False, fontsize=7)


def _tests(details: Details) -> list[tuple[str, PartDetails]]:
    return [(part, details.parts[part]) for part in TESTS if part in details.parts]


def recall_by_families(axes: Axes, details: Details) -> None:
    """Mean recall of groups that were trained on a like number of families."""
    for part, found in _tests(details):
        bins = found.by_families
        x = [max(item.typical, NOTHING) for item in bins]
        _errorbar(axes, x, [(item.recall.value, item.recall.low, item.recall.high) for item in bins], part)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("families that the group was trained on")
    axes.set_ylabel("mean recall of groups")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=7)


def kinship(axes: Axes, details: Details) -> None:
    """Shares of errors by how the answer is related to the truth; upright marks: the same answers shuffled."""
    tests = [(part, found.errors) for part, found in _tests(details) if found.errors]
    height = 0.8 / max(1, len(tests))
    for index, (part, errors) in enumerate(tests):
        y = np.arange(len(errors)) + (index - (len(tests) - 1) / 2) * height
        value = np.array([item.share.value for item in errors])
        reach = [value - [item.share.low for item in errors], [item.share.high for item in errors] - value]
        axes.barh(y, value, height, xerr=reach, color=COLOURS[part], alpha=0.75, error_kw={"lw": 0.8}, label=part)
        axes.plot([item.by_chance for item in errors], y, "|", color="black", ms=6)
        axes.set_yticks(np.arange(len(errors)), [item.relation for item in errors])
    axes.invert_yaxis()
    axes.set_xlabel("share of errors (marks: answers shuffled)")


def reliability(axes: Axes, details: Details) -> None:
    """Share of right answers in bins of confidence."""
    axes.plot([0, 1], [0, 1], ":", color="#888888", lw=1)
    for part, found in _tests(details):
        told = found.reliability
        filled = told.accuracy.samples > 0
        ends = (told.accuracy.share[filled], told.accuracy.low[filled], told.accuracy.high[filled])
        _errorbar(axes, told.confidence[filled], list(zip(*ends, strict=True)), part)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share of right answers")


def risk_coverage(axes: Axes, details: Details) -> None:
    """Error rate of the surest answers against how many are answered."""
    for part, found in _tests(details):
        risk = found.risk
        axes.plot(risk.coverage, risk.risk, color=COLOURS[part], label=part)
        axes.fill_between(risk.coverage, risk.low, risk.high, color=COLOURS[part], alpha=0.15, lw=0)
    axes.set_xlabel("coverage")
    axes.set_ylabel("risk")
    axes.set_ylim(0, 1.02)


def class_counts(axes: Axes, details: Details) -> None:
    """Training samples of each group and draws of an epoch, groups in order of their size."""
    order = np.argsort(-np.array(details.classes["train"]), kind="stable")
    place = np.arange(1, len(order) + 1)
    axes.fill_between(place, np.array(details.classes["train"])[order], step="mid", color=COLOURS["train"], alpha=0.5)
    axes.plot(place, np.array(details.classes["drawn"])[order], ".", ms=2, color=COLOURS["drawn"])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("space groups by size")
    axes.set_ylabel("samples, draws")


def _errorbar(
    axes: Axes, x: Sequence[float] | np.ndarray, figures: Sequence[tuple[float, float, float]], part: str
) -> None:
    value, low, high = (np.array(column) for column in zip(*figures, strict=True))
    reach = [value - low, high - value]
    axes.errorbar(
        x, value, reach, color=COLOURS[part], marker="o", ms=3, lw=1.2, elinewidth=0.8, capsize=1.5, label=part
    )
