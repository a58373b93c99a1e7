"""Before a simulation: how long it will take with the chosen engine, from a few samples of the crystals themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sgexp.crystallography.crystal import Crystal
from sgexp.errors import DataError
from sgexp.simulation.schema import ProtocolConfig

if TYPE_CHECKING:
    from sgexp.simulation.stack import CBEDStack, Engine

_SECONDS, _MOST = 2.0, 12


@dataclass(frozen=True)
class Forecast:
    """Seconds of one process for a sample, and the share of zones left to multislice, over ``measured`` samples."""

    seconds: float
    fallback: float
    measured: int

    @property
    def aside(self) -> str:
        """Words on the zones left to multislice, to end a sentence with; empty where there are none."""
        return f", {self.fallback:.0%} of the zones left to multislice" if self.fallback else ""


def forecast(crystals: Sequence[Crystal], config: ProtocolConfig, engine: Engine) -> Forecast | None:
    """Simulate a few crystals, spread over all of them, for some two seconds; None where none of them can be."""
    import torch

    from sgexp.simulation.stack import simulate

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the simulating processes do
    torch.set_flush_denormal(True)
    try:
        return _measured(crystals, config, engine, simulate)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def _measured(
    crystals: Sequence[Crystal], config: ProtocolConfig, engine: Engine, simulate: Callable[..., CBEDStack]
) -> Forecast | None:
    places = np.linspace(0, len(crystals) - 1, min(_MOST, len(crystals))).astype(int)
    begin = time.monotonic()
    spent: list[float] = []
    left: list[np.ndarray] = []
    for place in np.random.default_rng(0).permutation(places).tolist():
        start = time.monotonic()
        try:
            stack = simulate(crystals[place], config, engine, config.energies_kev[0])
        except DataError:
            continue
        spent.append(time.monotonic() - start)
        left.append(stack.fallback)
        if time.monotonic() - begin > _SECONDS:
            break
    return Forecast(float(np.mean(spent)), float(np.mean(left)), len(spent)) if spent else None
