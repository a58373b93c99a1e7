"""A population of materials from the built-in crystals: as many as wanted, counts per group shaped like SMC-19's.

Real data are long-tailed twice over: in groups (SMC-19: the ten commonest of 230 groups hold half the materials) and in
families (a few structure types hold most materials of a group). Both are kept. Yet every group occurs, and groups get
several families with several materials where the library allows, so that a split can test them on new materials of
known families and on families never seen.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.library import EDITION, load_library
from sgexp.crystallography.substitution import Materials, children, replacements, species
from sgexp.errors import UserError

POPULATION_VERSION = 1
"""To be raised with every change of code or tables that changes a crystal, its labels or its family: library,
substitution, population, or what is read from CIF files. Patterns made from crystals of another version are made again.
"""

ENERGIES = 10
"""Samples that SMC-19 holds of one material (beam energies)."""

TESTABLE = 6
"""Materials that let a group be tested in every way: families of 3, 2 and 1, say. The tail gets as many if it can."""

ROOM = 8
"""The families of a group are on average at most this many times as large as all, while other groups have room."""


def smc19_counts() -> NDArray[np.float64]:
    """Return materials per group in SMC-19 (train, dev and test together), indexed by group number: length 231."""
    counts = np.zeros(231)
    text = files("sgexp.crystallography.tables").joinpath("smc19_class_counts.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        counts[int(row["space_group"])] = sum(int(row[part]) for part in ("train", "dev", "test")) / ENERGIES
    return counts


def apportion(
    total: int, shape: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return whole numbers that sum to ``total``, proportional to ``shape`` but within ``low`` and ``high``.

    The factor of proportionality is found by bisection, remainders go to the largest fractions. ``total`` must lie
    between the sums of ``low`` and ``high``.
    """
    below, above = 0.0, 1.0
    while np.clip(above * shape, low, high).sum() < min(total, np.where(shape > 0, high, low).sum()):
        above *= 2.0
    for _ in range(100):
        middle = (below + above) / 2.0
        below, above = (middle, above) if np.clip(middle * shape, low, high).sum() < total else (below, middle)
    exact = np.clip(above * shape, low, high)
    counts = np.floor(exact).astype(np.int64)
    while (missing := total - int(counts.sum())) != 0:
        room = counts < high if missing > 0 else counts > low
        rank = np.where(room, exact - counts, -np.inf if missing > 0 else np.inf)
        chosen = np.argsort(-rank if missing > 0 else rank, kind="stable")[: min(abs(missing), int(room.sum()))]
        counts[chosen] += int(np.sign(missing))
    return counts


class _Family:
    """The members of one structure family in one group: the library's first, then children of each in turn."""

    def __init__(self, members: Sequence[Crystal], seed: int, jitter: float) -> None:
        self.crystals = 0
        self.exhausted = False
        self._candidates = self._stream(members, seed, jitter)

    @staticmethod
    def _stream(members: Sequence[Crystal], seed: int, jitter: float) -> Iterator[Crystal]:
        yield from members
        streams = [children(member, seed, jitter) for member in members]
        while streams:
            for stream in list(streams):
                child = next(stream, None)
                if child is None:
                    streams.remove(stream)
                else:
                    yield child

    def grow(self, materials: Materials) -> bool:
        """Add one more material that is no copy; return whether there was one."""
        for candidate in self._candidates:
            if materials.add(candidate):
                self.crystals += 1
                return True
        self.exhausted = True
        return False


class _Group:
    """The families of one group and how many materials each is to have."""

    def __init__(self, number: int, members: Sequence[Crystal], seed: int, jitter: float) -> None:
        by_family: dict[str, list[Crystal]] = defaultdict(list)
        for crystal in members:
            by_family[crystal.family].append(crystal)
        names = sorted(by_family)
        # Simple structure types have the most members, in nature too: ranks are drawn with weights 1 / atoms.
        atoms = [min(len(crystal) for crystal in by_family[name]) for name in names]
        scores = np.random.default_rng([seed, number]).gumbel(size=len(names)) - np.log(atoms)
        self.families = [_Family(by_family[names[i]], seed, jitter) for i in np.argsort(-scores, kind="stable")]
        self.reach = sum(possible_materials(crystal) for crystal in members)

    def grow(self, target: int, materials: Materials) -> None:
        """Grow families until the group has ``target`` materials or none can grow; the first families are largest."""
        # Two materials a family on average where there are families enough, shared out as 1/rank above one each.
        used = min(len(self.families), max(1, math.ceil(target / 2)))
        while self.size < target:
            able = [f for f in self.families[:used] if not f.exhausted]
            if not able and used == len(self.families):
                return
            if not able:
                used += 1
                continue
            needs = [family.crystals * r if family.crystals else -1 for r, family in enumerate(able, start=1)]
            able[needs.index(min(needs))].grow(materials)

    @property
    def size(self) -> int:
        """Materials so far."""
        return sum(family.crystals for family in self.families)

    @property
    def exhausted(self) -> bool:
        """Whether no family can grow any more."""
        return all(family.exhausted for family in self.families)


def possible_materials(crystal: Crystal) -> int:
    """Return an upper bound of the materials that a crystal can give: itself and its substituted children."""
    return math.prod(len(replacements(z)) for z in species(crystal))


def _kept_groups(n_materials: int, counts: NDArray[np.float64], library: Mapping[int, Sequence[Crystal]]) -> list[int]:
    """Return the groups of the population: all, or of a small one the commonest, with ``TESTABLE`` materials each."""
    numbers = sorted(library)
    if n_materials >= len(numbers):
        return numbers
    common = sorted(numbers, key=lambda number: (-counts[number], number))
    return sorted(common[: max(1, n_materials // TESTABLE)])


class Population:
    """Materials that grow in number and are never taken away, so that a small population is part of a larger one.

    Parameters
    ----------
    smallest
        Size of the first population: it decides which groups occur (all from about 230 on, the commonest below that).
    seed
        Decides which families and children are taken; the same seed gives the same crystals.
    counts
        (231,) the wanted shape, indexed by group number; SMC-19's when left out.
    library
        Edition of the built-in crystals.
    jitter
        Rms displacement, angstrom, of the free parameters and the cell of substituted children (see ``jitter``).
    """

    def __init__(
        self,
        smallest: int,
        seed: int,
        counts: NDArray[np.float64] | None = None,
        library: int = EDITION,
        jitter: float = 0.0,
    ) -> None:
        shape = smc19_counts() if counts is None else np.asarray(counts, dtype=np.float64)
        members: dict[int, list[Crystal]] = defaultdict(list)
        for crystal in load_library(edition=library):
            members[crystal.space_group].append(crystal)
        numbers = _kept_groups(smallest, shape, members)
        self._groups = [_Group(number, members[number], seed, jitter) for number in numbers]
        self._share = np.maximum(shape[numbers], shape[numbers].max() * 1e-6)
        self._materials = Materials()

    @property
    def crystals(self) -> list[Crystal]:
        """The materials in the order in which they came."""
        return self._materials.crystals

    def grow(self, n_materials: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Add materials until there are ``n_materials``; ``progress`` is called with (made, wanted)."""
        groups = self._groups
        reach = np.array([group.size if group.exhausted else group.reach for group in groups])
        if reach.sum() < n_materials:
            raise UserError(
                f"{n_materials} materials were asked for, but the built-in crystals and their substituted children "
                f"are {reach.sum()} at most: ask for fewer."
            )
        floor = np.minimum(reach, np.clip(n_materials // len(groups) // 2, 1, TESTABLE))
        floor = np.maximum(floor, [group.size for group in groups])
        room = math.ceil(ROOM * n_materials / sum(len(group.families) for group in groups))
        while len(self.crystals) < n_materials:
            families = np.array([len(group.families) for group in groups])
            high = np.maximum(floor, np.minimum(reach, room * families))
            room *= 2
            if high.sum() < n_materials and room < n_materials:
                continue
            targets = apportion(min(n_materials, int(high.sum())), self._share, floor, high)
            for group, target in zip(groups, targets, strict=True):
                group.grow(int(target), self._materials)
                if progress is not None:
                    progress(len(self.crystals), n_materials)
            # What a group could not reach is now known, and shared out among the others in the next round.
            reach = np.array([g.size if g.exhausted else r for g, r in zip(groups, reach, strict=True)])
            floor = np.array([group.size for group in groups])
            if reach.sum() < n_materials:
                raise UserError(
                    f"{n_materials} materials were asked for, but the built-in crystals and their substituted children "
                    f"give only {reach.sum()} without copies: ask for fewer."
                )


def make_population(
    n_materials: int,
    seed: int,
    counts: NDArray[np.float64] | None = None,
    progress: Callable[[int, int], None] | None = None,
    library: int = EDITION,
    jitter: float = 0.0,
) -> list[Crystal]:
    """Return ``n_materials`` crystals, none a copy of another, in an order shuffled by ``seed``.

    Parameters
    ----------
    n_materials
        From about 230 every group occurs; below that only the commonest do, with about six materials each. The library
        and its substituted children reach some tens of thousands.
    seed
        Decides which families and children are taken; the same seed gives the same crystals.
    counts
        (231,) the wanted shape, indexed by group number; SMC-19's when left out. Groups get at least up to six
        materials (fewer in a population under 2,900), and groups of few families are kept back by ``ROOM``: so
        the shape is flatter than the one given.
    progress
        Called with (materials made, materials wanted).
    library
        Edition of the built-in crystals.
    jitter
        Rms displacement, angstrom, of the free parameters and the cell of substituted children (see ``jitter``).
    """
    if n_materials < 1:
        raise UserError(f"A population of {n_materials} materials was asked for: ask for one or more.")
    population = Population(n_materials, seed, counts, library, jitter)
    population.grow(n_materials, progress)
    made = population.crystals
    return [made[i] for i in np.random.default_rng([seed, 0]).permutation(len(made))]
