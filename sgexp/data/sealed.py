"""The split of a benchmark: as nested, with a further test that no training and no evaluation ever opens.

Its *sealed* rows are whole families and single materials, drawn like those of test_family and test_material. For every
task they are rows that no part uses; only ``task=score task.open_sealed=true`` asks for `sealed`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sgexp.data.catalog import Catalog
from sgexp.data.split import TEST_FAMILY, TEST_MATERIAL, TRAIN, UNUSED, VALIDATION, Split
from sgexp.data.splits import Materials, give_families, give_materials, untestable_notes

SEALED_MATERIAL, SEALED_FAMILY, SPARE = 10, 11, 12  # beyond PARTS, so that nobody takes them for one


class Sealed:
    """Families and materials to the sealed test, to test and to validation; training may be given fewer materials.

    Where a group has too few families for both tests, the open one comes first.

    Parameters
    ----------
    validation, test_material, test_family
        As of `Nested`: shares of the materials of each group (0..0.5).
    sealed_material, sealed_family
        The same shares of the sealed test.
    train_share
        Share of the training materials that are used (0..1, at least one of each group): a smaller one's are among a
        larger one's, and validation and both tests stay, so that learning curves over materials share their tests.
    seed
        Draws all of them.
    """

    name: ClassVar[str] = "sealed"

    def __init__(
        self,
        validation: float,
        test_material: float,
        test_family: float,
        sealed_material: float,
        sealed_family: float,
        train_share: float,
        seed: int,
    ) -> None:
        self.validation, self.test_material, self.test_family = validation, test_material, test_family
        self.sealed_material, self.sealed_family = sealed_material, sealed_family
        self.train_share, self.seed = train_share, seed

    def make(self, catalog: Catalog) -> Split:
        """Return the split that everybody trains and tests with; sealed rows are unused."""
        part, materials = self._parts(catalog)
        notes = untestable_notes(
            materials.group, np.where(part >= SEALED_MATERIAL, UNUSED, part), (VALIDATION, TEST_MATERIAL, TEST_FAMILY)
        )
        sealed = int(np.isin(part, (SEALED_MATERIAL, SEALED_FAMILY)).sum())
        notes.append(f"{sealed:,} materials are sealed: no training, validation or test uses them.")
        if spare := int((part == SPARE).sum()):
            notes.append(f"{spare:,} training materials are left out (split.train_share={self.train_share:g}).")
        part[part >= SEALED_MATERIAL] = UNUSED
        return Split(part[materials.of_row], self.name, notes=tuple(notes))

    def sealed(self, catalog: Catalog) -> Split:
        """Return the split in which the sealed rows are the tests, and the open tests unused."""
        part, materials = self._parts(catalog)
        part[np.isin(part, (TEST_MATERIAL, TEST_FAMILY, SPARE))] = UNUSED
        part[part == SEALED_MATERIAL] = TEST_MATERIAL
        part[part == SEALED_FAMILY] = TEST_FAMILY
        notes = untestable_notes(materials.group, part, (TEST_MATERIAL, TEST_FAMILY))
        return Split(part[materials.of_row], f"{self.name}, opened", notes=tuple(notes))

    def _parts(self, catalog: Catalog) -> tuple[NDArray[np.int8], Materials]:
        """Return the part of each material, and the materials."""
        materials = Materials.of(catalog)
        part = self.parts_of(materials)
        if self.train_share < 1:
            numbers = np.random.default_rng([self.seed, 5]).random(len(part))
            leave_out(materials, part, self.train_share, numbers)
        return part, materials

    def parts_of(self, materials: Materials, whole_families: bool = True) -> NDArray[np.int8]:
        """Return the part of each material, drawn by ``seed``.

        Families are given away first (unless none may be), so that no test's family is another's.
        """
        rng = np.random.default_rng([self.seed, 4])
        part = np.full(len(materials.group), TRAIN, dtype=np.int8)
        families = {TEST_FAMILY: self.test_family, SEALED_FAMILY: self.sealed_family, VALIDATION: self.validation / 2}
        if whole_families:
            give_families(materials, part, families, rng)
        single = {
            TEST_MATERIAL: self.test_material,
            SEALED_MATERIAL: self.sealed_material,
            VALIDATION: self.validation / 2,
        }
        give_materials(materials, part, single, rng, keep_families=True)
        return part


def leave_out(materials: Materials, part: NDArray[np.int8], share: float, numbers: NDArray[np.float64]) -> None:
    """Leave training materials out, in place; each has a number (M,), and the smallest ones of a group stay."""
    for _, own in materials.by_group():
        trained = own[part[own] == TRAIN]
        kept = max(1, round(share * len(trained)))
        part[trained[np.argsort(numbers[trained])][kept:]] = SPARE
