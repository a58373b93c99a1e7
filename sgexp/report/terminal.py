"""What a run says in the terminal: the sizes before training, the results table after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

# How the figures are called where people read them, in the order in which they are shown.
METRIC_TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "crystal_system": "crystal system",
    "laue_class": "Laue class",
    "point_group": "point group",
    "merged_219": "219 classes",
    "many_shot": "many-shot",
    "medium_shot": "medium-shot",
    "few_shot": "few-shot",
    "worst10_recall": "worst-10 % recall",
    "ece": "calibration error",
}
HEADLINE = ("top1", "top5", "macro_f1")


def figure(interval: Mapping[str, float | None] | None, with_interval: bool = True) -> str:
    """Format ``{value, low, high}`` as ``0.213 [0.18, 0.25]``; an undefined figure is a dash."""
    if interval is None or interval.get("value") is None:
        return "-"
    text = f"{interval['value']:.3f}"
    if with_interval and interval.get("low") is not None and interval.get("high") is not None:
        text += f" [{interval['low']:.2f}, {interval['high']:.2f}]"
    return text


def results_table(record: Mapping[str, Any]) -> Table:
    """Show the test figures with their intervals, a column a test split, and what each column is over."""
    splits = [split for split in ("test_material", "test_family") if split in record["metrics"]]
    table = Table(title="Results on crystals never trained on", title_justify="left", title_style="bold")
    table.add_column("")
    captions = {"test_material": "new crystals of known families", "test_family": "families never seen"}
    for split in splits:
        table.add_column(f"{split}\n[dim]{captions[split]}[/dim]", justify="right")
    for name, title in METRIC_TITLES.items():
        if any(name in record["metrics"][split] for split in splits):
            style = "bold" if name in HEADLINE else None
            table.add_row(title, *(figure(record["metrics"][split].get(name)) for split in splits), style=style)
    table.add_section()
    for baseline, figures in record.get("baselines", {}).items():
        row = (figure(figures.get(split, {}).get("top1")) for split in splits)
        table.add_row(f"{baseline.replace('_', ' ')}, top-1", *row, style="dim")
    table.add_section()
    for noun in ("samples", "materials", "families", "classes"):
        table.add_row(noun, *(f"{record['counts'][split][noun]:,}" for split in splits), style="dim")
    return table


AUXILIARY_TITLES = {
    "system_top1": "system, top-1",
    "length_error": "lengths, Å off",
    "length_error_percent": "lengths, % off",
    "angle_error": "angles, ° off",
}


def auxiliary_table(record: Mapping[str, Any]) -> Table:
    """Show what was answered beside the space group, and below each what one answer for all would give."""
    parts = [part for part in ("validation", "test_material", "test_family") if part in record["metrics"]]
    table = Table(title="Asked beside the space group", title_justify="left", title_style="bold")
    table.add_column("")
    for part in parts:
        table.add_column(part, justify="right")
    for name, title in AUXILIARY_TITLES.items():
        rows = [(record["metrics"][part].get(name), record["constant"][part].get(name)) for part in parts]
        if any(own for own, _ in rows):
            table.add_row(title, *(figure(own) for own, _ in rows))
            table.add_row("  same for all", *(figure(same, False) for _, same in rows), style="dim")
    table.add_section()
    for noun in ("samples", "cells"):
        table.add_row(noun, *(f"{record['counts'][part][noun]:,}" for part in parts), style="dim")
    return table


# What other tasks and sweeps read: no part of an experiment, and so not shown with one.
_NOT_OF_A_RUN = frozenset({"report", "launcher", "run", "input"})


def config_tree(config: Mapping[str, Any]) -> Tree:
    """Show an experiment's resolved config as a tree, a branch a group."""
    tree = Tree("[bold]config[/bold]", guide_style="dim")
    for key, value in config.items():
        if key not in _NOT_OF_A_RUN:
            _add_branch(tree, key, value)
    return tree


def _add_branch(tree: Tree, key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        tree.add(f"[bold]{escape(key)}[/bold] {escape(str(value))}")
        return
    built = escape(str(value.get("_target_", "")).rpartition(".")[2])
    branch = tree.add(f"[bold]{escape(key)}[/bold] [cyan]{built}[/cyan]" if built else f"[bold]{escape(key)}[/bold]")
    simple = {name: item for name, item in value.items() if name != "_target_" and not isinstance(item, Mapping)}
    if simple:
        branch.add(f"[dim]{'  '.join(f'{name}={escape(str(item))}' for name, item in simple.items())}[/dim]")
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            _add_branch(branch, name, item)


def size(number: float) -> str:
    """Format a number of bytes: ``34 MB``, ``463 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shortened(notes: Iterable[str], most: int = 6) -> list[str]:
    """Return notes as lines for the terminal, a long list cut short (the run folder has them all)."""
    lines = list(notes)
    shown = [f"  [dim]- {escape(line)}[/dim]" for line in lines[:most]]
    return shown + ([f"  [dim]- and {len(lines) - most:,} more[/dim]"] if len(lines) > most else [])


def counts_line(counts: Mapping[str, int]) -> str:
    """Join counts as ``train 2,068, validation 280``, leaving out what is empty."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
