"""``task=report``: run folders to a dashboard of pages, tables and figures. It makes no run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sgexp.console import console, progress
from sgexp.errors import ConfigError, UserError
from sgexp.report import figures
from sgexp.report.collect import RESULT, collect, find_folders
from sgexp.report.leaderboard import leaderboard
from sgexp.report.rendering import refuse_foreign
from sgexp.report.writing import Report, in_a_line

if TYPE_CHECKING:
    from sgexp.config import Config

State = dict[Path, tuple[int, int]]  # a file of a run -> when it was changed, and its size
_FEW = 3  # so many are done before a progress bar would be seen


def report(config: Config) -> None:
    """Show the runs that the config names; with ``report.watch`` again whenever one of them changes."""
    folder = Path(config.report.folder or Path(config.output_dir) / "report")
    refuse_foreign(folder)
    before = state(config, folder) if config.report.watch else {}
    made = make_if_any(config, folder, announced=True)
    if made is not None:
        tell(made)
    if config.report.watch:
        watch(config, folder, before)


def make_if_any(config: Config, folder: Path, announced: bool = False) -> Report | None:
    """Make the report; where runs are watched for, folders that are not there (yet) are told and cost no more."""
    try:
        find_folders(config.report.runs, Path(config.output_dir), folder)
    except ConfigError as error:
        if not config.report.watch:
            raise
        console.print(f"no runs yet ({escape(printable(str(error)))})", soft_wrap=True)
        return None
    return make(config, folder, announced)


def make(config: Config, folder: Path, announced: bool = False) -> Report:
    """Read the runs, write the leaderboard, then the pages that are out of date and the figures.

    ``announced``: say that the leaderboard is there before the pages are made.
    """
    output_dir = Path(config.output_dir)
    folders = find_folders(config.report.runs, output_dir, folder)
    with counting("reading results", len(folders)) as done:
        found = collect(folders, done)
    made = Report(folder, output_dir, found, leaderboard(found.runs), config.evaluation, figures.kept(folder))
    made.write_searches()
    made.write_tables()
    if config.report.compare:
        with console.status("comparing experiments"):
            made.compare(config.report.compare)
        made.write_tables()
    waiting = made.out_of_date(config.report.pages)
    if waiting:
        if announced:
            pages = "the page of 1 run follows" if len(waiting) == 1 else f"pages of {len(waiting):,} runs follow"
            console.print(
                f"leaderboard ready at {escape(printable(str(folder / 'index.html')))}; {pages} "
                "(Ctrl-C keeps those that are made)",
                soft_wrap=True,
            )
        with counting("pages of runs", len(waiting)) as done:
            try:
                made.write_pages(waiting, done)
            finally:
                made.write_tables()  # links the pages that are there, also after Ctrl-C
    if config.report.figures != "none":
        try:
            made.figures = figures.write(made, config.report.figures)
        except Exception as error:  # files may hold anything, and the pages are there
            console.print(f"[yellow]not all figures were made ({escape(printable(in_a_line(error)))})[/yellow]")
            made.figures = figures.kept(folder)
        made.write_tables()
    return made


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many are done and how long the rest will take, where there are more than a few; yield what to tell."""
    if total <= _FEW or not console.is_terminal:
        yield lambda done: None
        return
    with progress(transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def tell(made: Report) -> None:
    """Say what was written, and what was left out."""
    shown = sum(len(item.rows) for item in made.sets)
    sets = f"{len(made.sets)} test set{'' if len(made.sets) == 1 else 's'}"
    runs = f"{shown:,} run{'' if shown == 1 else 's'} with figures in {sets}"
    console.print(f"{runs}, {len(made.found.runs) - shown:,} without figures")
    if len(made.sets) > 1:
        console.print("[bold]runs on different test sets stand in different tables and cannot be compared[/bold]")
    for stamp in dict.fromkeys(stamp for item in made.sets for stamp in item.stamps):
        console.print(f"[bold red]{escape(printable(stamp))}[/bold red]")
    left_out = made.found.left_out
    if left_out:
        folders = "1 folder was" if len(left_out) == 1 else f"{len(left_out):,} folders were"
        console.print(f"[yellow]{folders} left out (the page lists all, with the reason):[/yellow]")
    for path, reason in left_out[:5]:
        console.print(f"  [dim]- {escape(printable(f'{path}: {reason}'))}[/dim]")
    tell_not_made(made)
    console.print(f"[bold]report[/bold] {escape(printable(str(made.folder / 'index.html')))}", soft_wrap=True)


def tell_not_made(made: Report) -> None:
    """Say which runs have no page, and why, a line each."""
    if made.not_made:
        pages = "1 page was" if len(made.not_made) == 1 else f"{len(made.not_made):,} pages were"
        console.print(f"[yellow]{pages} not made (index.html lists all, with the reason):[/yellow]")
    for path, reason in made.not_made[:5]:
        console.print(f"  [dim]- {escape(printable(f'{path}: {reason}'))}[/dim]", soft_wrap=True)


def printable(text: str) -> str:
    """Return a text from a file without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def watch(config: Config, folder: Path, before: State) -> None:
    """Make the report again whenever the runs are no longer as ``before``, until Ctrl-C."""
    console.print("watching; Ctrl-C ends it (reload the page to see what is new)")
    try:
        while True:
            time.sleep(config.report.watch_seconds)
            now = state(config, folder)
            if now != before:
                made = make_if_any(config, folder)
                before = now
                if made is None:
                    continue
                shown = sum(len(item.rows) for item in made.sets)
                running = sum(run.status == "running" for run in made.found.runs)
                console.print(f"{time.strftime('%H:%M:%S')} {shown:,} runs with figures, {running:,} running")
                tell_not_made(made)
    except KeyboardInterrupt:
        console.print("stopped watching")


def state(config: Config, folder: Path) -> State:
    """Return what tells that a run has changed: its result.json's and its curve's time and size."""
    found: State = {}
    try:
        folders = find_folders(config.report.runs, Path(config.output_dir), folder)
    except UserError:
        return found
    for run in folders:
        for name in (RESULT, "metrics.csv"):
            try:
                status = (run / name).stat()
            except OSError:
                continue
            found[run / name] = (status.st_mtime_ns, status.st_size)
    return found
