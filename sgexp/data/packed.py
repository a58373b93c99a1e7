"""The packed store: all coded patterns in one flat half-precision file that training reads through a memory map.

Reading thousands of small HDF5 groups in random order is slow; this file is built once, in one pass, for a catalog and
a transform, and shared by all runs that use them. Packing is where pixels are first seen, so samples that hold NaN are
found here and set aside.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sgexp.data.catalog import BadSample, Catalog, enforce_bad_limit
from sgexp.data.packing import PATTERNS_FILE, STORE_FILE, STORE_VERSION, pack
from sgexp.data.transforms import Transform, resize_area

_POOL_ROWS = 1024


class PackedStore:
    """Coded patterns of the rows of ``catalog``, (N, 3, p, p), on disk.

    ``catalog`` is the one given, less the samples whose pixels cannot be used: rows everywhere else (split, plan,
    predictions) are rows of this catalog. ``bad`` lists those samples (``catalog.bad`` has them too). The object can
    be sent to worker processes; each opens its own map.
    """

    def __init__(self, folder: Path, catalog: Catalog, transform: Transform) -> None:
        found: dict[str, Any] = json.loads((folder / STORE_FILE).read_text(encoding="utf-8"))
        self.folder, self.transform, self.pixels = folder, transform, int(found["pixels"])
        self.bad = tuple(BadSample(*_place(catalog, row), reason) for row, reason in found["bad"])
        self._packed_row = np.setdiff1d(np.arange(len(catalog)), [row for row, _ in found["bad"]])
        self._shape = (len(catalog), 3, self.pixels, self.pixels)
        self.catalog = catalog.take(self._packed_row).with_bad(self.bad) if self.bad else catalog
        self._map: torch.Tensor | None = None

    @classmethod
    def build(
        cls,
        catalog: Catalog,
        transform: Transform,
        cache_dir: Path,
        workers: int = 1,
        max_bad_fraction: float = 1.0,
        progress: bool = True,
    ) -> PackedStore:
        """Open the store of this catalog and transform, packing it first where that was not done or not finished.

        Parameters
        ----------
        catalog, transform
            What to pack; their fingerprints name the store, so that other settings never meet a wrong one.
        cache_dir
            Stores lie in ``cache_dir/packed``.
        workers
            Threads that read and code. One by default: HDF5 reads one sample at a time, and torch codes with all cores.
            On two busy cores two threads took 0.7 to 1.4 times as long as one: nothing that could be relied on.
        max_bad_fraction
            DataError as soon as a larger share of samples (those set aside earlier included) cannot be used.
        progress
            Show a bar with the time left.
        """
        folder = Path(cache_dir) / "packed" / f"{catalog.fingerprint[:16]}-{transform.digest()}"
        if not _is_whole(folder, catalog, transform):
            pack(
                catalog,
                transform,
                folder,
                lambda: _is_whole(folder, catalog, transform),
                workers,
                max_bad_fraction,
                progress,
            )
        store = cls(folder, catalog, transform)
        enforce_bad_limit(store.catalog, max_bad_fraction)
        return store

    def __len__(self) -> int:
        return len(self.catalog)

    @property
    def nbytes(self) -> int:
        """Size of the file's patterns in bytes."""
        return int(np.prod(self._shape, dtype=np.int64)) * 2

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the coded patterns of these catalog rows, (B, 3, p, p) float32."""
        if self._map is None:
            # Copy-on-write only because torch wants a writable array; nothing is written.
            self._map = torch.from_numpy(np.load(self.folder / PATTERNS_FILE, mmap_mode="c", allow_pickle=False))
        packed = self._packed_row[np.asarray(rows)]
        patterns = torch.empty((len(packed), *self._map.shape[1:]))
        for row, pattern in zip(packed.tolist(), patterns, strict=True):  # converts while copying: no half-sized copy
            pattern.copy_(self._map[row])
        return patterns.numpy()

    def pooled(self, rows: NDArray[np.int64], size: int = 16) -> NDArray[np.float32]:
        """Return area-averaged coded patterns as features (B, 3 * size * size); small ones stay as they are."""
        rows, size = np.asarray(rows), min(size, self.pixels)
        features = np.empty((len(rows), 3 * size * size), dtype=np.float32)
        for start in range(0, len(rows), _POOL_ROWS):
            coded = torch.from_numpy(self.read(rows[start : start + _POOL_ROWS]))
            features[start : start + _POOL_ROWS] = resize_area(coded, size).flatten(1).numpy()
        return features

    def take(self, rows: NDArray[np.int64]) -> PackedStore:
        """Return a view of some rows, renumbered from 0 like those of ``catalog.take(rows)``."""
        view = copy.copy(self)
        view.catalog, view._packed_row, view._map = self.catalog.take(rows), self._packed_row[rows], None
        return view

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


def _place(catalog: Catalog, row: int) -> tuple[str, str]:
    return str(catalog.path[row]), str(catalog.key[row])


def _is_whole(folder: Path, catalog: Catalog, transform: Transform) -> bool:
    """Tell whether a finished store of just these settings lies here, its file as long as it should be."""
    try:
        found = json.loads((folder / STORE_FILE).read_text(encoding="utf-8"))
        size = os.path.getsize(folder / PATTERNS_FILE)
    except (OSError, ValueError):
        return False
    expected = {
        "schema_version": STORE_VERSION,
        "fingerprint": catalog.fingerprint,
        "transform": transform.digest(),
        "rows": len(catalog),
        "pixels": transform.pixels,
        "bytes": size,
    }
    return isinstance(found, dict) and all(found.get(name) == value for name, value in expected.items())
