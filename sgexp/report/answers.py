"""What a network answered, made visible: named crystals, calibration before and after a temperature."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from rich.markup import escape
from rich.table import Table

from sgexp.evaluation.calibration import at_temperature, reliability
from sgexp.evaluation.levels import LEVELS
from sgexp.evaluation.predictions import Predictions
from sgexp.report.answer_files import TOP, Answer, symbol

_LEVEL_TITLES = {"point_group": "point group", "laue_class": "Laue class", "crystal_system": "crystal system"}
_PATTERNS_DRAWN = 3


def temperature_table(temperature: Mapping[str, Any]) -> Table:
    """Show calibration error and likelihood of each test part before and after the temperature."""
    samples = temperature["samples"]
    fitted = f"temperature {temperature['value']:.3g}, fitted on {samples:,} validation samples"
    title = f"Calibration: {fitted if samples else 'no temperature'}"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=temperature["note"] or None,
        caption_justify="left",
    )
    table.add_column("")
    for name in ("error before", "after", "-ln p before", "after"):
        table.add_column(name, justify="right")
    for part in temperature["before"]:
        cells = []
        for figure in ("ece", "nll"):
            cells += [_figure(temperature[when][part][figure]) for when in ("before", "after")]
        table.add_row(part, *cells)
    return table


def posthoc_table(metrics: Mapping[str, Any], posthoc: Mapping[str, Any]) -> Table:
    """Show the figures of each test part as answered and with each correction."""
    taus = ", ".join(f"{name.replace('_', ' ')} tau {found['tau']:g}" for name, found in posthoc.items())
    samples = next(iter(posthoc.values()))["samples"]
    notes = dict.fromkeys(note for found in posthoc.values() for note in found["notes"])
    table = Table(
        title=f"Corrected afterwards: {taus} (best macro-F1 on {samples:,} validation samples)",
        title_justify="left",
        title_style="bold",
        caption="\n".join(notes) or None,
        caption_justify="left",
    )
    table.add_column("")
    for name in ("plain", *posthoc):
        table.add_column(name.replace("_", " "), justify="right")
    for part in (part for part in metrics if part != "validation"):
        for figure in ("top1", "macro_f1"):
            answers = [metrics[part], *(found["metrics"][part] for found in posthoc.values())]
            table.add_row(f"{part} {figure}", *(_with_interval(answer.get(figure)) for answer in answers))
    return table


def _with_interval(figure: Mapping[str, Any] | None) -> str:
    """Return a figure as the results table writes it."""
    if not figure or figure.get("value") is None:
        return "-"
    interval = f" [{figure['low']:.2f}, {figure['high']:.2f}]" if figure.get("low") is not None else ""
    return f"{figure['value']:.3f}{interval}"


def draw_reliability(
    predictions: Mapping[str, Predictions], temperature: Mapping[str, Any], bins: int, path: Path
) -> None:
    """Draw how often answers of each confidence are right, before and after the temperature, a panel a test part.

    The area of a mark is the share of the samples in its bin.
    """
    figure, panels = plt.subplots(
        1, len(predictions), figsize=(4.6 * len(predictions) + 0.4, 6.0), layout="constrained", squeeze=False
    )
    for axes, (part, item) in zip(panels[0], predictions.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":", label="confidence = share right")
        after = at_temperature(item, temperature["value"])
        for found, name, colour, marker in ((item, "before", "#999999", "o"), (after, "after", "#0072B2", "s")):
            samples, confidence, right = reliability(found, bins)
            filled = samples > 0
            at = "" if name == "before" else f", at temperature {temperature['value']:.3g}"
            label = f"{name}{at}: error {_figure(temperature[name][part]['ece'])}"
            axes.plot([], [], marker, color=colour, label=label)
            area = 14 + 160 * samples[filled] / samples.sum()
            shape = {"s": area, "marker": marker, "color": colour, "alpha": 0.8, "clip_on": False}
            axes.scatter(confidence[filled], right[filled], **shape)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence of the first answer")
        axes.set_title(f"{part} ({len(item):,} samples)", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    panels[0][0].set_ylabel("share of answers that are right")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _figure(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def answers_table(answers: Sequence[Answer], named: int) -> Table:
    """Show the first answers: the likeliest groups, and the likeliest member of each level."""
    more = f" (the first {len(answers)} of {named:,}; predictions.csv has all)" if named > len(answers) else ""
    table = Table(title=f"Likeliest space groups{more}", title_justify="left", title_style="bold", show_lines=True)
    table.add_column("crystal", overflow="fold")
    table.add_column("five likeliest", no_wrap=True)
    for title in _LEVEL_TITLES.values():
        table.add_column(title, overflow="fold")
    for answer in answers:
        groups = [escape(f"{value:6.1%}  {symbol(group)} ({group})") for group, value in answer.top]
        best = [answer.best(level) for level in LEVELS]
        patterns = f"{answer.patterns} pattern{'s' if answer.patterns > 1 else ''}"
        mark = "" if answer.calibrated else ", not calibrated"
        table.add_row(
            f"{escape(answer.name)}\n[dim]{patterns}{mark}[/dim]",
            "\n".join([f"[bold]{groups[0]}[/bold]", *groups[1:]]),
            *(f"{escape(name)}\n[dim]{value:.1%}[/dim]" for name, value in best),
        )
    return table


def draw_answers(answers: Sequence[tuple[Answer, np.ndarray]], path: Path) -> None:
    """Draw crystals, a row each: (some of) their patterns as the network saw them, and bars of the likeliest groups."""
    drawn = [(answer, patterns) for answer, patterns in answers if len(patterns)]
    figure = plt.figure(figsize=(11, 1.95 * len(drawn) + 0.2), facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.14)  # room for the titles, which may be wider than their pattern
    rows = figure.subplots(len(drawn), _PATTERNS_DRAWN + 1, squeeze=False, width_ratios=[1] * _PATTERNS_DRAWN + [3.2])
    for cells, (answer, patterns) in zip(rows, drawn, strict=True):
        for axes, pattern in itertools.zip_longest(cells[:-1], patterns[:_PATTERNS_DRAWN]):
            axes.set_axis_off()
            if pattern is not None:
                axes.imshow(pattern, cmap="inferno", interpolation="nearest")
        _draw_bars(cells[-1], answer)
        system, probability = answer.best("crystal_system")
        hidden = f", {len(patterns) - _PATTERNS_DRAWN} more not drawn" if len(patterns) > _PATTERNS_DRAWN else ""
        words = f"{_plain(answer.name)}{hidden}: {system} {probability:.0%}"
        cells[0].set_title(words, fontsize=9, loc="left", pad=4).set_in_layout(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_bars(axes: Axes, answer: Answer) -> None:
    groups, values = zip(*answer.top, strict=True)
    places = np.arange(len(groups))[::-1]
    axes.barh(places, values, height=0.72, color=["#0072B2", *["#8FB8D8"] * (TOP - 1)][: len(groups)])
    for place, value in zip(places, values, strict=True):
        axes.text(value + 0.01, place, f"{value:.1%}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{symbol(group)} ({group})" for group in groups], fontsize=8)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _plain(text: str) -> str:
    """Cut a name from a file to a length that fits, and keep matplotlib from reading it as mathematics."""
    shown = text if len(text) <= 90 else "..." + text[-87:]
    return shown.replace("$", r"\$")
