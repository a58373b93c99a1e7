"""What the fast engine would save by computing symmetry-equivalent tilts once: docs/simulation.md quotes it.

A rotation or mirror of the crystal that keeps the beam's direction takes the beam G at the incident tilt k to R G at
R k, so that on rings of tilts with that symmetry one tilt of each orbit is enough. Of each zone of the default
population this prints the order of its group of such operations, and the processor time of the engine, of its waves
(the only part that grows with the tilts), and the ratio to the engine's of what symmetry could save at best: finding
the operations and copying the amplitudes cost nothing here, and tilts are placed where the fewest are needed. Screw
axes and glides along the beam count where the slab has no period (a mean over terminations is computed there), else
they do not.

    python benchmarks/tilt_symmetry.py [--crystals 150]
    python benchmarks/tilt_symmetry.py --quick    # four crystals
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from common import Table, machine

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import make_population
from sgexp.crystallography.symmetry import dataset
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import protocol, tilt
from sgexp.simulation.cells import ZoneCell
from sgexp.simulation.schema import ProtocolConfig

KEV, SYMPREC = 150.0, 1e-3
SETTINGS = {
    "quick (6 tilts)": (["simulation=quick"], 1),
    "full quality": (["simulation=smc19", "simulation/engine=tilt", "size=smc19"], 8),  # every 8th crystal
}


def operations(crystal: Crystal, zone: protocol.Zone, cell: ZoneCell) -> tuple[int, bool]:
    """Return the order of the rotations that keep zone and slab, and whether mirrors do too."""
    found = dataset(crystal.cell, crystal.positions, crystal.numbers, SYMPREC)
    if found is None:
        return 1, False
    kept = (found.rotations @ np.array(zone.uvw) == zone.uvw).all(axis=1)
    if cell.periodic:  # one termination: an operation may not move the crystal along the beam
        heights = found.translations @ crystal.cell @ zone.axes[2] / (cell.repeat / cell.index)
        kept &= np.abs(heights - np.round(heights)) * cell.repeat / cell.index < SYMPREC
    different = np.unique(found.rotations[kept], axis=0)
    proper = int((np.linalg.det(different) > 0).sum())
    return proper, proper < len(different)


def fewest(degree: int, rotations: int, mirrors: bool) -> tuple[int, int]:
    """Return how many tilts are computed with the symmetry and without, for polynomials of ``degree``.

    Each ring has at least as many tilts as ``disks.tilts`` puts there, a multiple of the order, none on a mirror.
    """
    rings = [2 * degree + 5 - 4 * ring for ring in range(1, degree // 2 + 2)]
    order = rotations * (2 if mirrors else 1)
    return sum(math.ceil(count / order) for count in rings), sum(rings)


@contextmanager
def watched() -> Iterator[list[float]]:
    """Put the processor seconds of every call of ``tilt.amplitudes`` into the list."""
    seconds: list[float] = []
    plain = tilt.amplitudes

    def timed(*given: object) -> object:
        began = time.process_time()
        result = plain(*given)  # type: ignore[arg-type]
        seconds.append(time.process_time() - began)
        return result

    tilt.amplitudes = timed  # type: ignore[assignment]
    try:
        yield seconds
    finally:
        tilt.amplitudes = plain


def measure(crystals: list[Crystal], config: ProtocolConfig, table: Table, name: str) -> None:
    """Print a row for each order of the group, and one for all zones."""
    engine: tilt.Tilt = build(config.engine)
    rows: dict[int, list[tuple[float, float, float]]] = {}
    for crystal in crystals:
        try:
            zones = protocol.zones(crystal, config)  # type: ignore[arg-type]
        except DataError:  # too few reflections
            continue
        for zone in zones:
            if engine.leaves(crystal, zone, config, KEV):
                continue
            cell, _ = engine._cell(crystal, zone, config)
            rotations, mirrors = operations(crystal, zone, cell)
            some, all_of_them = fewest(engine._degree(zone, config, KEV), rotations, mirrors)
            with watched() as waves:
                began = time.process_time()
                engine.zone_pattern(crystal, zone, config, KEV, np.random.default_rng(1))
                whole = time.process_time() - began
            saved = waves[0] * (1.0 - some / all_of_them)
            rows.setdefault(rotations * (2 if mirrors else 1), []).append((whole, waves[0], saved))
    everything = [row for of_order in rows.values() for row in of_order]
    for order, of_order in [*sorted(rows.items()), (0, everything)]:
        whole, waves_s, saved_s = np.array(of_order).sum(axis=0)
        label = f"order {order}" if order else "all"
        shares = [len(of_order) / len(everything), waves_s / whole, saved_s / whole]
        table.row(name, label, len(of_order), f"{whole:.2f}", *(f"{share:.1%}" for share in shares))


def main() -> None:
    """Measure both settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=150)
    parser.add_argument("--quick", action="store_true", help="four crystals")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    crystals = make_population(2900, 1)[: 4 if asked.quick else asked.crystals]
    columns: list[tuple[str, int] | str] = [
        ("zones", 6),
        ("engine s", 9),
        ("of zones", 9),
        ("waves", 7),
        ("ratio saved", 11),
    ]
    table = Table(("setting", 16), ("group", 8), *columns)
    for name, (words, step) in SETTINGS.items():
        measure(crystals[:: 1 if asked.quick else step], Composer().check(words).simulation, table, name)


if __name__ == "__main__":
    main()
