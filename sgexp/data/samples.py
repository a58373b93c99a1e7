"""What a file says about one sample: a usable header, or the reason why the sample is set aside."""

from __future__ import annotations

import re
from dataclasses import dataclass

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SampleHeader:
    """What is known of one sample without reading its pixels.

    ``space_group`` 1..230; ``energy_kev`` NaN where unknown; ``abc`` in Angstrom and ``angles`` in degrees of the
    conventional cell, ``None`` where the file gives none that can be used; ``pixels`` is the width (and height) of
    each of the three patterns. ``family`` and ``parent`` are empty where the file does not say (SMC-19 itself).
    """

    key: str
    space_group: int
    material: str
    energy_kev: float
    formula: str
    abc: Triple | None
    angles: Triple | None
    pixels: int
    family: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample (or with an empty ``key`` a whole file) that is set aside; ``path`` is relative to the data folder."""

    path: str
    key: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.key}" if self.key else self.path
        return f"{where} {self.reason}"


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``sample_2_0`` before ``sample_10_0``; total over any names."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part)) if part.isdigit() and part.isascii() else (0, part) for part in parts)
