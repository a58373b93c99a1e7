"""What the default's coarse engine (simulation=quick) loses against the fine one and multislice: docs/simulation.md.

On the zones of crystals of the default data, at the default size: R1 outside the direct disk against the engine at its
finest; how much of the finest one's contrasts is left, between a crystal and its inverse ("hand") and between a crystal
and itself in a supergroup ("super"), where the finest shows 0.03 or more; and processor time, as a ratio to multislice.

    python benchmarks/coarse.py [--crystals 120]
    python benchmarks/coarse.py --quick    # four crystals
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from common import Table, machine, r1
from fidelity import SHOWN, inverse, symmetrised

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import make_population
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import protocol
from sgexp.simulation.physics import wavelength

KEV = 150.0
ENGINES = {"multislice": "simulation=smc19", "coarse": "simulation=quick", "fine": "simulation/engine=tilt"}


class Made:
    """The patterns of one engine, before a detector."""

    def __init__(self, words: str) -> None:
        self.config: Any = Composer().check([words]).simulation
        self.engine = build(self.config.engine)
        self.seconds, self.times = 0.0, 0

    def of(self, crystal: Crystal, zone: protocol.Zone) -> np.ndarray:
        """Return one pattern, and count its time."""
        started = time.process_time()
        found = self.engine.zone_pattern(crystal, zone, self.config, KEV, np.random.default_rng(1))
        self.seconds, self.times = self.seconds + time.process_time() - started, self.times + 1
        return found.pattern

    @property
    def milliseconds(self) -> float:
        """Processor time of a pattern."""
        return 1e3 * self.seconds / max(self.times, 1)


def main() -> None:
    """Compare zone by zone, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=120)
    parser.add_argument("--quick", action="store_true", help="four crystals")
    asked = parser.parse_args()
    count = 4 if asked.quick else asked.crystals
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    engines = {name: Made(words) for name, words in ENGINES.items()}
    found: dict[str, list[float]] = {"R1 coarse": [], "R1 multislice": [], "hand": [], "super": []}
    for crystal in make_population(2900, 1)[:count]:
        try:
            zones = protocol.zones(crystal, engines["coarse"].config)
        except DataError:  # too few reflections
            continue
        for index, zone in enumerate(zones):
            outside = outside_of(zone, engines["fine"].config)
            patterns = {name: engine.of(crystal, zone) for name, engine in engines.items()}
            for name in ("coarse", "multislice"):
                found[f"R1 {name}"].append(r1(patterns[name][outside], patterns["fine"][outside]))
            if index == 0:
                for name, other in (("hand", inverse(crystal)), ("super", symmetrised(crystal))):
                    if other is not None:
                        ours = [
                            r1(engines[e].of(other, zone)[outside], patterns[e][outside]) for e in ("coarse", "fine")
                        ]
                        found[name] += [ours[0] / ours[1]] if ours[1] >= SHOWN else []
    table = Table(("", 16), ("count", 6), ("median", 8), ("10 %", 8), ("90 %", 8))
    for name, values in found.items():
        shown = np.percentile(values, [50, 10, 90]) if values else [np.nan] * 3
        table.row(name, len(values), *(f"{value:.3f}" for value in shown))
    print("left of hand: >= 90 % in", f"{np.mean(np.array(found['hand'] or [np.nan]) >= 0.9):.2f} of the cases")
    for name, engine in engines.items():
        ratio = engines["multislice"].milliseconds / engine.milliseconds
        print(f"{name}: {engine.milliseconds:.1f} ms a pattern; multislice's time over it: ratio {ratio:.2f}")


def outside_of(zone: protocol.Zone, config: Any) -> np.ndarray:
    """Return the frequencies (N, N) that the direct disk does not reach."""
    steps = (np.arange(config.grid) - config.grid // 2) / config.box
    return np.hypot(steps[:, None], steps[None]) > zone.semi_angle / wavelength(KEV) + 3.0 / config.aperture_edge


if __name__ == "__main__":
    main()
