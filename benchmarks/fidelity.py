"""How true the fast engine (simulation/engine=tilt) is: against converged multislice, on crystals of all seven systems.

Each crystal's first zone of the protocol at 100 kV, 0.16 A a pixel, slices of at most 1 A, in two comparisons: atoms at
rest, with many probes spread over the middle of the box; and thermal motion, a mean over frozen configurations with
other probes for each. For both: R1 = sum |a - b| / sum |b| without the direct disk and below 1.5 1/A (every disk but
the direct one), and R1 of the log-coded image. How far the judge can be trusted is told beside it: "judge" is half the
R1 between the two halves of its probes or configurations. Correlation is shown because others show it; it is no gate.
"dose" is R1 of the log code after Poisson counts, 10^7 electrons in the beam: ours against the judge's, and beside it
("noise") the judge's against another draw of its own. Contrast, at rest and with the same probes, is the fast engine's
R1 over multislice's, only where multislice shows 0.03 or more: "hand", between a non-centrosymmetric crystal and its
inverse (the hands of an enantiomorph, the ends of a polar axis), and "super", between a crystal and the same with its
atoms moved by up to some 0.8 A to where a supergroup has them.
Ratio: processor time of the thermal mean over the fast engine's.

    python benchmarks/fidelity.py [--each 5] [--configurations 16] [--probes 16] [--box 48]
    python benchmarks/fidelity.py --quick    # two crystals, too small a box and too few probes to judge by
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import spglib
import torch
from common import Table, machine, r1

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.crystallography.library import load_library
from sgexp.errors import DataError
from sgexp.simulation import protocol
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.tilt import Tilt

KEV, SAMPLING, Q_MAX, SPREAD = 100.0, 0.16, 1.5, 12.0
DOSE = 1e7  # electrons
SHOWN = 0.03  # R1 of multislice from which a contrast is judged
EDGE = 40.0  # angstrom: an aperture twice as soft as the protocol's, whose probes end within the box


class Judge:
    """Multislice with many probes on one zone."""

    def __init__(self, crystal: Crystal, config: SimulationConfig, zone: protocol.Zone | None = None) -> None:
        self.config, self.zone = config, zone or protocol.zones(crystal, config)[0]
        self.slab = protocol.cut_slab(crystal, self.zone, config)

    def pattern(self, probes: int, rms: float, seed: int) -> np.ndarray:
        """Return the mean over ``probes`` at random places, for atoms displaced by ``rms`` Å."""
        rng = np.random.default_rng(seed)
        places = self.config.box / 2 + rng.uniform(-SPREAD / 2, SPREAD / 2, size=(probes, 2))
        beam = Illumination(KEV, self.zone.semi_angle, self.config.aperture_edge, places)
        slab = protocol.displaced(self.slab, rms, rng)
        return Multislice().pattern(slab, beam, (self.config.grid, self.config.grid))


class Measures:
    """R1, R1 of the log code and correlation, where the direct disk is not."""

    def __init__(self, config: SimulationConfig, semi_angle: float) -> None:
        steps = (np.arange(config.grid) - config.grid // 2) / config.box
        q = np.hypot(steps[:, None], steps[None])
        self.inside = q < Q_MAX
        self.scattered = self.inside & (q > semi_angle / wavelength(KEV) + 3.0 / EDGE)

    def r1(self, ours: np.ndarray, reference: np.ndarray) -> float:
        """Compare what is outside the direct disk."""
        return r1(ours[self.scattered], reference[self.scattered])

    def log_r1(self, ours: np.ndarray, reference: np.ndarray) -> float:
        """Compare what a network sees."""
        return r1(log_coded(ours[self.inside]), log_coded(reference[self.inside]))

    def dose_r1(self, ours: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
        """Compare the log code of counts, and tell how far two draws of the reference are apart."""
        rng = np.random.default_rng(0)
        drawn = [rng.poisson(DOSE * np.maximum(one, 0.0)) / DOSE for one in (ours, reference, reference)]
        return self.log_r1(drawn[0], drawn[1]), self.log_r1(drawn[2], drawn[1])

    def correlation(self, ours: np.ndarray, reference: np.ndarray) -> float:
        """Return Pearson's, outside the direct disk."""
        return float(np.corrcoef(ours[self.scattered], reference[self.scattered])[0, 1])


def log_coded(intensity: np.ndarray) -> np.ndarray:
    """Code as STEMDL does: clip(10 (max(-17, ln I) + 17), 0, 255)."""
    return np.clip(10.0 * (np.maximum(-17.0, np.log(np.maximum(intensity, 1e-30))) + 17.0), 0.0, 255.0)


def gate(box: float, thickness: float) -> SimulationConfig:
    """Return the setting in which engines are judged, in a box and for a slab of these angstroms."""
    pixels = 2 * round(box / SAMPLING / 2)
    return SimulationConfig(
        grid=pixels,
        box=box,
        pixels=pixels,
        thickness=thickness,
        max_slice=1.0,
        energies_kev=[KEV],
        aperture_edge=EDGE,
    )


def chosen(each: int, config: SimulationConfig) -> list[tuple[str, Crystal]]:
    """Return ``each`` crystals of every system, small and of different groups: the first of the library."""
    found: dict[str, list[Crystal]] = {}
    for crystal in load_library(copies=False, edition=1):  # those that docs/simulation.md lists
        group = crystal.space_group
        system = SPACE_GROUPS[group - 1].crystal_system
        others = found.setdefault(system, [])
        groups = {other.space_group for other in others}
        if len(others) < each and (group not in groups or group <= 2) and len(crystal) <= 40 and crystal.abc.max() < 15:
            try:
                protocol.zones(crystal, config)
            except DataError:  # too few reflections: the protocol has no zones for it
                continue
            others.append(crystal)
    # System by system in turns, so that a run that is cut short has seen all of them.
    return [(system, found[system][turn]) for turn in range(each) for system in found if turn < len(found[system])]


def main() -> None:
    """Compare and print a row for each crystal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="crystals of each of the seven systems")
    parser.add_argument("--configurations", type=int, default=16, help="frozen configurations, two probes each")
    parser.add_argument("--probes", type=int, default=16, help="probes with atoms at rest")
    parser.add_argument("--box", type=float, default=48.0, help="side of the judge's box, A")
    parser.add_argument("--thickness", type=float, default=100.0, help="of the slab, A")
    parser.add_argument("--quick", action="store_true", help="two crystals, few probes, a small box")
    asked = parser.parse_args()
    if asked.quick:
        asked.each, asked.configurations, asked.probes, asked.box, asked.thickness = 1, 2, 2, 24.0, 20.0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    moving = gate(asked.box, asked.thickness)
    still = replace(moving, displacement=0.0)
    pairs: list[tuple[str, int] | str] = [("R1", 6), ("judge", 6), ("log R1", 6), ("corr.", 7)]
    table = Table(
        *(("crystal", 34), ("system", 12), ("group", 5), ("cell", 8), "|", *pairs, "|", *pairs, "|"),
        *(("dose", 6), ("noise", 6), "|", ("hand", 6), ("super", 6), ("ratio", 7)),
    )
    some = chosen(asked.each, moving)[: 2 if asked.quick else None]
    rows = [compare(system, crystal, (moving, still), asked, table) for system, crystal in some]
    summary(np.array(rows))


def compare(
    system: str,
    crystal: Crystal,
    configs: tuple[SimulationConfig, SimulationConfig],
    asked: argparse.Namespace,
    table: Table,
) -> list[float]:
    """Print one crystal's row and return its numbers."""
    moving, still = configs
    engine, judge = Tilt(sampling=SAMPLING, max_points=10**6), Judge(crystal, moving)
    measures = Measures(moving, judge.zone.semi_angle)
    numbers: list[float] = []
    half = asked.probes // 2
    parts = [judge.pattern(half, 0.0, seed) for seed in (1, 2)]
    rest = np.mean(parts, axis=0)
    at_rest = engine.zone_pattern(crystal, judge.zone, still, KEV, None).pattern
    numbers += row_of(measures, at_rest, rest, parts)
    begin = time.process_time()
    configurations = [judge.pattern(2, moving.displacement, seed) for seed in range(asked.configurations)]
    slow = time.process_time() - begin
    begin = time.process_time()
    fast = Tilt(sampling=SAMPLING, max_points=10**6).zone_pattern(crystal, judge.zone, moving, KEV, None).pattern
    ratio = slow / (time.process_time() - begin)
    halves = [np.mean(configurations[start::2], axis=0) for start in (0, 1)]
    numbers += row_of(measures, fast, np.mean(configurations, axis=0), halves)
    numbers += measures.dose_r1(fast, np.mean(configurations, axis=0))
    contrasts = []
    for other in (inverse(crystal), symmetrised(crystal)):
        contrasts.append(np.nan)
        if other is None:
            continue
        changed = Judge(other, moving, judge.zone)
        expected = measures.r1(np.mean([changed.pattern(half, 0.0, seed) for seed in (1, 2)], axis=0), rest)
        if expected > SHOWN:
            ours = engine.zone_pattern(other, judge.zone, still, KEV, None).pattern
            contrasts[-1] = measures.r1(ours, at_rest) / expected
    cell, _ = engine.plane_waves(crystal, judge.zone, moving)
    cells = f"{cell.index}" if cell.periodic else "none"
    shown = [f"{value:.4f}" if index % 4 == 3 else f"{value:.3f}" for index, value in enumerate(numbers)]  # 3: corr.
    said = ["" if np.isnan(contrast) else f"{contrast:.2f}" for contrast in contrasts]
    table.row(crystal.name[:34], system, crystal.space_group, cells, *shown, *said, f"{ratio:.0f}x")
    return [*numbers, *contrasts, ratio]


def inverse(crystal: Crystal) -> Crystal | None:
    """Return the crystal turned inside out, or None where it has a centre of inversion."""
    group = SPACE_GROUPS[crystal.space_group - 1]
    return None if group.point_group == group.laue_class else moved(crystal, -crystal.positions)


def symmetrised(crystal: Crystal) -> Crystal | None:
    """Return the crystal with its atoms where a supergroup has them, in the same cell; None where none is near."""
    cell = (crystal.cell, crystal.positions, crystal.numbers)
    own = spglib.get_symmetry(cell, symprec=0.01)
    for tolerance in (0.1, 0.2, 0.3, 0.5, 0.8):
        found = spglib.get_symmetry(cell, symprec=tolerance)
        if found is not None and own is not None and len(found["rotations"]) > len(own["rotations"]):
            return moved(crystal, averaged(crystal, found["rotations"], found["translations"]))
    return None


def averaged(crystal: Crystal, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return every atom's mean over the places that operations send like atoms to, the nearest for each."""
    steps = np.zeros_like(crystal.positions)
    like = crystal.numbers[:, None] == crystal.numbers[None]
    for rotation, translation in zip(rotations, translations, strict=True):
        apart = (crystal.positions @ rotation.T + translation)[None] - crystal.positions[:, None]
        apart -= np.round(apart)
        far = np.where(like, np.linalg.norm(apart @ crystal.cell, axis=2), np.inf)
        steps += np.take_along_axis(apart, far.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    return crystal.positions + steps / len(rotations)


def moved(crystal: Crystal, positions: np.ndarray) -> Crystal:
    """Return the crystal with its atoms elsewhere."""
    return Crystal.from_arrays(
        crystal.cell, crystal.numbers, positions, name="moved", space_groups=crystal.space_groups
    )


def row_of(measures: Measures, ours: np.ndarray, judge: np.ndarray, halves: list[np.ndarray]) -> list[float]:
    """Return R1, the judge's own uncertainty, R1 of the log code, and the correlation."""
    own = measures.r1(halves[0], halves[1]) / 2.0
    return [measures.r1(ours, judge), own, measures.log_r1(ours, judge), measures.correlation(ours, judge)]


def summary(rows: np.ndarray) -> None:
    """Print medians and worst values."""
    names = ["R1 at rest", "judge", "log R1", "corr.", "R1 thermal", "judge", "log R1", "corr."]
    names += ["dose", "noise", "hand", "super", "ratio"]
    for name, column in zip(names, rows.T, strict=True):
        values = column[~np.isnan(column)]
        if not len(values):
            continue
        print(f"{name}: median {np.median(values):.3f}, from {values.min():.3f} to {values.max():.3f} ({len(values)})")


if __name__ == "__main__":
    main()
