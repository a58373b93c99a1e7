"""What every ``logger=`` does: it is handed the rows of metrics.csv, the results and the exit code, and may fail.

The rows are those that metrics.csv gets, so Lightning's own logging stays switched off (``Trainer(logger=False)``) and
nothing is recorded twice or at another step. Lightning's logger classes do the writing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rich.markup import escape

from sgexp.console import console
from sgexp.errors import ConfigError, Preempted, ProcessLost, UserError
from sgexp.evaluation.predictions import Predictions

INTERRUPTED = 130  # as the command ends on Ctrl-C


@dataclass(frozen=True)
class About:
    """What a logger is told of the run that it is to keep.

    ``folder`` is the run folder, ``name`` the run's short name, ``seedless`` a hash of the config without its seed,
    ``config`` all of it as plain values, ``choices`` the name of the file chosen in each config group.
    """

    folder: Path
    name: str = "default"
    seedless: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)


class RunLogger:
    """Keeps nothing: ``logger=none``, and the base of the others, which fill in ``_start``, ``_row`` and so on.

    A logger that fails says so once and is left alone from then on: the run matters more than its copy. One that is not
    started, as in the further processes of a distributed run, does nothing.
    """

    title: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()  # what must import
    extra: ClassVar[str] = ""  # the extra of sgexp that installs them

    about: About

    def __init__(self) -> None:
        self.started = self.broken = False
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise ConfigError(
                    f"logger={self.extra} needs the package {package}, which is not installed: "
                    f"pip install 'sgexp[{self.extra}]', or choose another logger"
                )

    def start(self, about: About) -> None:
        """Begin to record a run; a resumed one goes on with the record that it began with."""
        self.about, self.started = about, True
        self._attempt(self._start)

    def earlier_rows(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Take note of the rows that a resumed run has in metrics.csv already."""
        self._attempt(self._earlier_rows, rows)

    def row(self, values: Mapping[str, float], step: int) -> None:
        """Record one row of metrics.csv, after so many optimizer steps."""
        self._attempt(self._row, values, step)

    def results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None:
        """Record the figures of result.json, what was predicted for each part, and files of the run folder."""
        self._attempt(self._results, record, predictions)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Close the record when the body ends, with the exit code that the command will return."""
        try:
            yield
        except BaseException as error:
            self._close(exit_code(error))
            raise
        self._close(0)

    def _close(self, exit_code: int) -> None:
        if self.broken:  # what can still be closed is closed: the next job of this process has a record of its own
            with suppress(Exception):
                self._end(exit_code)
        self._attempt(self._end, exit_code)
        if self.started:
            with suppress(Exception):
                self._let_go(exit_code)
        self.started = False

    def _attempt(self, do: Callable[..., None], *arguments: Any) -> None:
        if not self.started or self.broken:
            return
        try:
            do(*arguments)
        except Exception as error:  # whatever a logging service may raise, the training goes on
            self.broken = True
            reason = escape(in_one_line(error))
            console.print(f"[yellow]{self.title} records no more of this run ({reason}); the run folder has it all[/]")

    def _start(self) -> None: ...

    def _earlier_rows(self, rows: Sequence[Mapping[str, float]]) -> None: ...

    def _row(self, values: Mapping[str, float], step: int) -> None: ...

    def _results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None: ...

    def _end(self, exit_code: int) -> None: ...

    def _let_go(self, exit_code: int) -> None:
        """Leave nothing running, and nothing to do when the process ends: a cluster may end it at any moment now."""


def exit_code(error: BaseException) -> int:
    """Return the exit code with which the command answers an error."""
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, Preempted | ProcessLost):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of result.json by flat names: ``test_family/top1``, ``test_family/top1_low`` ..., and those of
    the baselines under ``baseline/<name>/``. Undefined figures are left out.
    """
    scored = {"": record.get("metrics", {})}
    scored |= {f"baseline/{name}/": parts for name, parts in record.get("baselines", {}).items()}
    flat = {
        f"{prefix}{part}/{name}" + ("" if end == "value" else f"_{end}"): value
        for prefix, parts in scored.items()
        for part, metrics in parts.items()
        for name, metric in metrics.items()
        for end, value in metric.items()
    }
    return {name: value for name, value in flat.items() if value is not None}


def in_one_line(error: Exception) -> str:
    """Return what an error says, or its kind, in a line of bearable length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
