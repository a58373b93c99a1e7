"""``split=cbed230``: who trains and who tests in CBED-230, as the frozen list says, and how the list came to say it."""

from __future__ import annotations

from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sgexp.data import cbed230
from sgexp.data.catalog import Catalog, unique_rows
from sgexp.data.sealed import SEALED_FAMILY, SEALED_MATERIAL, Sealed, leave_out
from sgexp.data.split import TEST_FAMILY, TEST_MATERIAL, TRAIN, VALIDATION
from sgexp.data.splits import Materials
from sgexp.errors import DataError

CODES = dict(
    zip(
        cbed230.PARTS,
        (TRAIN, VALIDATION, TEST_MATERIAL, TEST_FAMILY, SEALED_MATERIAL, SEALED_FAMILY),
        strict=True,
    )
)
_WHOLE = (TEST_FAMILY, SEALED_FAMILY, VALIDATION)  # parts that hold families of which none trains


class CBED230(Sealed):
    """The parts that the list of CBED-230 gives to the materials of a catalog, wherever its files lie.

    Parameters
    ----------
    train_share
        Share of the training materials of each group that are used (0..1, at least one): for learning curves.
    """

    name: ClassVar[str] = "cbed230"

    def __init__(self, train_share: float) -> None:
        self.train_share = train_share
        self.version, self.list = cbed230.frozen()["version"], cbed230.frozen()["list"]

    def _parts(self, catalog: Catalog) -> tuple[NDArray[np.int8], Materials]:
        listed = cbed230.material_list()
        line = {name: index for index, name in enumerate(listed.material.tolist())}
        names = catalog.material[unique_rows(catalog.material)[0]].tolist()
        if unknown := [name for name in names if name not in line]:
            raise DataError(
                f"split=cbed230 knows the materials of {cbed230.NAME} v{self.version} only, and {len(unknown):,} of "
                f"{len(names):,} here are none, such as {unknown[0]!r}: choose dataset=cbed230, or another split"
            )
        part = np.array([CODES[str(listed.part[line[name]])] for name in names], dtype=np.int8)
        materials = Materials.of(catalog)
        if self.train_share < 1:
            numbers = np.array([crc32(name.encode()) for name in names], dtype=np.float64)
            leave_out(materials, part, self.train_share, numbers)
        return part, materials


def grown_parts(materials: Materials, stage: NDArray[np.int64], method: Sealed) -> NDArray[np.int8]:
    """Return the part of each material (M,) of populations that grow: what a smaller one had, a larger one keeps.

    ``stage`` (M,): the population that a material came with, 0 the smallest. Relatives of families of which no member
    trains go where these are; all others, and new families, are drawn by ``method`` from those that are new.
    """
    part = np.full(len(stage), -2, dtype=np.int8)
    for step in range(int(stage.max()) + 1):
        new = np.flatnonzero(stage == step)
        kept = _kept_families(materials, part, stage < step)
        inherited = np.array([kept.get(family, TRAIN) for family in materials.family[new].tolist()], dtype=np.int8)
        part[new] = inherited
        rest = new[inherited == TRAIN]
        known = np.isin(materials.family[rest], materials.family[stage < step])
        part[rest] = _drawn(materials, rest, known, method)
    return part


def _kept_families(materials: Materials, part: NDArray[np.int8], before: NDArray[np.bool_]) -> dict[int, int]:
    """Return family -> part for the earlier families of which no member trains."""
    trained = np.unique(materials.family[before & (part == TRAIN)])
    whole = before & np.isin(part, _WHOLE) & ~np.isin(materials.family, trained)
    return dict(zip(materials.family[whole].tolist(), part[whole].tolist(), strict=True))


def _drawn(materials: Materials, rows: NDArray[np.int64], known: NDArray[np.bool_], method: Sealed) -> NDArray[np.int8]:
    """Return the parts of new materials (rows); those of ``known`` families are never given away as families."""
    part = np.full(len(rows), TRAIN, dtype=np.int8)
    for among, whole_families in ((known, False), (~known, True)):
        chosen = rows[among]
        if len(chosen):
            _, family = np.unique(materials.family[chosen], return_inverse=True)
            some = Materials(materials.group[chosen], family, np.arange(len(chosen)))
            part[among] = method.parts_of(some, whole_families)
    return part
