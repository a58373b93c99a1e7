"""No resampling: every training sample once an epoch."""

from __future__ import annotations

import numpy as np

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan


class Plain:
    """Draws every training sample once."""

    needs_features = False

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Return the plan that draws each row once; the arguments beside ``labels_N`` are not used."""
        return ResamplingPlan.selection(np.arange(len(labels_N)))
