"""What a sweep shows while it runs: a line for every job that ends, and on a terminal a live table of those that run.

Where the output is no terminal there are only lines, without control characters, and now and then one on how far it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence, Sized
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sgexp.console import console, duration
from sgexp.sweeps.manifest import Job, Sweep

if TYPE_CHECKING:
    from sgexp.sweeps.processes import Child

_LINE_SECONDS = 60.0  # without a terminal: from one line on the progress to the next
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_COLOURS = {"finished": "green", "failed": "red", "interrupted": "yellow", "pruned": "yellow"}


class Display:
    """Tells how the jobs of a sweep get on; use as a context manager."""

    def __init__(self, sweep: Sweep, slots: int) -> None:
        self.sweep, self.slots = sweep, slots
        self.seconds: list[float] = []  # what the jobs that finished here took
        self.told = time.monotonic()
        self.live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def started(self, child: Child) -> None:
        """Say that a job has started, where no table shows it."""
        if not self.live:
            say(f"{self.sweep.noun} {child.job.number} of {self.sweep.total} started: {safe(child.job.label)}")

    def ended(self, child: Child, running: Sequence[Child], waiting: Sized) -> None:
        """Say in one line how a job ended."""
        job = child.job
        if job.state == "finished":
            self.seconds.append(child.seconds)
        say(ending(job, self.sweep.total, self.sweep.noun))
        self.update(running, waiting)

    def stopping(self, count: int, again: bool) -> None:
        """Say what Ctrl-C does."""
        jobs = f"{count} running job{'s' if count != 1 else ''}"
        say(f"[yellow]killing {jobs}[/yellow]" if again else f"[yellow]stopping {jobs}; Ctrl-C again kills[/yellow]")

    def update(self, running: Sequence[Child], waiting: Sized) -> None:
        """Show how far the running jobs are."""
        left = seconds_left(running, waiting, self.seconds, self.slots)
        if self.live:
            self.live.update(Group(jobs_table(running), self._summary(running, waiting, left)))
        elif time.monotonic() - self.told > _LINE_SECONDS:
            self.told = time.monotonic()
            say(safe(self._words(running, waiting, left)))

    def _words(self, running: Sequence[Child], waiting: Sized, left: float | None) -> str:
        epochs = [f"{self.sweep.noun} {child.job.number} {_epochs(child)}" for child in running if child.job.epochs]
        words = [f"{self.sweep.count('finished')} of {self.sweep.distinct_total} {self.sweep.noun}s finished", *epochs]
        words.append(f"{len(waiting)} waiting")
        return ", ".join(words) + (f", about {duration(left)} left" if left is not None else "")

    def _summary(self, running: Sequence[Child], waiting: Sized, left: float | None) -> Table:
        total = self.sweep.distinct_total
        done = self.sweep.count("finished")
        counts = [f"{done} of {total} finished"]
        for state in ("pruned", "failed", "interrupted"):
            if number := self.sweep.count(state):  # type: ignore[arg-type]
                counts.append(f"[{_COLOURS[state]}]{number} {state}[/]")
        counts.append(f"{len(waiting)} waiting")
        line = Table.grid(padding=(0, 2), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        share = total - len(waiting) - len(running) + sum(fraction(child) for child in running)
        line.add_row(
            "[bold]sweep[/bold] " + " · ".join(counts),
            ProgressBar(total=total, completed=share),
            f"{duration(left)} left" if left is not None else "",
        )
        return line


def announce(sweep: Sweep, chosen: Sequence[Job]) -> None:
    """Say what the sweep is, and what of it is left to do."""
    jobs = f"{len(sweep.jobs)} job{'s' if len(sweep.jobs) != 1 else ''}"
    say(f"[bold]sweep {sweep.id}[/bold] {jobs}, recorded in {safe(sweep.path)}")
    for note in sweep.notes:
        say(f"[yellow]{safe(note)}[/yellow]")
    for job in sweep.jobs:
        if job.number in sweep.same_as:
            say(f"job {job.number} is the same experiment as job {sweep.same_as[job.number]}, which runs for both")
        elif job.state == "elsewhere":
            say(f"[yellow]job {job.number} is left alone[/yellow]: {safe(job.reason or '')}")
        elif job.state == "failed":
            say(f"[red]job {job.number} failed before[/red]: {safe(job.label)}: {safe(job.reason or '')}")
    if sweep.count("failed"):
        say("launcher.retry_failed=true runs failed jobs again")
    if sweep.count("finished"):
        elsewhere = f", {sweep.borrowed} of them outside this sweep," if sweep.borrowed else ""
        again = "launcher.fresh=true runs all again"
        say(f"{sweep.count('finished')} finished before{elsewhere} and are not run again ({again})")
    if going_on := [str(job.number) for job in chosen if job.state == "interrupted"]:
        say(f"{len(going_on)} interrupted before, {'goes' if len(going_on) == 1 else 'go'} on: {', '.join(going_on)}")


def tell_jobs(sweep: Sweep, chosen: Sequence[Job]) -> None:
    """List the jobs, what became of each, and how many would run."""
    for job in sweep.jobs:
        if job.number in sweep.same_as:
            became = f"the same experiment as job {sweep.same_as[job.number]}"
        else:
            became = {"waiting": "to run", "interrupted": "to go on"}.get(job.state, job.state)
        say(f"{job.number:4d}  {became:<10}  {safe(job.label)}")
    say(f"{len(sweep.jobs)} jobs, {len(chosen)} to run; the record would be {safe(sweep.path)}")


def safe(text: object) -> str:
    """Return a text of unknown origin as rich's markup for one line: no control characters, no markup of its own."""
    return escape(_CONTROL.sub(" ", str(text)))


def say(line: str) -> None:
    """Print one line, however long it is."""
    console.print(line, soft_wrap=True)


def ending(job: Job, total: int, noun: str = "job") -> str:
    """Return the line, in rich's markup, that tells how a job ended."""
    what = f"{noun} {job.number} of {total}"
    took = duration(job.seconds or 0.0)
    state = f"[{_COLOURS.get(job.state, 'default')}]{job.state}[/]"
    label = safe(job.label)
    log = f" (log: {safe(job.log)})" if job.log else ""
    if job.state == "finished":
        return f"{what} {state} in {took}: {label}" + (f" -> {safe(job.folder)}" if job.folder else log)
    return f"{what} {state} after {took}: {label}: {safe(job.reason or '')}{log}"


def jobs_table(running: Sequence[Child]) -> Table:
    """Return a table of the running jobs: which, how far, how long, how long still."""
    table = Table(expand=True, show_edge=False, pad_edge=False, box=None, header_style="dim")
    table.add_column("job", justify="right", no_wrap=True)
    table.add_column("choices", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("", ratio=1, min_width=8)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("elapsed", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for child in sorted(running, key=lambda child: child.job.number):
        left = left_of(child, ())
        table.add_row(
            str(child.job.number),
            Text(child.job.label),
            ProgressBar(total=1.0, completed=fraction(child)) if child.job.epochs else "",
            f"{child.epochs_done} of {child.job.epochs}" if child.job.epochs else "",
            duration(child.seconds),
            duration(left) if left is not None else "",
        )
    return table


def fraction(child: Child) -> float:
    """Return how much of a job's training is done, 0 to 1."""
    return min(1.0, child.epochs_done / child.job.epochs) if child.job.epochs else 0.0


def left_of(child: Child, others: Sequence[float]) -> float | None:
    """Return the seconds that a running job still needs: by its epochs, or by what others took; None: unknown."""
    if child.job.epochs and child.epochs_done > child.epochs_before:
        left = max(0, child.job.epochs - child.epochs_done)
        return child.seconds * left / (child.epochs_done - child.epochs_before)
    return max(0.0, sum(others) / len(others) - child.seconds) if others else None


def seconds_left(running: Sequence[Child], waiting: Sized, others: Sequence[float], slots: int) -> float | None:
    """Return the seconds until the last job ends, from what jobs took or will take; None while nothing is known."""
    lefts = [left_of(child, others) for child in running]
    known = [left for left in lefts if left is not None]
    wholes = [*others, *(child.seconds + left for child, left in zip(running, lefts, strict=True) if left is not None)]
    if not wholes:
        return None
    a_job = sum(wholes) / len(wholes)
    ahead = sum(known) + a_job * (len(lefts) - len(known) + len(waiting))
    return max([ahead / slots, *known])


def _epochs(child: Child) -> str:
    return f"epoch {child.epochs_done} of {child.job.epochs}"
