"""Comparisons of treatments as tables: for the terminal, and as rows for CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from sgexp.evaluation.bootstrap import Interval
from sgexp.evaluation.comparison import LOWER_IS_BETTER, Comparison
from sgexp.report.terminal import METRIC_TITLES

COLUMNS = (
    *("figure", "a", "b", "value_a", "value_b", "seeds_a", "seeds_b", "difference", "low", "high"),
    *("ratio", "ratio_low", "ratio_high", "seeds_effect", "seeds_effect_low", "seeds_effect_high"),
    *("p", "p_holm", "comparisons", "df", "from_families", "from_seeds", "detectable"),
    *("samples", "families", "classes", "shown", "stamps", "verdict"),
)


def treatments_table(treatments: Mapping[str, Sequence[Any]], comparisons: Sequence[Comparison]) -> Table:
    """Show how many seeds each treatment has, and its mean figures over them; ``treatments``: name -> runs."""
    means: dict[tuple[str, str], float] = {}
    for item in comparisons:
        means[item.a, item.figure], means[item.b, item.figure] = item.value_a, item.value_b
    names = list(dict.fromkeys(item.figure for item in comparisons))
    table = Table(title="Treatments, mean over seeds", title_justify="left", title_style="bold")
    table.add_column("treatment", overflow="fold")
    table.add_column("seeds", justify="right")
    for name in names:
        table.add_column(METRIC_TITLES.get(name, name), justify="right")
    for treatment, runs in treatments.items():
        shown = (f"{means[treatment, name]:.3f}" if (treatment, name) in means else "-" for name in names)
        table.add_row(escape(treatment), str(len(runs)), *shown)
    return table


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Show every comparison: difference with its interval, p-value, what would have been found, and what is shown."""
    first = comparisons[0]
    over = f"{first.samples:,} samples of {first.families:,} families in {first.classes} space groups"
    table = Table(title=f"Differences, over {over}", title_justify="left", title_style="bold")
    table.add_column("A - B", overflow="fold")
    table.add_column("figure")
    table.add_column(f"difference\n[dim]{first.confidence:.0%} interval[/dim]", justify="right", no_wrap=True)
    corrected = f"Holm, {first.comparisons}" if first.comparisons > 1 else "two-sided"
    table.add_column(f"p\n[dim]{corrected}[/dim]", justify="right", no_wrap=True)
    table.add_column("detectable\n[dim]at 80 % power[/dim]", justify="right")
    table.add_column("shown")
    for item in comparisons:
        difference = item.difference
        table.add_row(
            escape(f"{item.a} - {item.b}"),
            METRIC_TITLES.get(item.figure, item.figure),
            f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]",
            "< 0.001" if item.p_holm < 0.001 else f"{item.p_holm:.3f}",
            "none" if item.detectable is None else f"{item.detectable:.3f}",
            shown(item),
        )
    return table


def shown(item: Comparison) -> str:
    """Return what a comparison shows, in a few words with markup."""
    if not item.covers_seeds:
        return "[yellow]of these networks only[/yellow]" if item.networks_differ else "no difference shown"
    if not item.shown:
        return "no difference shown"
    return f"[green]{escape(item.better)} is better[/green]"


def rows(comparisons: Sequence[Comparison]) -> list[list[Any]]:
    """Return a row of ``COLUMNS`` for each comparison."""
    found = []
    for item in comparisons:
        facts = item.as_dict()
        for name in ("difference", "ratio", "seeds_effect"):
            interval: Interval | None = getattr(item, name)
            prefix = "" if name == "difference" else f"{name}_"
            facts |= {
                name: None if interval is None else interval.value,
                f"{prefix}low": None if interval is None else interval.low,
                f"{prefix}high": None if interval is None else interval.high,
            }
        facts["stamps"] = "; ".join(item.stamps)
        found.append([facts[name] for name in COLUMNS])
    return found


def lower_is_better(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the titles of the figures at hand that are better when lower."""
    names = dict.fromkeys(item.figure for item in comparisons)
    return [METRIC_TITLES.get(name, name) for name in names if name in LOWER_IS_BETTER]
