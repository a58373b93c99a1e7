"""Pictures of a run: how the classes are distributed, and what the network saw, right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.collections import PolyCollection

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, crystal_system_of, space_group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

# Okabe & Ito (2008): distinguishable for colour-blind readers.
COLOURS = {
    "train": "#0072B2",
    "drawn": "#E69F00",
    "validation": "#999999",
    "test_material": "#009E73",
    "test_family": "#D55E00",
}


def class_distribution(counts: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw the samples of each space group on a log scale: in each part of the split, and as drawn for training.

    ``counts`` maps train, drawn, validation, test_material and test_family to arrays of length 231, indexed by group.
    """
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(14, 7), sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.052, right=0.992, bottom=0.075, top=0.9, hspace=0.06)  # a layout engine draws twice
    groups = np.arange(1, 231)
    train, drawn = counts["train"][1:], counts["drawn"][1:]
    corners = np.array([(-0.45, 0), (-0.45, 1), (0.45, 1), (0.45, 0)])
    bars = [(group, 0.5) + corners * (1, count - 0.5) for group, count in zip(groups, train, strict=True) if count]
    upper.add_collection(PolyCollection(bars, color=COLOURS["train"], lw=0, label=f"train ({train.sum():,})"))
    label = f"as drawn in one epoch ({drawn.sum():,})"
    upper.step(groups, np.where(drawn > 0, drawn, np.nan), where="mid", color=COLOURS["drawn"], lw=1.8, label=label)
    for offset, part in ((-0.3, "validation"), (0.0, "test_material"), (0.3, "test_family")):
        values = counts[part][1:]
        present = values > 0
        label = f"{part} ({values.sum():,} in {present.sum()} groups)"
        lower.vlines(groups[present] + offset, 0.5, values[present], color=COLOURS[part], lw=1.6, label=label)
        lower.plot(groups[present] + offset, values[present], ".", color=COLOURS[part], ms=4)
    for axes in (upper, lower):
        axes.set_yscale("log")
        axes.set_ylabel("samples")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0.5, 4 * max(axes.dataLim.y1, 2.5))  # room for the legend above the bars
        axes.legend(loc="upper right", ncols=3, frameon=False)
        shade_crystal_systems(axes, named=axes is upper)
    lower.set_xlabel("space group")
    lower.set_xlim(0.4, 230.6)
    present = train[train > 0]
    ratio = f"{present.max() / present.min():,.0f} : 1" if len(present) else "-"
    upper.set_title(f"{len(present)} of 230 space groups in training, largest to smallest {ratio}", loc="left", pad=34)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def shade_crystal_systems(axes: Axes, named: bool) -> None:
    """Shade every second crystal system of an axis of space groups; with ``named`` their names stand above."""
    for index, system in enumerate(CRYSTAL_SYSTEMS):
        members = np.flatnonzero(np.asarray(crystal_system_of)[1:] == index) + 1
        low, high = members.min() - 0.5, members.max() + 0.5
        if index % 2:
            axes.axvspan(low, high, color="black", alpha=0.045, lw=0, zorder=0)
        if named:
            place = {"triclinic": (0.4, "left", 1.055)}.get(system, ((low + high) / 2, "center", 1.015))
            x, align, height = place
            axes.text(x, height, system, transform=axes.get_xaxis_transform(), ha=align, fontsize=9)


def examples(
    patterns_BCHW: np.ndarray, true: np.ndarray, top: np.ndarray, probability: np.ndarray, names: list[str], path: Path
) -> None:
    """Draw stacks of patterns with their true and predicted groups, right ones in green, wrong ones in red.

    ``patterns_BCHW`` are coded patterns, ``true`` (B,) and ``top`` (B,) space-group numbers, ``probability`` (B,) of
    the prediction, ``names`` (B,) what to call each crystal.
    """
    n, n_patterns = patterns_BCHW.shape[:2]
    columns, wide, high, gap = 4, 3.9, 1.75, 0.06  # inches, as all lengths here
    rows = max(1, -(-n // columns))
    side = min(1.25, (wide - 0.15) / n_patterns - gap)
    figure = plt.figure(figsize=(wide * columns, high * rows + 0.1), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))  # all in one: a picture of 8 stacks in a third of the time
    axes.set_axis_off()
    for cell in range(n):
        row, column = divmod(cell, columns)
        middle, top_edge = wide * (column + 0.5), high * (rows - row) - 0.36
        left = middle - (n_patterns * (side + gap) - gap) / 2
        for pattern in patterns_BCHW[cell]:
            extent = (left, left + side, top_edge - side, top_edge)
            axes.imshow(pattern, cmap="inferno", interpolation="nearest", extent=extent, aspect="auto")
            left += side + gap
        right = true[cell] == top[cell]
        verdict = "right" if right else f"predicted {_label(top[cell])}"
        title = f"{_plain(names[cell])}: {_label(true[cell])}\n{verdict}, p = {probability[cell]:.2f}"
        colour = "#00704F" if right else "#B8430A"
        axes.text(middle, top_edge + 0.04, title, fontsize=9.5, color=colour, ha="center", va="bottom")
    axes.set(xlim=(0, wide * columns), ylim=(0, high * rows + 0.1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _label(group: int) -> str:
    return f"{space_group(int(group)).symbol.replace(' ', '')} ({int(group)})"


def _plain(text: str) -> str:
    """Cut a name from a file to a length that fits, and keep matplotlib from reading it as mathematics."""
    return str(text).replace("$", r"\$")[:28]
