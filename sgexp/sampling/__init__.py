"""Features, labels and materials in, a plan of draws out: NumPy and imbalanced-learn, neither files nor networks."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan

__all__ = ["FeatureRows", "ResamplingPlan", "Sampler"]


class Sampler(Protocol):
    """What a choice of the config group ``sampler`` builds."""

    needs_features: bool

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Plan the draws of an epoch from training samples alone.

        ``labels_N`` are space-group numbers, ``groups_N`` material ids, ``features_NF`` rows to measure distances
        between (``None`` unless ``needs_features``). The plan's rows count within these arrays.
        """
        ...
