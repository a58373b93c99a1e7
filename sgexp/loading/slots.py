"""Patterns that were simulated once, in a file of numbered slots that the loading processes of a machine share.

It only saves work: what it does not hold, or holds damaged, is simulated again with the same result. So there are no
locks. A slot says of which draw and variant it is, with a checksum over both and the pixels; one that is read while
another process writes it, or was cut by a kill, is as good as empty.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.errors import DataError

_HEAD = struct.Struct("<qqQ")  # draw, variant, checksum


class Slots:
    """A file of at most ``most_bytes`` with a slot for each of ``count`` draws, or for as many as there is room for.

    Parameters
    ----------
    path : the file; made, with its whole length, where it is not there (a full disk is noticed here).
    count : how many slots are worth having.
    shape : of the patterns (C, p, p), kept in half precision.
    most_bytes : largest length of the file.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], most_bytes: int) -> None:
        self.path, self.shape = path, shape
        self._bytes = 2 * int(np.prod(shape))
        self._size = _HEAD.size + self._bytes
        self.count = min(count, most_bytes // self._size)
        self._file: int | None = None
        if self.count:
            self._make()

    def _make(self) -> None:
        length = self.count * self._size
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, length)
                else:
                    os.ftruncate(file, length)
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be made ({error.strerror}): free {length / 2**20:,.0f} MB there, or keep fewer "
                "simulated patterns with dataset.cache_mb"
            ) from error

    def read(self, draw: int, variant: int) -> NDArray[np.float16] | None:
        """Return the patterns of a draw's variant, or None."""
        if not self.count:
            return None
        record = os.pread(self._descriptor(), self._size, draw % self.count * self._size)
        if len(record) < self._size:
            return None
        found_draw, found_variant, checksum = _HEAD.unpack_from(record)
        pixels = record[_HEAD.size :]
        if (found_draw, found_variant) != (draw, variant) or checksum != _checksum(draw, variant, pixels):
            return None
        return np.frombuffer(pixels, np.float16).reshape(self.shape)

    def write(self, draw: int, variant: int, patterns: NDArray[np.float16]) -> None:
        """Keep the patterns of a draw's variant in the place of what was there."""
        if self.count:
            pixels = np.ascontiguousarray(patterns, np.float16).tobytes()
            head = _HEAD.pack(draw, variant, _checksum(draw, variant, pixels))
            os.pwrite(self._descriptor(), head + pixels, draw % self.count * self._size)

    def remove(self) -> None:
        """Delete the file; what is read afterwards is simulated."""
        self.count = 0
        self.path.unlink(missing_ok=True)

    def _descriptor(self) -> int:
        if self._file is None:  # a forked process may share it: reads and writes name their place
            self._file = os.open(self.path, os.O_RDWR)
        return self._file

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None}


def _checksum(draw: int, variant: int, pixels: bytes) -> int:
    return zlib.crc32(pixels, zlib.crc32(f"{draw},{variant}".encode())) | 1 << 32  # never that of an empty slot
