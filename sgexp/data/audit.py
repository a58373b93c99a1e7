"""The check that runs in every run: no material, and no family of test_family, lies on two sides of a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sgexp.data.catalog import Catalog, unique_rows
from sgexp.data.split import PARTS, TEST_FAMILY, TRAIN, Split, group_list
from sgexp.errors import DataError


@dataclass(frozen=True)
class Audit:
    """What lies on two sides: counts of materials and families by pair of parts, and groups that are not trained.

    ``materials`` and ``families`` map 'train/test_family' and so on to the number of shared ones, for all six pairs.
    Shared families are a fault only where one of the parts is test_family.
    """

    materials: dict[str, int]
    families: dict[str, int]
    untrained_groups: tuple[int, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Say in words what breaks the rules, empty where nothing does."""
        found = [f"{count:,} materials lie in both {pair}" for pair, count in self.materials.items() if count]
        found += [
            f"{count:,} families lie in both {pair}"
            for pair, count in self.families.items()
            if count and PARTS[TEST_FAMILY] in pair.split("/")
        ]
        if self.untrained_groups:
            found.append(f"groups {group_list(self.untrained_groups)} are judged but never trained")
        return tuple(found)


def overlap(catalog: Catalog, split: Split) -> Audit:
    """Count what lies on two sides of a split.

    It looks at the catalog's own columns, knows nothing of how the split was made, and is cheap (a second for 187,000
    rows).
    """
    if len(split.part) != len(catalog):
        raise DataError(
            f"The split has {len(split.part):,} rows but the catalog {len(catalog):,}: make the split again."
        )
    _, material = unique_rows(catalog.material)
    _, family = unique_rows(catalog.family)
    rows = [split.part == index for index in range(len(PARTS))]
    judged = np.unique(catalog.space_group[split.part > TRAIN])
    return Audit(
        materials=_shared([np.unique(material[chosen]) for chosen in rows]),
        families=_shared([np.unique(family[chosen]) for chosen in rows]),
        untrained_groups=tuple(np.setdiff1d(judged, catalog.space_group[rows[TRAIN]]).tolist()),
    )


def audit(catalog: Catalog, split: Split) -> Audit:
    """Return the overlap; raise DataError for a fault unless the split is declared leaky. It runs in every run."""
    found = overlap(catalog, split)
    if found.faults and not split.leaky:
        raise DataError(f"The split '{split.name}' leaks: {'; '.join(found.faults)}. Its scores would not be true.")
    if not len(split.rows("train")):
        raise DataError(f"The split '{split.name}' leaves nothing to train on: use more materials (size=).")
    return found


def _shared(members: list[NDArray[np.int64]]) -> dict[str, int]:
    pairs = [(a, b) for a in range(len(PARTS)) for b in range(a + 1, len(PARTS))]
    return {f"{PARTS[a]}/{PARTS[b]}": len(np.intersect1d(members[a], members[b])) for a, b in pairs}
