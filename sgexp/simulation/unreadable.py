"""What never became a crystal to simulate, with the reason: unreadable files, copies, random crystals that failed.

``failed.csv`` beside it lists the crystals that were read and could not be simulated.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from sgexp.errors import DataError

UNREADABLE = "unreadable.csv"
_COLUMNS = ["input", "reason"]


def write_unreadable(folder: Path, refused: Sequence[tuple[str, str]]) -> None:
    """Write (input, reason) of each that was refused into a folder of patterns, whole or not at all; none: no file."""
    path, part = folder / UNREADABLE, folder / f".{UNREADABLE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not refused:
            path.unlink(missing_ok=True)
            return
        with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.writer(file).writerows([_COLUMNS, *sorted(refused)])
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error


def read_unreadable(folder: Path) -> list[tuple[str, str]]:
    """Return what ``unreadable.csv`` of a folder lists; lines of another form are passed over."""
    path = folder / UNREADABLE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [(row[0], row[1]) for row in csv.reader(file) if len(row) == len(_COLUMNS) and row != _COLUMNS]
