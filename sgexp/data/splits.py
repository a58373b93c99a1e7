"""Who trains and who tests: decided on families and materials, never on samples, the same for a seed on any machine.

Four parts: ``train``; ``validation``; ``test_material`` (new materials of families that training knows), and
``test_family`` (families that training never saw). All samples (energies) of a material lie in one part, and no group
is validated or tested that training never saw. ``audit`` checks all this again on the finished split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sgexp.data.audit import Audit, audit
from sgexp.data.catalog import Catalog, unique_rows
from sgexp.data.split import (
    PARTS,
    SPLIT_VERSION,
    TEST_FAMILY,
    TEST_MATERIAL,
    TRAIN,
    UNUSED,
    VALIDATION,
    Split,
    group_list,
    load_split,
    save_split,
)
from sgexp.errors import DataError

__all__ = [
    "PARTS",
    "Audit",
    "Material",
    "Nested",
    "Released",
    "Sample",
    "Split",
    "SplitMethod",
    "audit",
    "split_hash",
    "stored_split",
]

_VALIDATION_MATERIALS_FROM = 4  # a group with fewer materials gives none to validation: training needs them


class SplitMethod(Protocol):
    """What ``split=`` builds."""

    name: ClassVar[str]

    def make(self, catalog: Catalog) -> Split:
        """Return the split of this catalog."""
        ...


@dataclass(frozen=True)
class Materials:
    """A catalog's materials (M) and families (F) as integers; ``group`` 1..230, ``of_row`` (N,) row -> material."""

    group: NDArray[np.int64]
    family: NDArray[np.int64]
    of_row: NDArray[np.int64]

    @classmethod
    def of(cls, catalog: Catalog) -> Materials:
        first, of_row = unique_rows(catalog.material)
        _, family = unique_rows(catalog.family[first])
        return cls(catalog.space_group[first].astype(np.int64), family, of_row)

    def by_group(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Return (group, its materials), the groups with the fewest materials first."""
        order = np.argsort(self.group, kind="stable")
        groups, starts = np.unique(self.group[order], return_index=True)
        members = np.split(order, starts[1:])
        return sorted(zip(groups.tolist(), members, strict=True), key=lambda pair: (len(pair[1]), pair[0]))


def _quota(fraction: float, count: int) -> int:
    """Return how many of ``count`` a part should get: the rounded share, at least one where a share is asked for."""
    return max(1, round(fraction * count)) if fraction > 0 else 0


def _shuffled(values: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    return rng.permutation(values).tolist()


class Nested:
    """Whole families to validation and test_family, then single materials of the rest to validation and test_material.

    Quotas hold for each group, in materials. A group whose quota is below one material still gives one where it can,
    so that it can be tested (small groups validate on single materials only). Training always keeps a family of each
    group that gave one away, and a material of each family that gave one away. A family may hold two groups (an
    enantiomorphic pair): both are minded.

    Parameters
    ----------
    validation
        Share of the materials of each group, half of it as whole families and half as single materials (0..0.5).
    test_material, test_family
        Shares of the materials of each group (0..0.5).
    seed
        Draws the materials; kept fixed while other seeds vary, so that their results share one test set.
    """

    name: ClassVar[str] = "nested"

    def __init__(self, validation: float, test_material: float, test_family: float, seed: int) -> None:
        self.validation, self.test_material, self.test_family, self.seed = validation, test_material, test_family, seed

    def make(self, catalog: Catalog) -> Split:
        """Return the split of this catalog."""
        materials = Materials.of(catalog)
        rng = np.random.default_rng([self.seed, 1])
        part = np.full(len(materials.group), TRAIN, dtype=np.int8)
        shares = {TEST_FAMILY: self.test_family, VALIDATION: self.validation / 2}
        give_families(materials, part, shares, rng)
        shares = {TEST_MATERIAL: self.test_material, VALIDATION: self.validation / 2}
        give_materials(materials, part, shares, rng, keep_families=True)
        notes = untestable_notes(materials.group, part, (VALIDATION, TEST_MATERIAL, TEST_FAMILY))
        if catalog.family_is_proxy:
            notes.append(
                "Families are a proxy (group, anonymised formula, rounded cell): atom positions are not known."
            )
        return Split(part[materials.of_row], self.name, notes=tuple(notes))


class Material:
    """Single materials to validation and test_material, whatever their family; there is no test_family.

    Shares (0..0.5) hold for each group, in materials; training keeps at least one material of each group.
    """

    name: ClassVar[str] = "material"

    def __init__(self, validation: float, test_material: float, seed: int) -> None:
        self.validation, self.test_material, self.seed = validation, test_material, seed

    def make(self, catalog: Catalog) -> Split:
        """Return the split of this catalog."""
        materials = Materials.of(catalog)
        part = np.full(len(materials.group), TRAIN, dtype=np.int8)
        shares = {TEST_MATERIAL: self.test_material, VALIDATION: self.validation}
        give_materials(materials, part, shares, np.random.default_rng([self.seed, 2]), keep_families=False)
        return Split(
            part[materials.of_row],
            self.name,
            notes=tuple(untestable_notes(materials.group, part, (VALIDATION, TEST_MATERIAL))),
        )


class Released:
    """SMC-19's own split, by file name: dev is validation and test is test_material.

    Rows of groups that training never saw, and rows of materials that an earlier part already has (train, then dev),
    are left unused; the notes count them.
    """

    name: ClassVar[str] = "released"

    def make(self, catalog: Catalog) -> Split:
        """Return the split of this catalog."""
        part = np.full(len(catalog), UNUSED, dtype=np.int8)
        for index, name in ((TRAIN, "train"), (VALIDATION, "dev"), (TEST_MATERIAL, "test")):
            part[catalog.released == name] = index
        for index, name in ((TRAIN, "train"), (VALIDATION, "dev"), (TEST_MATERIAL, "test")):
            if not (part == index).any():
                raise DataError(
                    "split=released needs files batch_train_*, batch_dev_* and batch_test_*, but "
                    f"{catalog.root} has no sample in a batch_{name}_* file: choose split=nested."
                )
        notes = [
            _unplaced_note(part),
            _drop_shared_materials(catalog, part),
            _drop_untrained_groups(catalog, part),
        ]
        notes += untestable_notes(catalog.space_group, part, (VALIDATION, TEST_MATERIAL))
        return Split(part, self.name, notes=tuple(note for note in notes if note))


class Sample:
    """Samples at random, whatever their material. LEAKY: kept to show how much a leak flatters.

    Shares (0..0.5) hold for each group, in samples; training keeps at least one sample of each group.
    """

    name: ClassVar[str] = "sample"

    def __init__(self, validation: float, test_material: float, seed: int) -> None:
        self.validation, self.test_material, self.seed = validation, test_material, seed

    def make(self, catalog: Catalog) -> Split:
        """Return the split of this catalog."""
        rows = np.arange(len(catalog))
        alone = Materials(catalog.space_group.astype(np.int64), rows, rows)  # every sample its own material
        part = np.full(len(catalog), TRAIN, dtype=np.int8)
        shares = {TEST_MATERIAL: self.test_material, VALIDATION: self.validation}
        give_materials(alone, part, shares, np.random.default_rng([self.seed, 3]), keep_families=False)
        note = "LEAKY: samples of one material lie on both sides; the scores say little about new crystals."
        return Split(part, self.name, leaky=True, notes=(note, *untestable_notes(alone.group, part, tuple(shares))))


def give_families(
    materials: Materials, part: NDArray[np.int8], shares: dict[int, float], rng: np.random.Generator
) -> None:
    """Move whole families from train to the parts of ``shares``, group by group, the rarest group first.

    ``part`` (M,) is changed in place. A family is taken only while each of its groups keeps another one in training,
    and only if it is not more than half of its group.
    """
    order = np.argsort(materials.family, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(materials.family[order])) + 1)
    groups_of = [np.unique(materials.group[family]).tolist() for family in members]
    left = dict.fromkeys(np.unique(materials.group).tolist(), 0)  # families that each group has in training
    for groups in groups_of:
        for group in groups:
            left[group] += 1

    def free(family: int) -> bool:
        return part[members[family][0]] == TRAIN and all(left[group] > 1 for group in groups_of[family])

    def take(family: int, target: int) -> None:
        part[members[family]] = target
        for group in groups_of[family]:
            left[group] -= 1

    for _, own in materials.by_group():
        families, sizes = np.unique(materials.family[own], return_counts=True)
        size = dict(zip(families.tolist(), sizes.tolist(), strict=True))
        for target, share in shares.items():
            # A small group validates on single materials only: a family more would cost training too much.
            quota = round(share * len(own)) if target == VALIDATION else _quota(share, len(own))
            # An enantiomorphic partner that came first may have given families of this group already.
            quota -= int(np.count_nonzero(part[own] == target))
            candidates = [
                family for family in _shuffled(families, rng) if free(family) and 2 * size[family] <= len(own)
            ]
            given = False
            for family in candidates:
                if 0 < size[family] <= quota and free(family):
                    take(family, target)
                    quota -= size[family]
                    given = True
            if not given and quota > 0 and candidates:  # all are larger than the share asked for
                take(min(candidates, key=lambda family: size[family]), target)


def give_materials(
    materials: Materials,
    part: NDArray[np.int8],
    shares: dict[int, float],
    rng: np.random.Generator,
    keep_families: bool,
) -> None:
    """Move single materials from train to the parts of ``shares``; ``part`` (M,) is changed in place.

    Each group keeps a material in training; with ``keep_families`` each family does too, so that what is tested here
    are new materials of known families.
    """
    left_in_family = np.bincount(materials.family[part == TRAIN], minlength=int(materials.family.max()) + 1)
    for _, own in materials.by_group():
        candidates = _shuffled(own[part[own] == TRAIN], rng)
        left = len(candidates)
        for target, share in shares.items():
            quota = _quota(share, len(own))
            if target == VALIDATION and len(own) < _VALIDATION_MATERIALS_FROM:
                continue
            for material in candidates:
                if quota == 0 or left == 1:
                    break
                family = materials.family[material]
                if part[material] == TRAIN and (not keep_families or left_in_family[family] > 1):
                    part[material] = target
                    left_in_family[family] -= 1
                    left -= 1
                    quota -= 1


# --- what a person should know ---------------------------------------------------------------------------------------


def untestable_notes(groups: NDArray[np.integer], part: NDArray[np.int8], targets: Sequence[int]) -> list[str]:
    """Return a sentence for each of ``targets`` naming the groups that training knows but the part cannot test."""
    trained = np.unique(groups[part == TRAIN])
    notes = []
    for target in targets:
        missing = np.setdiff1d(trained, groups[part == target]).tolist()
        if missing:
            why = "families" if target == TEST_FAMILY else "materials"
            share = f"{len(missing)} of {len(trained)} groups"
            notes.append(f"{PARTS[target]} cannot judge {share} (too few {why}): {group_list(missing)}.")
    return notes


def _unplaced_note(part: NDArray[np.int8]) -> str:
    count = int(np.count_nonzero(part == UNUSED))
    return f"{count:,} samples lie in files that are named neither train, dev nor test: unused." if count else ""


def _drop_shared_materials(catalog: Catalog, part: NDArray[np.int8]) -> str:
    """Leave unused, in place, the rows of materials that an earlier part (train, then validation) holds already."""
    dropped = 0
    for target in (VALIDATION, TEST_MATERIAL):
        earlier = np.unique(catalog.material[(part >= TRAIN) & (part < target)])
        shared = (part == target) & np.isin(catalog.material, earlier)
        part[shared] = UNUSED
        dropped += int(np.count_nonzero(shared))
    return (
        f"{dropped:,} released dev or test samples are unused: an earlier part has their material." if dropped else ""
    )


def _drop_untrained_groups(catalog: Catalog, part: NDArray[np.int8]) -> str:
    """Leave unused, in place, the validation and test rows of groups that training never saw."""
    untrained = (part > TRAIN) & ~np.isin(catalog.space_group, catalog.space_group[part == TRAIN])
    part[untrained] = UNUSED
    groups = np.unique(catalog.space_group[untrained]).tolist()
    count = int(np.count_nonzero(untrained))
    return f"{count:,} samples are unused, as training never saw their groups: {group_list(groups)}." if count else ""


def split_hash(method: SplitMethod, catalog: Catalog) -> str:
    """Return the name of this method's split of this catalog: a hash of both and of the rules' version."""
    facts = {"version": SPLIT_VERSION, "name": method.name, "fingerprint": catalog.fingerprint, "knobs": vars(method)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def stored_split(method: SplitMethod, catalog: Catalog, cache_dir: Path) -> Split:
    """Return the method's split of this catalog, read from ``cache_dir`` where it was made before, and audit it."""
    path = Path(cache_dir) / "splits" / f"{split_hash(method, catalog)}.npz"
    split = load_split(path)
    if split is None or len(split.part) != len(catalog):
        split = method.make(catalog)
        save_split(split, path)
    audit(catalog, split)
    return split
