"""A sampler: labels and materials in, a plan of what an epoch draws out."""

from __future__ import annotations

import numpy as np

from sgexp.sampling.plan import ResamplingPlan


class OneEach:
    """Draws at most ``per_material`` samples of each material, chosen by the seed."""

    needs_features = False  # True: sgexp also hands over pooled patterns as features_NF

    def __init__(self, per_material: int) -> None:
        self.per_material = per_material

    def plan(self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: object | None, seed: int) -> ResamplingPlan:
        """Return the rows to draw, as they are (weight 0); ``groups_N`` names each sample's material."""
        order = np.random.default_rng(seed).permutation(len(labels_N))
        taken: dict[str, int] = {}
        rows = []
        for row in order:
            material = str(groups_N[row])
            if taken.get(material, 0) < self.per_material:
                taken[material] = taken.get(material, 0) + 1
                rows.append(row)
        return ResamplingPlan.selection(np.sort(np.array(rows, dtype=np.int64)))
