"""The value ``Split``: which part each row of a catalog belongs to, and how it is kept on disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.errors import DataError

PARTS = ("train", "validation", "test_material", "test_family")
MADE = "made"
"""What ``split.csv`` calls the part of samples made for training: trained on, and none of the data set's."""
UNUSED = -1
TRAIN, VALIDATION, TEST_MATERIAL, TEST_FAMILY = range(4)
SPLIT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Split:
    """Which part each row of a catalog belongs to.

    Attributes
    ----------
    part
        (N,) int8: index into PARTS, -1 for rows that no part uses.
    name
        The method: nested, material, released, sample.
    leaky
        True where one material (or family) may lie on both sides; every result is stamped with it.
    notes
        Sentences for a person: which groups cannot be tested in which column, what is left out and why.
    """

    part: NDArray[np.int8]
    name: str
    leaky: bool = False
    notes: tuple[str, ...] = ()

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the catalog rows of a part, ascending."""
        return np.flatnonzero(self.part == PARTS.index(part)).astype(np.int64)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each part and of unused ones."""
        names = {name: int(np.count_nonzero(self.part == index)) for index, name in enumerate(PARTS)}
        return {**names, "unused": int(np.count_nonzero(self.part == UNUSED))}

    def digest(self) -> str:
        """Return a hash of the assignment."""
        return hashlib.sha256(self.part.astype(np.int8).tobytes()).hexdigest()[:16]


def group_list(groups: Iterable[int]) -> str:
    """Write sorted numbers shortly: [1, 2, 3, 7] -> '1-3, 7'."""
    runs: list[list[int]] = []
    for group in groups:
        if runs and group == runs[-1][-1] + 1:
            runs[-1].append(group)
        else:
            runs.append([group])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def save_split(split: Split, path: Path) -> None:
    """Write a split, whole or not at all."""
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(
                file,
                part=split.part,
                name=np.array(split.name),
                leaky=np.array(split.leaky),
                notes=np.array(split.notes, dtype=np.str_),
                schema_version=np.array(SPLIT_VERSION),
            )
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"The split {path} cannot be written ({error.strerror}): free some space.") from error


def load_split(path: Path) -> Split | None:
    """Read a split; ``None`` where there is none, or a damaged one, or one of another version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if int(arrays["schema_version"]) != SPLIT_VERSION:
                return None
            notes = tuple(str(note) for note in arrays["notes"])
            return Split(arrays["part"].astype(np.int8), str(arrays["name"]), bool(arrays["leaky"]), notes)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
