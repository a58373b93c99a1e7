"""The best trials of a search on a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from sgexp.console import console, duration
from sgexp.search.record import Record, Trial

MOST = 10


def show(record: Record) -> None:
    """Print the best trials, best first; with several objectives those that none beats in all are marked."""
    ranked = record.ranked()
    if not ranked:
        return
    several = len(record.objectives) > 1
    table = Table(title=f"Best trials of {len(ranked)} finished", title_justify="left", box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    for name, _ in record.objectives:
        table.add_column(title_of(name), justify="right")
    table.add_column("took", justify="right")
    for name in record.space:
        table.add_column(escape(name), overflow="fold")
    for trial in ranked[:MOST]:
        mark = "*" if several and trial.number in record.best else ""
        values = [value_of(trial, index, name) for index, (name, _) in enumerate(record.objectives)]
        params = [escape(short(trial.params.get(name, "-"))) for name in record.space]
        table.add_row(f"{mark}{trial.number}", *map(escape, values), duration(trial.seconds), *params)
    console.print(table)
    told = "Chosen on validation: test figures play no part (they are in the run folders)."
    if any(interval is not None for trial in ranked[:MOST] for interval in trial.intervals):
        told = f"In brackets: the run's own interval over families of the validation set. {told}"
    console.print(f"* none beats it in all objectives. {told}" if several else told)


def title_of(name: str) -> str:
    """Return an objective's name for a column's head."""
    return "training seconds" if name == "seconds" else f"validation {name}"


def value_of(trial: Trial, index: int, name: str) -> str:
    """Return a value with its interval as text."""
    value, interval = trial.values[index], trial.intervals[index] if index < len(trial.intervals) else None
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def short(text: str) -> str:
    """Return a number of many digits with four significant ones, other texts as they are."""
    try:
        return f"{float(text):.4g}" if len(text) > 7 else text
    except ValueError:
        return text
