"""An audited data set for people: tables in the terminal, a picture of its classes, a page that opens from disk."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib
import numpy as np
from rich.markup import escape
from rich.table import Table

from sgexp.crystallography.groups import space_group
from sgexp.data.survey import NOUNS, Counts, Survey
from sgexp.report.pictures import COLOURS, shade_crystal_systems
from sgexp.report.rendering import render, write_page

matplotlib.use("Agg")
from matplotlib import pyplot as plt

IMBALANCE_TITLES = {
    "classes": "space groups present",
    "total": "in all",
    "smallest": "smallest group",
    "median": "median group",
    "largest": "largest group",
    "ratio": "largest : smallest",
    "gini": "Gini coefficient",
    "top_ten": "share of the ten largest",
    "effective_classes": "effective number of groups",
    "effective_samples": "effective number (Cui, 0.999)",
    "singletons": "groups with one",
}
NOUN_STYLES = {"samples": ("bar", "#9CC5E0"), "materials": ("_", "#B84A00"), "families": (".", "#000000")}
PART_COLOURS = {**COLOURS, "dev": "#999999", "test": "#D55E00", "unused": "#CC79A7"}


def tables(survey: Survey) -> Iterator[Table]:
    """Yield what is printed: counts by part, figures of imbalance, findings."""
    for title, counts in _parts(survey):
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in ("", *NOUNS, "space groups"):
            table.add_column(column, justify="right" if column else "left")
        for part, row in counts_rows(counts):
            table.add_row(part, *row, style="bold" if part == "all" else None)
        yield table
    table = Table(title="Imbalance between space groups", title_justify="left", title_style="bold")
    for column in ("", *NOUNS):
        table.add_column(column, justify="right" if column else "left")
    for row in imbalance_rows(survey):
        table.add_row(*row)
    yield table
    if survey.findings:
        table = Table(title="Findings", title_justify="left", title_style="bold")
        table.add_column("count", justify="right")
        table.add_column("what, and the first of them", overflow="fold")
        for finding in survey.findings:
            colour = "red" if finding.counts else "dim"
            first = f"\n[dim]{escape(finding.examples[0][:200])}[/dim]" if finding.examples else ""
            table.add_row(f"[{colour}]{finding.count:,}[/{colour}]", f"{escape(finding.says)}{first}")
        yield table


def counts_rows(counts: Counts) -> Iterator[tuple[str, list[str]]]:
    """Yield (part, samples, materials, families and groups as text)."""
    for part, nouns in counts.items():
        yield part, [f"{number:,}" for number in nouns["total"]]


def imbalance_rows(survey: Survey) -> Iterator[list[str]]:
    """Yield a row of text a figure, a column a noun."""
    for name, title in IMBALANCE_TITLES.items():
        values = [getattr(survey.imbalances[noun], name) for noun in NOUNS]
        yield [title, *(_number(name, value) for value in values)]


def _number(name: str, value: float) -> str:
    if name == "ratio":
        return f"{value:,.0f} : 1"
    if name == "top_ten":
        return f"{value:.0%}"
    if name in ("gini",):
        return f"{value:.2f}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _parts(survey: Survey) -> Iterator[tuple[str, Counts]]:
    yield f"By part of split={survey.split}", survey.counts
    if survey.released:
        yield "By released part", survey.released


def draw(survey: Survey, path: Path) -> None:
    """Draw samples, materials and families of every space group, and the samples of every part, on log scales."""
    panels = [counts for _, counts in _parts(survey)]
    figure, axes_of = plt.subplots(
        1 + len(panels),
        1,
        figsize=(14, 4.2 + 2.9 * len(panels)),
        sharex=True,
        squeeze=False,
        layout="constrained",
        height_ratios=[3, *(2 for _ in panels)],
    )
    groups = np.arange(1, 231)
    first = axes_of[0, 0]
    for noun, (marker, colour) in NOUN_STYLES.items():
        values = np.array(survey.counts["all"][noun])[1:].astype(float)
        label = f"{noun} ({survey.counts['all']['total'][NOUNS.index(noun)]:,})"
        values[values == 0] = np.nan
        if marker == "bar":
            first.bar(groups, values, width=0.9, color=colour, label=label)
        else:
            first.plot(groups, values, marker, color=colour, ms=5, mew=1.6, label=label)
    first.set_ylabel("in all")
    figures = survey.imbalances["samples"]
    told = (
        f"{figures.classes} of 230 space groups, largest to smallest {figures.ratio:,.0f} : 1, Gini {figures.gini:.2f}"
    )
    first.set_title(told, loc="left", pad=34)
    for axes, counts in zip(axes_of[1:, 0], panels, strict=True):
        parts = [part for part in counts if part != "all"]
        for offset, part in zip(np.linspace(-0.35, 0.35, len(parts) + 2)[1:-1], parts, strict=True):
            values = np.array(counts[part]["samples"])[1:]
            present = values > 0
            label = f"{part} ({values.sum():,} in {present.sum()} groups)"
            colour = PART_COLOURS.get(part, "#56B4E9")
            if part == "train":
                axes.bar(groups[present], values[present], width=0.9, color="#9CC5E0", label=label)
            else:
                axes.plot(groups[present] + offset, values[present], "o", color=colour, ms=3.2, label=label)
        axes.set_ylabel("samples")
    for axes in axes_of[:, 0]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0.5, 5 * max(axes.dataLim.y1, 2.5))  # room for the legend above the bars
        axes.legend(loc="upper right", ncols=5, frameon=False)
        shade_crystal_systems(axes, named=axes is first)
    axes_of[-1, 0].set_xlabel("space group")
    axes_of[-1, 0].set_xlim(0.4, 230.6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_audit_page(survey: Survey, picture: Path, path: Path) -> None:
    """Write one page that holds everything: verdict, findings with examples, tables, the picture, counts a group."""
    image = base64.b64encode(picture.read_bytes()).decode("ascii")
    page = render(
        "audit.html",
        None,
        survey.fingerprint[:16],
        survey=survey,
        picture=f"data:image/png;base64,{image}",
        parts=[(title, [[part, *row] for part, row in counts_rows(counts)]) for title, counts in _parts(survey)],
        imbalance=list(imbalance_rows(survey)),
        reasons=[[reason, f"{count:,}"] for reason, count in survey.reasons.items()],
        groups=list(_group_rows(survey.counts)),
        group_columns=["space group", *NOUNS, *(part for part in survey.counts if part != "all")],
    )
    write_page(path, page)


def _group_rows(counts: Mapping[str, Mapping[str, list[int]]]) -> Iterator[list[str]]:
    """Yield a row of text for each group present: its name, what it has in all, its samples in each part."""
    for group in np.flatnonzero(counts["all"]["samples"]).tolist():
        name = f"{group} {space_group(group).symbol.replace(' ', '')}"
        in_all = [counts["all"][noun][group] for noun in NOUNS]
        in_parts = [nouns["samples"][group] for part, nouns in counts.items() if part != "all"]
        yield [name, *(f"{number:,}" if number else "" for number in (*in_all, *in_parts))]
