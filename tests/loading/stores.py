"""A small store for tests: patterns in a memory-mapped float16 file, as the packed store keeps them."""

from pathlib import Path

import numpy as np


class ArrayStore:
    """Reads rows of a memory-mapped (N, 3, p, p) float16 array."""

    def __init__(self, path: Path, patterns: np.ndarray) -> None:
        np.save(path, patterns.astype(np.float16))
        self.patterns = np.load(path, mmap_mode="r")

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.patterns[rows].astype(np.float32)


def random_store(folder: Path, n: int, pixels: int = 8, seed: int = 0) -> ArrayStore:
    patterns = np.random.default_rng(seed).random((n, 3, pixels, pixels))
    return ArrayStore(folder / "patterns.npy", patterns)
