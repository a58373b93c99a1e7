"""New crystals of a class from known ones: what is changed, written down so that the very same can be made again.

A recipe is drawn from its own random numbers; what it makes follows from it and the parent alone. Before it is
simulated the new crystal is labelled by spglib, and one whose label is not the one wanted is not made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.elements import ATOMIC_NUMBERS, ELEMENTS
from sgexp.crystallography.groups import enantiomorph_of
from sgexp.crystallography.jitter import jittered
from sgexp.crystallography.margin import symmetry_margin
from sgexp.crystallography.mirror import mirrored
from sgexp.crystallography.substitution import apply_mapping, children, species
from sgexp.errors import DataError
from sgexp.simulation.protocol import powder_pattern
from sgexp.simulation.schema import ProtocolConfig, SimulationConfig
from sgexp.simulation.stack import CBEDStack, Engine, simulate
from sgexp.simulation.variants import kind, one_thread

_OF_THE_RECIPES = 0x7068_7973  # keeps these random numbers apart from all others of a seed
_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Recipe:
    """How a new sample is made from its parent: in the order of the fields.

    ``elements``: the symbols that stand for the parent's, in the order of its atomic numbers; none: its own.
    ``jitter``: rms displacement in Å, with its seed; 0: none. ``mirrored``: whether the result is inverted. Then it is
    simulated along ``uvw`` (three directions; none: the protocol's), ``thickness`` in Å (None: the protocol's), turned
    by ``rotation`` rad about the beam, at ``energy_kev``, with ``seed``.
    """

    parent: str
    elements: tuple[str, ...] = ()
    jitter: float = 0.0
    jitter_seed: int = 0
    mirrored: bool = False
    uvw: tuple[tuple[int, int, int], ...] = ()
    thickness: float | None = None
    rotation: float = 0.0
    energy_kev: float = 100.0
    seed: int = 0

    def crystal(self, parent: Crystal) -> Crystal:
        """Return the new crystal, labelled by spglib; ``DataError`` where the parent's group cannot be kept."""
        made = parent
        if self.elements:
            made = apply_mapping(parent, tuple(ATOMIC_NUMBERS[symbol] for symbol in self.elements))
        if self.jitter:
            margin = _margin(parent) * float(np.linalg.norm(made.cell[0]) / np.linalg.norm(parent.cell[0]))
            moved = jittered(made, self.jitter, np.random.default_rng(self.jitter_seed), margin)
            if moved is None:
                raise DataError(f"{made.name}: no move of {self.jitter:g} Å keeps its space group")
            made = moved
        return mirrored(made) if self.mirrored else made.relabelled()

    def stack(self, crystal: Crystal, config: ProtocolConfig, engine: Engine) -> CBEDStack:
        """Return the patterns of what ``crystal`` gave, to the bit the same on one kind of machine."""
        changed: dict[str, Any] = {"uvw": [list(row) for row in self.uvw]} if self.uvw else {}
        changed |= {} if self.thickness is None else {"thickness": self.thickness}
        with one_thread():
            asked = replace(config, **changed)
            return simulate(crystal, asked, engine, self.energy_kev, self.seed, turn=self.rotation)


@lru_cache(maxsize=4096)
def _margin(crystal: Crystal) -> float:
    """Return the crystal's symmetry margin, which grows with the cell where other elements take its places."""
    return symmetry_margin(crystal)


@dataclass(frozen=True)
class Changes:
    """What may be changed: fields of ``sampler=physical`` (``conf/sampler/physical.yaml`` explains them)."""

    substitute: float
    jitter: float
    energy: str
    zones: int
    thickness: tuple[float, float]
    rotate: bool
    enantiomorph: bool


class Recipes:
    """Draws recipes of new samples of a class.

    Parameters
    ----------
    crystals : (crystal, label, energies in keV that it has) of every training material. Nothing else is a parent.
    label_of_group : space-group number -> label, (231,): itself, or with mirror images as one.
    held_out : crystals that must not be made, nor a mirror image of them: all others of the data set.
    changes, config, seed : what may be changed, the settings of the simulation, and the seed of it all.
    """

    def __init__(
        self,
        crystals: Sequence[tuple[Crystal, int, Sequence[float]]],
        label_of_group: np.ndarray,
        held_out: Iterable[Crystal],
        changes: Changes,
        config: ProtocolConfig,
        seed: int,
    ) -> None:
        self.label_of_group, self.changes, self.config, self.seed = label_of_group, changes, config, seed
        held_out = list(held_out)
        self.held_out, self.held_names = frozenset(map(kind, held_out)), frozenset(one.name for one in held_out)
        self.parents = {crystal.name: crystal for crystal, _, _ in crystals}
        self.energies = {crystal.name: tuple(energies) for crystal, _, energies in crystals}
        self.families: dict[int, dict[str, list[tuple[str, bool]]]] = {}
        for crystal, label, _ in crystals:
            self._add(label, crystal, False)
            if changes.enantiomorph and (other := _other_hand(crystal, label_of_group)) is not None:
                self._add(other, crystal, True)

    def _add(self, label: int, crystal: Crystal, mirror: bool) -> None:
        self.families.setdefault(label, {}).setdefault(crystal.family, []).append((crystal.name, mirror))

    def draw(self, label: int, number: int) -> tuple[Recipe, Crystal] | None:
        """Return the ``number``-th recipe of a class and its crystal, or None where that one cannot be.

        Families take turns, in an order of the seed; within a family a parent is drawn.
        """
        families = self.families[label]
        order = np.random.default_rng([self.seed, _OF_THE_RECIPES, label]).permutation(len(families))
        members = families[sorted(families)[order[number % len(order)]]]
        rng = np.random.default_rng([self.seed, _OF_THE_RECIPES, label, number + 1])
        name, mirror = members[int(rng.integers(len(members)))]
        try:
            recipe = self._recipe(self.parents[name], mirror, rng)
            made = recipe.crystal(self.parents[name])
            recipe = self._along_zones(recipe, made, rng)
        except DataError:
            return None
        return (recipe, made) if self.may_be(made, label, self.parents[name]) else None

    def _recipe(self, parent: Crystal, mirror: bool, rng: np.random.Generator) -> Recipe:
        changes, config = self.changes, self.config
        as_child, which, jitter_seed, seed = rng.random(), *(int(value) for value in rng.integers(_SEEDS, size=3))
        energies = self.energies[parent.name] if changes.energy == "same" else config.energies_kev
        energy = float(energies[int(rng.integers(len(energies)))])
        thin, thick = changes.thickness
        factor, turn = rng.uniform(thin, thick), rng.uniform(0.0, 2.0 * math.pi)
        recipe = Recipe(
            parent.name,
            elements=self._elements(parent, which) if as_child < changes.substitute else (),
            jitter=changes.jitter,
            jitter_seed=jitter_seed,
            mirrored=mirror,
            rotation=turn if changes.rotate else 0.0,
            energy_kev=energy,
            seed=seed,
        )
        if isinstance(config, SimulationConfig) and (thin, thick) != (1.0, 1.0):
            recipe = replace(recipe, thickness=config.thickness * factor)
        return recipe

    def _along_zones(self, recipe: Recipe, made: Crystal, rng: np.random.Generator) -> Recipe:
        """Return the recipe with three zones of the strongest reflections, where other than the protocol's may be."""
        if self.changes.zones == 3:
            return recipe
        hkl = powder_pattern(made).hkl[: self.changes.zones]
        if len(hkl) < 3:
            raise DataError(f"{made.name}: fewer than three reflections")
        chosen = hkl[np.sort(rng.permutation(len(hkl))[:3])]
        return replace(recipe, uvw=tuple((int(h), int(k), int(m)) for h, k, m in chosen))

    def _elements(self, parent: Crystal, seed: int) -> tuple[str, ...]:
        """Return the elements of the first child, in the order of ``seed``, that is not held out; none: its own."""
        for child in children(parent, seed):
            if kind(child) not in self.held_out:
                of_place = dict(zip(parent.numbers.tolist(), child.numbers.tolist(), strict=True))
                return tuple(ELEMENTS[of_place[z]].symbol for z in species(parent))
        return ()

    def may_be(self, made: Crystal, label: int, parent: Crystal) -> bool:
        """Say whether a crystal has the label by spglib, at 0.001 and 0.01 Å, and is none that is held out."""
        right = all(group and self.label_of_group[group] == label for group in made.space_groups[:2])
        itself = made.name == parent.name  # moved at the most: as much the training crystal as its parent
        return right and made.name not in self.held_names and (itself or kind(made) not in self.held_out)


def _other_hand(crystal: Crystal, label_of_group: np.ndarray) -> int | None:
    """Return the label of the mirror image where its group is another one of the 22; None where it is not."""
    other = int(enantiomorph_of[crystal.space_group])
    return None if other == crystal.space_group else int(label_of_group[other])
