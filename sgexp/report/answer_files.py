"""Answers on disk as they are given: predictions.csv, predictions.json, refused.csv; whole when interrupted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sgexp.console import interrupts_later
from sgexp.crystallography.groups import space_group
from sgexp.errors import DataError
from sgexp.evaluation.levels import LEVELS, level_probabilities
from sgexp.report.exports import harmless

TOP = 5
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Answer:
    """What was answered for one crystal, or with ``reason`` why nothing was.

    ``classes`` (K,) space groups and their ``probabilities`` (K,); ``patterns``: how many were looked at;
    ``calibrated``: whether the temperature was fitted for so many; ``scaled``: whether intensities were.
    """

    file: str
    key: str
    patterns: int
    classes: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    calibrated: bool = False
    scaled: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        """File and place in it."""
        return f"{self.file}:{self.key}" if self.key else self.file

    @cached_property
    def top(self) -> list[tuple[int, float]]:
        """The likeliest groups and their probabilities, the likeliest first (of equals the lower number)."""
        assert self.classes is not None and self.probabilities is not None
        order = np.lexsort((self.classes, -self.probabilities))[:TOP]
        return [(int(self.classes[column]), float(self.probabilities[column])) for column in order]

    @cached_property
    def levels(self) -> dict[str, dict[str, float]]:
        """Level -> member -> probability, the sums of the groups' own; members without a class are left out."""
        assert self.classes is not None and self.probabilities is not None
        sums = level_probabilities(self.probabilities[np.newaxis], self.classes)
        present = {name: set(level.member_of[self.classes].tolist()) for name, level in LEVELS.items()}
        return {
            name: {LEVELS[name].names[index]: float(sums[name][0, index]) for index in sorted(present[name])}
            for name in LEVELS
        }

    def best(self, level: str) -> tuple[str, float]:
        """Return the likeliest member of a level."""
        return max(self.levels[level].items(), key=lambda item: item[1])

    def row(self) -> list[Any]:
        """Return the row of predictions.csv."""
        cells: list[Any] = [harmless(self.file), harmless(self.key), self.patterns, str(self.calibrated).lower()]
        for group, probability in self.top:
            cells += [group, symbol(group), f"{probability:.6f}"]
        cells += [""] * (3 * (TOP - len(self.top)))
        for level in LEVELS:
            name, probability = self.best(level)
            cells += [name, f"{probability:.6f}"]
        return cells

    def record(self) -> dict[str, Any]:
        """Return the entry of predictions.json."""
        top = [{"group": group, "symbol": symbol(group), "probability": value} for group, value in self.top]
        return {
            "file": self.file,
            "key": self.key,
            "patterns": self.patterns,
            "calibrated": self.calibrated,
            "scaled": self.scaled,
            "top": top,
            **self.levels,
        }


HEADER = (
    *("file", "key", "patterns", "calibrated"),
    *(f"{what}_{place}" for place in range(1, TOP + 1) for what in ("group", "symbol", "probability")),
    *(f"{level}{what}" for level in LEVELS for what in ("", "_probability")),
)


def symbol(group: int) -> str:
    """Return the short Hermann-Mauguin symbol without blanks."""
    return space_group(group).symbol.replace(" ", "")


class AnswerFiles:
    """The three files, open for writing: each call of ``write`` leaves them readable up to its end.

    Used as a context manager; on the way out, also by Ctrl-C, the JSON is closed with what ``notes()`` then returns.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], notes: Callable[[], Sequence[str]] = tuple) -> None:
        self.folder, self._notes = folder, notes
        try:
            self._csv = (folder / "predictions.csv").open("w", newline="", encoding="utf-8")
            self._refused = (folder / "refused.csv").open("w", newline="", encoding="utf-8")
            self._json = (folder / "predictions.json").open("w", encoding="utf-8")
            csv.writer(self._csv).writerow(HEADER)
            csv.writer(self._refused).writerow(("file", "key", "reason"))
            text = json.dumps({"schema_version": SCHEMA_VERSION, **header}, indent=1)
            self._json.write(text.removesuffix("\n}") + ',\n "crystals": [')
        except OSError as error:
            raise self._disk_error(error) from error
        self._comma = ""

    def write(self, answers: Sequence[Answer]) -> None:
        """Write answers and refusals, and hand them to the disk."""
        try:
            for answer in answers:
                if answer.probabilities is None:
                    told = (answer.file, answer.key, answer.reason)
                    csv.writer(self._refused).writerow([harmless(text) for text in told])
                    continue
                csv.writer(self._csv).writerow(answer.row())
                self._json.write(f"{self._comma}\n  {json.dumps(answer.record(), allow_nan=False)}")
                self._comma = ","
            for file in (self._csv, self._refused, self._json):
                file.flush()
        except OSError as error:
            raise self._disk_error(error) from error

    def __enter__(self) -> AnswerFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with interrupts_later():
                self._json.write(f'\n ],\n "notes": {json.dumps(list(self._notes()))}\n}}\n')
                for file in (self._csv, self._refused, self._json):
                    file.close()
        except OSError as fault:
            if kind is None:
                raise self._disk_error(fault) from fault

    def _disk_error(self, error: OSError) -> DataError:
        return DataError(f"the answers in {self.folder} cannot be written ({error.strerror}): free some space there")
