"""``task=compare``: which of several treatments is better, from the predictions in their run folders."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sgexp.console import console
from sgexp.errors import ConfigError, UserError
from sgexp.evaluation.run_folders import compare_runs
from sgexp.evaluation.treatments import by_treatment
from sgexp.report import comparison_table
from sgexp.report.collect import find_folders
from sgexp.report.terminal import shortened
from sgexp.runs import RunResult, write_json, write_text
from sgexp.tasks.schema import CompareTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sgexp.config import Config
    from sgexp.evaluation.comparison import Comparison


def compare(config: Config) -> None:
    """Group runs into treatments, compare them on one part of the data, print tables and verdicts."""
    task = config.task
    assert isinstance(task, CompareTask)
    runs, left_out = finished_runs(task, Path(config.output_dir))
    treatments, notes = by_treatment(runs)
    if len(treatments) < 2:
        raise ConfigError(
            f"a comparison needs two treatments, but the {len(runs)} finished runs found are of {len(treatments)}"
            f"{': seeds of ' + next(iter(treatments)) if treatments else ''}; name more with task.runs=[...]"
        )
    with console.status("comparing"):
        found = compare_runs(
            treatments, task.reference, task.figures, task.part, config.evaluation, task.allow_different
        )
    if not found:
        raise ConfigError(f"{task.part} has no class to compute {', '.join(task.figures)} over")
    for stamp in found[0].stamps:
        console.print(f"[bold red]{escape(stamp)}[/bold red]")
    console.print(comparison_table.treatments_table(treatments, found))
    console.print(comparison_table.comparisons_table(found))
    told = [*notes, *found[0].notes, *left_out]
    told += [f"lower is better: {name}" for name in comparison_table.lower_is_better(found)]
    if found[0].comparisons > 1:
        told.append("p is corrected for all these comparisons, each interval is of its comparison alone")
    console.print("\n".join(shortened(told, most=10)))
    for item in found:
        console.print(f"- {escape(item.verdict)}")
    write(task, found, told)


def finished_runs(task: CompareTask, output_dir: Path) -> tuple[list[RunResult], list[str]]:
    """Return the finished runs that were judged on the asked part, and what was left out and why.

    Where no folders are named, only trainings count: an evaluation is a training judged a second time.
    """
    runs, left_out = [], []
    for folder in find_folders(task.runs, output_dir, key="task.runs"):
        try:
            run = RunResult.read(folder)
        except UserError as error:
            left_out.append(f"left out: {error}")
            continue
        figures = run.record.get("metrics")
        if task.runs is None and run.record.get("task", "train") != "train":
            continue
        if run.status != "finished":
            left_out.append(f"left out: {folder} is {run.status}")
        elif not isinstance(figures, dict) or task.part not in figures:
            left_out.append(f"left out: {folder} was not judged on {task.part}")
        else:
            runs.append(run)
    return runs, left_out


def write(task: CompareTask, found: Sequence[Comparison], notes: Sequence[str]) -> None:
    """Write the CSV and the JSON file that were asked for."""
    if task.csv is not None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(comparison_table.COLUMNS)
        writer.writerows(comparison_table.rows(found))
        write_text(Path(task.csv), text.getvalue())
        console.print(f"table written to {task.csv}")
    if task.json is not None:
        write_json(Path(task.json), {"comparisons": [item.as_dict() for item in found], "notes": list(notes)})
        console.print(f"everything written to {task.json}")
