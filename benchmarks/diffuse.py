"""How strong the fast engine's diffuse background should be: fitted to averages over frozen phonons.

The crystals and zones of ``fidelity.py``, and its judge on 0.16 A a pixel (16 frozen configurations with two probes
each, 100 kV, 100 A thick, q below 1.5 1/A). "fit" is the factor by which the computed background would have to be
multiplied: what the judge has beyond our elastic pattern over our background, between the disks, where our elastic
pattern is less than a tenth of it ("share": of the pixels outside the direct disk). Beside it the same in rings of q,
and R1 outside the direct disk with the factor 1 and with the best one for this crystal; "judge" is half the R1 between
the judge's two halves.

    python benchmarks/diffuse.py [--each 3]
    python benchmarks/diffuse.py --quick    # two crystals, too small a box and too few probes to judge by
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import torch
from common import Table, machine, r1
from fidelity import KEV, SAMPLING, Judge, Measures, chosen, gate

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation import tilt
from sgexp.simulation.schema import SimulationConfig

RINGS = (0.3, 0.6, 0.9, 1.2, 1.5)  # 1/A
BETWEEN = 0.1  # elastic over diffuse, at most
FACTORS = np.linspace(0.5, 1.5, 101)


def main() -> None:
    """Print a row for each crystal, then medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=3, help="crystals of each of the seven systems")
    parser.add_argument("--configurations", type=int, default=16, help="frozen configurations, two probes each")
    parser.add_argument("--quick", action="store_true", help="two crystals, thin slabs, a small box")
    asked = parser.parse_args()
    box, thickness = 48.0, 100.0
    if asked.quick:
        asked.each, asked.configurations, box, thickness = 1, 2, 24.0, 20.0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    config = gate(box, thickness)
    rings = [f"{low}-{high}" for low, high in pairwise(RINGS)]
    table = Table(
        *(("crystal", 34), ("system", 12), "|", ("fit", 6), ("share", 6), *((ring, 7) for ring in rings), "|"),
        *(("R1", 6), ("best", 6), ("judge", 6), "|", ("ratio", 6)),
    )
    rows = np.array(
        [
            row(system, crystal, config, asked.configurations, table)
            for system, crystal in chosen(asked.each, config)[: 2 if asked.quick else None]
        ]
    )
    fits = rows[:, 0]
    spread = f"{np.nanmin(fits):.2f} to {np.nanmax(fits):.2f} ({np.sum(~np.isnan(fits))})"
    print(f"fit: median {np.nanmedian(fits):.3f}, standard deviation {np.nanstd(fits):.3f}, {spread}")
    print(f"R1: the best factor of each crystal lowers it by {np.max(rows[:, -3] - rows[:, -2]):.4f} at most")


def row(system: str, crystal: Crystal, config: SimulationConfig, configurations: int, table: Table) -> list[float]:
    """Print one crystal's row and return its numbers."""
    judge = Judge(crystal, config)
    measures = Measures(crystal, judge.zone, config)
    elastic, diffuse = parts(crystal, judge, config)
    patterns = [judge.pattern(2, config.displacement, seed) for seed in range(configurations)]
    halves = [np.mean(patterns[start::2], axis=0) for start in (0, 1)]
    mean = np.mean(halves, axis=0)
    steps = (np.arange(config.grid) - config.grid // 2) / config.box
    q = np.hypot(steps[:, None], steps[None])
    between = measures.scattered & (elastic < BETWEEN * diffuse)

    def fit(where: np.ndarray) -> float:
        return float((mean - elastic)[where].sum() / diffuse[where].sum()) if where.sum() > 50 else np.nan

    numbers = [fit(between), float(between.sum() / measures.scattered.sum())]
    numbers += [fit(between & (q >= low) & (q < high)) for low, high in pairwise(RINGS)]
    numbers.append(measures.r1(elastic + diffuse, mean))
    numbers.append(min(measures.r1(elastic + factor * diffuse, mean) for factor in FACTORS))
    numbers.append(r1(halves[0][measures.scattered], halves[1][measures.scattered]) / 2.0)
    shown = ["" if np.isnan(value) else f"{value:.3f}" for value in numbers]
    table.row(crystal.name[:34], system, *shown, f"{numbers[0]:.2f}x")
    return numbers


def parts(crystal: Crystal, judge: Judge, config: SimulationConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the fast engine's elastic pattern and its background, told apart where it adds them."""
    added: list[np.ndarray] = []
    computed = tilt.diffuse_background

    def kept(*arguments: object) -> torch.Tensor:
        background = computed(*arguments)  # type: ignore[arg-type]
        added.append(background.numpy().copy())
        return background

    tilt.diffuse_background = kept  # type: ignore[assignment]
    try:
        engine = tilt.Tilt(sampling=SAMPLING, max_points=10**6)
        whole = engine.zone_pattern(crystal, judge.zone, config, KEV, np.random.default_rng(0)).pattern
    finally:
        tilt.diffuse_background = computed
    return whole - added[0], added[0]


if __name__ == "__main__":
    main()
