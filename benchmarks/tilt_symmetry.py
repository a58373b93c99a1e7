"""What the fast engine saves by computing symmetry-equivalent tilts once: docs/simulation.md quotes it.

Each zone of crystals of the default population is computed at SMC-19's full quality with all tilts and with one tilt of
each orbit, in turn, by an engine that has met neither crystal nor zone, so that finding the operations is part of the
time. Printed for each order of a zone's group and for all zones: processor time of both, the ratio of the first to the
second, tilts computed, and R1 between the two patterns.

    python benchmarks/tilt_symmetry.py [--crystals 40]
    python benchmarks/tilt_symmetry.py --quick    # three crystals
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import numpy as np
import torch
from common import Table, machine, r1

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import make_population
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import orbits, protocol, tilt
from sgexp.simulation.schema import ProtocolConfig

KEV = 150.0
WORDS = ["simulation=smc19", "simulation/engine=tilt", "size=smc19"]


def timed(crystal: Crystal, zone: protocol.Zone, config: ProtocolConfig, all_tilts: bool) -> tuple[float, np.ndarray]:
    """Return the processor seconds of a new engine for one zone, and the pattern."""
    engine: tilt.Tilt = build(config.engine)
    rng = np.random.default_rng(1)
    with mock.patch.object(orbits, "orbits", (lambda kept, degree: None) if all_tilts else orbits.orbits):
        began = time.process_time()
        pattern = engine.zone_pattern(crystal, zone, config, KEV, rng).pattern
        return time.process_time() - began, pattern


def order_of(crystal: Crystal, zone: protocol.Zone, config: ProtocolConfig) -> tuple[int, int, int]:
    """Return the order of a zone's group, and how many tilts are computed with and without it."""
    engine: tilt.Tilt = build(config.engine)
    cell, grid = engine._cell(crystal, zone, config)
    degree = engine._degree(zone, config, KEV)
    kept = orbits.operations(orbits.rotations(crystal), cell, zone.axes, grid.shape)
    found = engine._orbits(crystal, zone, cell, grid, degree)
    every = len(tilt.disks.tilts(degree))
    return len(kept), every if found is None else len(found.nodes), every


def main() -> None:
    """Measure zone by zone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="three crystals")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    config = Composer().check(WORDS).simulation
    count = 3 if asked.quick else asked.crystals
    rows: dict[int, list[tuple[float, ...]]] = {}
    crystals = make_population(230, 1)
    for crystal in [crystals[i] for i in np.linspace(0, len(crystals) - 1, count).astype(int)]:
        try:
            zones = protocol.zones(crystal, config)  # type: ignore[arg-type]
        except DataError:  # too few reflections
            continue
        for zone in zones:
            if build(config.engine).leaves(crystal, zone, config, KEV):
                continue
            order, some, every = order_of(crystal, zone, config)
            timed(crystal, zone, config, all_tilts=True)  # what a process computes once, such as form factors
            plain_s, plain = timed(crystal, zone, config, all_tilts=True)
            once_s, once = timed(crystal, zone, config, all_tilts=False)
            rows.setdefault(order, []).append((plain_s, once_s, every, some, r1(once, plain)))
    columns = [("zones", 6), ("all, s", 8), ("once, s", 8), ("ratio", 6), ("tilts", 12), ("R1 median", 9), ("max", 8)]
    table = Table(("group", 8), *columns)
    for order, zones_of_it in [*sorted(rows.items()), (0, [row for some in rows.values() for row in some])]:
        plain_s, once_s, every, some, _ = np.sum(zones_of_it, axis=0)
        apart = [row[4] for row in zones_of_it]
        tilts = f"{some:.0f} of {every:.0f}"
        label = f"order {order}" if order else "all"
        times = (f"{plain_s:.2f}", f"{once_s:.2f}", f"{plain_s / once_s:.2f}x")
        table.row(label, len(zones_of_it), *times, tilts, f"{np.median(apart):.1e}", f"{max(apart):.1e}")


if __name__ == "__main__":
    main()
