"""Making the list of a new version of CBED-230: populations that grow, their parts, sizes that are beginnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import Population
from sgexp.data.cbed230 import LIBRARY, SIZES, MaterialList
from sgexp.data.cbed230.split import CODES, grown_parts
from sgexp.data.sealed import Sealed
from sgexp.data.splits import Materials

SEED = 1
SHARES = {
    "validation": 0.1,
    "test_material": 0.1,
    "test_family": 0.1,
    "sealed_material": 0.05,
    "sealed_family": 0.1,
}


def make_list(
    sizes: Sequence[int] = tuple(SIZES.values()), progress: Callable[[int, int], None] | None = None
) -> tuple[MaterialList, list[Crystal]]:
    """Return the list of populations of these rising sizes, and its crystals in the same order."""
    population = Population(sizes[0], SEED, library=LIBRARY)
    for size in sizes:
        population.grow(size, progress)
    crystals = population.crystals
    stage = np.searchsorted(sizes, np.arange(len(crystals)), side="right")
    _, family = np.unique([crystal.family for crystal in crystals], return_inverse=True)
    group = np.array([crystal.space_group for crystal in crystals], dtype=np.int64)
    materials = Materials(group, family, np.arange(len(crystals)))
    method = Sealed(**SHARES, train_share=1.0, seed=SEED)
    part = grown_parts(materials, stage, method)
    order = _order(group, part, stage)
    crystals = [crystals[index] for index in order]
    names = {code: name for name, code in CODES.items()}
    return MaterialList.of(crystals, np.array([names[code] for code in part[order].tolist()])), crystals


def _order(group: NDArray[np.int64], part: NDArray[np.int8], stage: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order in which every beginning can be split: size by size, training before the rest.

    The smallest size stands group by group, the smallest groups first, so that its first sixty materials are whole
    groups: enough to try the plumbing.
    """
    count = np.bincount(group[stage == 0], minlength=231)[group]
    block = np.where(stage == 0, count * 1000 + group, 0)
    return np.lexsort((np.arange(len(group)), part != 0, block, stage))
