"""What a sampler may be given as features."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from sgexp.console import console, duration

_TRIED = 256  # samples whose neighbours are timed before a long search
_WORTH_SAYING = 20.0  # seconds


class FeatureRows(Protocol):
    """An array (N, F) of features, or anything that reads some of its rows: one class is asked for at a time."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return the features (len(rows), F) of ``rows``, int64."""
        ...


def all_features(features_NF: FeatureRows | None, n_rows: int) -> np.ndarray:
    """Return every row in memory, float32 or float64, for a method that compares classes with each other."""
    if features_NF is None:
        raise ValueError("this sampler needs features to measure distances")
    x_NF = features_NF if isinstance(features_NF, np.ndarray) else features_NF[np.arange(n_rows)]
    return np.ascontiguousarray(x_NF, dtype=None if x_NF.dtype in (np.float32, np.float64) else np.float32)


def announce_search(x_NF: np.ndarray, method: str, searches: float = 1.0) -> float:
    """Say how long comparing every sample with every other will take, if it is long; return the seconds.

    The neighbours of a few hundred samples are timed. ``searches``: how often the method looks for those of all.
    """
    from sklearn.neighbors import NearestNeighbors  # here, since this room is imported before the config is right

    tried = x_NF[:: max(1, len(x_NF) // _TRIED)][:_TRIED]
    search = NearestNeighbors(n_neighbors=min(5, len(x_NF)), algorithm="brute").fit(x_NF)
    begin = time.perf_counter()
    search.kneighbors(tried, return_distance=False)
    seconds = (time.perf_counter() - begin) * searches * len(x_NF) / len(tried)
    if seconds > _WORTH_SAYING:
        console.print(
            f"[bold]sampler[/bold] {method} compares each of {len(x_NF):,} samples with every other: "
            f"about {duration(seconds)}, growing with the square of their number"
        )
    return seconds
