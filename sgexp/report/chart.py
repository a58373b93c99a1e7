"""What a chart of a run's page is made of: plotly's own JSON (data and layout), and its numbers as a table.

Colours are names that start with "@" (``@test_family``, ``@test_family/0.2`` with opacity): the page puts in those of
the light or the dark theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sgexp.crystallography.groups import space_group


@dataclass(frozen=True)
class Chart:
    """A figure: what it is called, a sentence that says what it shows, how plotly draws it, its numbers as a table."""

    key: str
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    wide: bool = False


def symbol(group: int) -> str:
    """Return how people call a space group: ``P2_1/c (14)``."""
    return f"{space_group(group).symbol.replace(' ', '')} ({group})"


def ends(figures: Iterable[Any]) -> tuple[list[float], list[float], list[float]]:
    """Return the values of intervals, and their lower and upper ends."""
    known = list(figures)
    return [item.value for item in known], [item.low for item in known], [item.high for item in known]


def error_bars(
    values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None], colour: str
) -> dict[str, Any]:
    """Return plotly's description of error bars that reach from ``lows`` to ``highs``."""
    above = [0.0 if high is None else high - value for value, high in zip(values, highs, strict=True)]
    below = [0.0 if low is None else value - low for value, low in zip(values, lows, strict=True)]
    bars = {"array": above, "arrayminus": below, "color": colour, "thickness": 1.2, "width": 3}
    return {"type": "data", "symmetric": False} | bars


def number(value: float | None) -> str:
    """Return a figure as text."""
    return "-" if value is None else f"{value:.3f}"


def interval(value: float, low: float | None, high: float | None) -> str:
    """Return a figure with its interval as text."""
    if low is None or high is None:
        return number(value)
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"
