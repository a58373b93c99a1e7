"""What ``input=`` names: a file of patterns, or a folder of such files in natural order, read crystal by crystal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.data.formats.pattern_files import SUFFIXES, Refused, check_values, crystals, open_patterns
from sgexp.data.samples import natural_order
from sgexp.errors import ConfigError, DataError


@dataclass(frozen=True)
class InputCrystal:
    """One crystal to be named: where it is, and its patterns (P, H, W) float32, or the reason why it is refused."""

    file: str
    key: str
    patterns: NDArray[np.float32] | None
    reason: str
    scale: dict[str, float]

    @property
    def name(self) -> str:
        """File and place in it."""
        return f"{self.file}:{self.key}" if self.key else self.file


@dataclass(frozen=True)
class InputFiles:
    """The files below ``root`` (or the one file), how many crystals each claims, and what was refused at once.

    ``passed_over`` counts the files of other kinds.
    """

    root: Path
    names: tuple[str, ...]
    counts: tuple[int, ...]
    refused: tuple[InputCrystal, ...]
    passed_over: int

    @property
    def crystals(self) -> int:
        """How many crystals there are to read."""
        return sum(self.counts)

    def read(self, pixels: int) -> Iterator[InputCrystal]:
        """Yield every crystal, one in memory at a time; those that a network of ``pixels`` cannot use are refused."""
        for name in self.names:
            try:
                file = open_patterns(self.root / name)
            except Refused as refused:  # it was well when it was counted
                yield _refusal(name, str(refused))
                continue
            with file:
                for key, found, scale in crystals(file):
                    try:
                        if isinstance(found, Refused):
                            raise found
                        check_values(found, pixels)
                    except Refused as refused:
                        yield _refusal(name, str(refused), key)
                    else:
                        yield InputCrystal(printable(name), printable(key), found, "", scale)


def find_inputs(path: Path) -> InputFiles:
    """List and count what is at ``path``, from headers alone."""
    if not path.exists():
        raise ConfigError(f"input={path}: there is no such file or folder")
    if path.is_file():
        root, found = path.parent, [path]
    elif path.is_dir():
        root, found = path, sorted(_files(path), key=lambda file: natural_order(file.relative_to(path).as_posix()))
    else:
        raise ConfigError(f"input={path} is neither a file nor a folder")
    names, counts, refused, passed_over = [], [], [], 0
    for file in found:
        name = file.relative_to(root).as_posix()
        if len(found) > 1 and file.suffix.lower() not in (*SUFFIXES, ".npz"):
            passed_over += 1
            continue
        try:
            if path.is_dir() and not file.resolve().is_relative_to(path.resolve()):
                raise Refused(f"is a link out of {path}")
            with open_patterns(file) as opened:
                counts.append(len(opened))
                names.append(name)
        except Refused as reason:
            refused.append(_refusal(name, str(reason)))
    if not names and not refused:
        raise DataError(f"input={path} holds no patterns: not one file there ends in {', '.join(SUFFIXES)}")
    return InputFiles(root, tuple(names), tuple(counts), tuple(refused), passed_over)


def _files(folder: Path) -> Iterator[Path]:
    for above, _, files in os.walk(folder, followlinks=False):
        for name in files:
            path = Path(above) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _refusal(name: str, reason: str, key: str = "") -> InputCrystal:
    return InputCrystal(printable(name), printable(key), None, printable(reason, 300), {})


def printable(text: str, most: int = 200) -> str:
    """Return a name from a file without characters that would move a terminal's cursor or colour it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
