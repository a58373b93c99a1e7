"""The one place that talks to the terminal: a shared console, progress bars with time left, times in words, Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)
STOP_REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""How clusters ask a job to stop."""


def progress(transient: bool = False) -> Progress:
    """Return a progress display (use as a context manager): what, bar, count, elapsed, left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
    )


def duration(seconds: float) -> str:
    """Format a time for people: ``41 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 days``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    hours, rest = divmod(whole.seconds, 3600)
    if whole.days >= 2:
        return f"{whole.days} days"
    hours += 24 * whole.days
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C until the body is done: inside a compiled library it would abort the process or pass for an error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


@contextmanager
def interrupts_not_inherited(*further: signal.Signals) -> Iterator[None]:
    """Start processes in the body that neither Ctrl-C nor ``further`` signals reach, unless they ask for them.

    Ctrl-C that comes meanwhile reaches this process once they are started. (Blocking it is not enough: another thread
    of this process may hear it, and Python then raises it in the main thread.)
    """
    with interrupts_later():
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *further})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
