"""Fresh variants of a crystal: another child of its structure, another thermal configuration, energy, foil, camera.

What a variant is follows from its own random numbers alone. Its label is that of its crystal: a child made by
substitution keeps the space group of its parent (spglib says so) and its family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import reduced_counts
from sgexp.crystallography.groups import merged_219
from sgexp.crystallography.substitution import children
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation.schema import ProtocolConfig
from sgexp.simulation.stack import CBEDStack, Engine, simulate

Kind = tuple[int, tuple[tuple[int, int], ...]]
"""Space group with enantiomorphs merged, and the reduced formula."""


def kind(crystal: Crystal) -> Kind:
    """Return what two crystals must share to be one material (or its mirror image)."""
    return int(merged_219[crystal.space_group]), tuple(sorted(reduced_counts(crystal).items()))


class Variants:
    """Makes variants of crystals, none of which is one of the crystals that are held out.

    Parameters
    ----------
    config : the simulation's settings.
    held_out : crystals that must not be made. A child of the same group and formula as one of them is passed over,
        without asking whether the structures match: stricter than what tells materials apart in the data.
    substitute : share of the variants with other elements on the crystal's places; the others keep its own.
    any_energy : each variant has one of the protocol's beam energies; False: the one that is asked for.
    """

    def __init__(
        self, config: ProtocolConfig, held_out: Iterable[Crystal], substitute: float, any_energy: bool
    ) -> None:
        self.config, self.substitute, self.any_energy = config, substitute, any_energy
        self.held_out = frozenset(map(kind, held_out))
        self._engine: Engine | None = None

    def make(self, crystal: Crystal, energy_kev: float, rng: np.random.Generator) -> tuple[Crystal, CBEDStack] | None:
        """Return a variant drawn with ``rng``, and its patterns; None where neither it nor the crystal has any.

        A child that cannot be simulated gives way to the crystal itself.
        """
        as_child, which, energy = (
            rng.random(),
            int(rng.integers(2**31)),
            int(rng.integers(len(self.config.energies_kev))),
        )
        seed = int(rng.integers(2**31))
        if self.any_energy:
            energy_kev = self.config.energies_kev[energy]
        child = self.child(crystal, which) if as_child < self.substitute else None
        for candidate in (child, crystal):
            if candidate is not None:
                try:
                    return candidate, self.stack(candidate, energy_kev, seed)
                except DataError:
                    continue
        return None

    def child(self, crystal: Crystal, seed: int) -> Crystal | None:
        """Return the first child, in the order of ``seed``, that is not held out; None where there is none."""
        return next((child for child in children(crystal, seed) if kind(child) not in self.held_out), None)

    def stack(self, crystal: Crystal, energy_kev: float, seed: int) -> CBEDStack:
        """Return the stack of a crystal, to the bit as ``generation`` makes it for this seed."""
        if self._engine is None:  # each process builds its own
            self._engine = build(self.config.engine)
        with one_thread():
            return simulate(crystal, self.config, self._engine, energy_kev, seed)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_engine": None}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute as the simulating processes do: sums in one order, whatever the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
