"""What a sampler may be given as features."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class FeatureRows(Protocol):
    """An array (N, F) of features, or anything that reads some of its rows: one class is asked for at a time."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return the features (len(rows), F) of ``rows``, int64."""
        ...
