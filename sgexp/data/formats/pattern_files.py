"""Patterns without labels, as people have them: HDF5, .npy and .tif files, read one crystal at a time.

The files come from strangers. Before any pixel is read, its place (no links, no storage outside the file), type and
size are checked; nothing is unpickled; what is compressed may not unpack to more than a crystal needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sgexp.errors import DataError

MOST_PATTERNS = 64  # of one crystal
MOST_VALUES = 2**26  # of one crystal: 256 MiB as float32
MOST_SIDE = 8192


class Refused(DataError):
    """Why a file, or a crystal in it, cannot be used: a phrase that follows its name."""


class PatternFile(Protocol):
    """An open file of crystals; also a context manager that closes it."""

    def __len__(self) -> int:
        """Return how many crystals it holds."""

    def name(self, index: int) -> str:
        """Return where in the file a crystal is, "" where the file is one crystal."""

    def read(self, index: int) -> NDArray[np.float32]:
        """Return a crystal's patterns as stored, (P, H, W) float32; raise Refused."""

    def scale(self, index: int, patterns_PHW: NDArray[np.float32]) -> dict[str, float]:
        """Return what the file says of the crystal's scale (``sgexp.data.calibration``)."""

    def __enter__(self) -> PatternFile: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_patterns(path: Path) -> PatternFile:
    """Open a file by the ending of its name; raise Refused."""
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        from sgexp.data.formats.hdf5_patterns import HDF5Patterns

        return HDF5Patterns(path)
    if suffix == ".npy":
        from sgexp.data.formats.npy_patterns import NpyPatterns

        return NpyPatterns(path)
    if suffix in (".tif", ".tiff"):
        from sgexp.data.formats.tiff_patterns import TiffPatterns

        return TiffPatterns(path)
    if suffix == ".npz":
        raise Refused("is an .npz archive, which is not read: save each array by numpy.save as .npy")
    raise Refused(f"is not read: its name ends in none of {', '.join(SUFFIXES)}")


SUFFIXES = (".h5", ".hdf5", ".npy", ".tif", ".tiff")


def check_kind(shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse arrays that cannot be patterns (H, W), (P, H, W) or (N, P, H, W), before their values are read."""
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.hasobject:
        raise Refused(f"holds {str(dtype)[:40]} instead of real numbers")
    if not 2 <= len(shape) <= 4:
        raise Refused(f"has the shape {shape[:8]} instead of (N, P, H, W), (P, H, W) or (H, W)")
    patterns = shape[-3] if len(shape) > 2 else 1
    if not 1 <= patterns <= MOST_PATTERNS:
        raise Refused(f"holds {patterns} patterns of one crystal (shape {shape}); there may be 1 to {MOST_PATTERNS}")
    height, width = shape[-2:]
    if not (1 <= height <= MOST_SIDE and 1 <= width <= MOST_SIDE) or patterns * height * width > MOST_VALUES:
        raise Refused(f"has the shape {shape}: patterns may have up to {MOST_SIDE} pixels a side, a crystal 64 million")


def check_values(patterns_PHW: NDArray[np.float32], pixels: int) -> None:
    """Refuse patterns that a network of ``pixels`` cannot be asked about, with the reason."""
    height, width = patterns_PHW.shape[-2:]
    if height != width:
        raise Refused(f"has patterns of {height} x {width} pixels: crop them to squares around the direct beam")
    if height < pixels:
        raise Refused(f"has {height} pixels a side; the network reads {pixels}, and enlarging would invent detail")
    broken = int(patterns_PHW.size - np.count_nonzero(np.isfinite(patterns_PHW)))
    if broken:
        raise Refused(f"holds {broken:,} pixels that are NaN or infinite")
    negative = int(np.count_nonzero(patterns_PHW < 0))
    if negative:
        raise Refused(f"holds {negative:,} negative pixels: set them to 0, or take less background away")
    empty = int(np.count_nonzero(patterns_PHW.max(axis=(1, 2)) <= 0))
    if empty:
        raise Refused(f"holds no intensity at all in {empty} of its {len(patterns_PHW)} patterns")


def unpacks_beyond(data: bytes, limit: int) -> bool:
    """Say whether deflated data unpack to more than ``limit`` bytes, never holding more than a megabyte of them."""
    unpacker, total = zlib.decompressobj(), 0
    while data and total <= limit:
        total += len(unpacker.decompress(data, 2**20))
        data = unpacker.unconsumed_tail
    return total > limit


def as_patterns(values: np.ndarray) -> NDArray[np.float32]:
    """Return (P, H, W) float32 of (P, H, W) or (H, W); numbers beyond float32 become infinite (and refused)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(values if values.ndim == 3 else values[np.newaxis], dtype=np.float32)


def crystals(file: PatternFile) -> Iterator[tuple[str, NDArray[np.float32] | Refused, dict[str, float]]]:
    """Yield (name, patterns or why not, scale) of each crystal of an open file."""
    for index in range(len(file)):
        name = file.name(index)
        try:
            patterns = file.read(index)
            yield name, patterns, file.scale(index, patterns)
        except Refused as refused:
            yield name, refused, {}
