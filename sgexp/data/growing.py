"""Coded patterns that are added one by one and kept at once: an interruption or a kill loses the one being made.

``patterns.bin`` holds them as the packed store does, half precision, one after another; each line of ``rows.jsonl``
tells what became of one key. A line is written when its patterns are, so that those behind the last line are nothing.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sgexp.data.catalog import Catalog
from sgexp.data.packed import PackedStore
from sgexp.errors import DataError

PATTERNS, ROWS = "patterns.bin", "rows.jsonl"


class GrowingStore:
    """Patterns by key, in a folder of one kind; whoever adds must hold a lock of the folder.

    ``shape``: (3, p, p) of each. ``facts``: key -> what was said of it, with ``place``, which is None where it has no
    patterns.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        self._bytes = int(np.prod(shape)) * 2
        self.facts: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def _read(self) -> None:
        """Recall what is whole; a torn last line, and one whose patterns are not there or not the same, are as none."""
        rows, patterns = self.folder / ROWS, self.folder / PATTERNS
        if not rows.is_file():
            return
        there = np.memmap(patterns, np.uint8, "r") if patterns.is_file() and patterns.stat().st_size else None
        for line in rows.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key, facts = json.loads(line)
                place = facts["place"]
            except (ValueError, TypeError, KeyError):
                continue
            if place is not None:
                held = b"" if there is None else there[place * self._bytes : (place + 1) * self._bytes].tobytes()
                if len(held) != self._bytes or zlib.crc32(held) != facts["crc"]:
                    continue
            self.facts[key] = facts

    def add(self, key: str, facts: dict[str, Any], patterns: NDArray[np.float16] | None) -> None:
        """Keep what is known of ``key``, and its coded patterns where it has any."""
        said: dict[str, Any] = facts | {"place": None}
        try:
            if patterns is not None:
                data = np.ascontiguousarray(patterns, "<f2").tobytes()
                with (self.folder / PATTERNS).open("ab") as file:
                    place = -(-file.tell() // self._bytes)
                    file.write(b"\0" * (place * self._bytes - file.tell()) + data)
                said |= {"place": place, "crc": zlib.crc32(data)}
            with (self.folder / ROWS).open("ab+") as file:
                torn = file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
                file.write(b"\n" * bool(torn) + json.dumps([key, said]).encode() + b"\n")
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written ({error.strerror}): free some space; what is made is kept"
            ) from error
        self.facts[key] = said

    def places(self, keys: list[str]) -> NDArray[np.int64]:
        """Return where the patterns of these keys stand in the file."""
        return np.array([self.facts[key]["place"] for key in keys], np.int64)


class JoinedStore(PackedStore):
    """A packed store with further rows behind its own, read from a growing one.

    ``catalog``: of both. Rows below the store's length are the store's.
    """

    def __init__(self, store: PackedStore, catalog: Catalog, more: GrowingStore, places: NDArray[np.int64]) -> None:
        self.store, self.catalog, self.places = store, catalog, places
        self.folder, self.transform, self.pixels, self.bad = store.folder, store.transform, store.pixels, store.bad
        self._file, self._more_shape = more.folder / PATTERNS, more.shape
        self._more: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Size of the patterns of both in bytes."""
        return self.store.nbytes + len(self.places) * int(np.prod(self._more_shape)) * 2

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the coded patterns of these rows, (B, 3, p, p) float32."""
        rows = np.asarray(rows)
        new = np.flatnonzero(rows >= len(self.store))
        if not len(new):
            return self.store.read(rows)
        if self._more is None:
            flat = np.memmap(self._file, "<f2", "c")
            size = int(np.prod(self._more_shape))
            self._more = torch.from_numpy(flat[: len(flat) // size * size].reshape(-1, *self._more_shape))
        patterns = np.empty((len(rows), *self._more_shape), np.float32)
        old = np.flatnonzero(rows < len(self.store))
        patterns[old] = self.store.read(rows[old])
        patterns[new] = self._more[torch.from_numpy(self.places[rows[new] - len(self.store)])].float().numpy()
        return patterns

    def take(self, rows: NDArray[np.int64]) -> PackedStore:
        """Refuse: a data set is cut before rows are added to it."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_more": None}
