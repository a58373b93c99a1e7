"""Probabilities of space groups summed to what contains them: point group, Laue class, crystal system.

Each level's probabilities are sums of the very same numbers, so they add up to one and nest: what the point groups of
a Laue class have together, the Laue class has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgexp.crystallography.groups import (
    CRYSTAL_SYSTEMS,
    LAUE_CLASSES,
    POINT_GROUPS,
    crystal_system_of,
    laue_class_of,
    point_group_of,
)


@dataclass(frozen=True)
class Level:
    """A way to put space groups together: names of its members, and the member of each group number (231,)."""

    names: tuple[str, ...]
    member_of: np.ndarray


LEVELS: dict[str, Level] = {
    "point_group": Level(POINT_GROUPS, point_group_of),
    "laue_class": Level(LAUE_CLASSES, laue_class_of),
    "crystal_system": Level(CRYSTAL_SYSTEMS, crystal_system_of),
}
"""From fine to coarse."""


def level_probabilities(probabilities_NK: np.ndarray, classes_K: np.ndarray) -> dict[str, np.ndarray]:
    """Return level -> probabilities (N, members) of classes' probabilities; members without a class have 0."""
    found = {}
    for name, level in LEVELS.items():
        sums = np.zeros((len(probabilities_NK), len(level.names)))
        np.add.at(sums.T, level.member_of[classes_K], probabilities_NK.T)
        found[name] = sums
    return found
