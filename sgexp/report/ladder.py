"""A ladder for the eye: a table for the terminal, a curve with intervals for the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from rich.table import Table

from sgexp.report.pictures import COLOURS

FIGURES = {"top1": "top-1", "macro_f1": "macro-F1", "crystal_system": "crystal system"}
Metrics = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Part -> figure -> value, low, high."""


def ladder_table(over: str, unit: str, rungs: Sequence[float], metrics: Sequence[Metrics], trained: Metrics) -> Table:
    """Return a row a rung, and above them the figures on the same materials as the run was tested on them."""
    table = Table(title=f"Ladder over {over}", title_justify="left")
    table.add_column(f"{over}, {unit}", justify="right")
    parts = list(trained)
    for part in parts:
        for words in FIGURES.values():
            table.add_column(f"{part}\n{words}", justify="right")
    for label, found in (
        ("as tested", trained),
        *((f"{value:g}", item) for value, item in zip(rungs, metrics, strict=True)),
    ):
        table.add_row(label, *(_cell(found[part].get(figure)) for part in parts for figure in FIGURES))
    return table


def _cell(figure: Mapping[str, float] | None) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]" if figure else "-"


def draw_ladder(
    over: str,
    unit: str,
    logarithmic: bool,
    rungs: Sequence[float],
    metrics: Sequence[Metrics],
    trained: Metrics,
    path: Path,
) -> None:
    """Draw each figure with its interval against the rungs; dashed: the same materials as the run was tested."""
    figure, cells = plt.subplots(1, len(FIGURES), figsize=(4.2 * len(FIGURES), 3.4), sharex=True, layout="constrained")
    if logarithmic:
        cells[0].set_xscale("log")  # they share it
    if len(rungs) == 1:  # one point has no width to be drawn in
        cells[0].set_xlim(*((rungs[0] / 10, rungs[0] * 10) if logarithmic else (rungs[0] - 1, rungs[0] + 1)))
    for axes, (name, words) in zip(cells, FIGURES.items(), strict=True):
        for part in trained:
            points = [(value, item[part][name]) for value, item in zip(rungs, metrics, strict=True)]
            x, y = [value for value, _ in points], [point["value"] for _, point in points]
            spread = [[p["value"] - p["low"] for _, p in points], [p["high"] - p["value"] for _, p in points]]
            axes.errorbar(x, y, yerr=spread, marker="o", ms=4, capsize=2, color=COLOURS[part], label=part)
            axes.axhline(trained[part][name]["value"], color=COLOURS[part], ls="--", lw=1)
        axes.set_title(words, fontsize=10)
        axes.set_xlabel(f"{over} ({unit})")
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    cells[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def rows(over: str, rungs: Sequence[float], metrics: Sequence[Metrics]) -> list[list[Any]]:
    """Return the lines of ladder.csv: rung, part, figure, value, low, high."""
    return [
        [value, part, figure, item[part][figure]["value"], item[part][figure]["low"], item[part][figure]["high"]]
        for value, item in zip(rungs, metrics, strict=True)
        for part in item
        for figure in item[part]
    ]
