"""How true the fast engine (simulation/engine=tilt) is: against converged multislice, on crystals of all seven systems.

Each crystal's first zone of the protocol at 100 kV, 0.1 A a pixel, slices of at most 1 A, in two comparisons: atoms at
rest, with many probes spread over the middle of the box; and thermal motion, a mean over frozen configurations with
other probes for each. For both, below 1.5 1/A:

- R1 = sum |a - b| / sum |b| over everything but the direct disk, so that strong disks count most;
- disks: the same R1 for each disk by itself, median and 90th percentile over the zone's disks. A disk is what lies
  nearest to its reflection of the zero-order Laue zone (overlaps go to the nearer one) and within the aperture's
  radius of it. The direct disk does not count, nor disks in which the judge has less than 10^-3 of its strongest;
- R1 of the log-coded image. Correlation is shown because others show it; it is no gate.

How far the judge can be trusted is told beside it: "judge" is half the R1 between the two halves of its probes or
configurations, over everything, and for the disks in brackets by the same rule (the median).
"dose" is R1 of the log code after Poisson counts, 10^7 electrons in the beam: ours against the judge's, and beside it
("noise") the judge's against another draw of its own. Contrast is the fast engine's R1 over multislice's, only where
multislice shows 0.03 or more: "hand", between a non-centrosymmetric crystal and its inverse (the hands of an
enantiomorph, the ends of a polar axis), and "super", between a crystal and the same with its atoms moved by up to some
0.8 A to where a supergroup has them. At rest both have the same probes. With thermal motion ("T") the judge's own
difference is made larger by the noise of its two means, so that two numbers are given: the same ratio of R1, and free
of noise sum d D / sum D1 D2: d is our difference, D the judge's, D1 and D2 those of any two configurations. It is left
out where more than half of sum D D is noise, and has its standard error beside it (jackknife over configurations).

Two rows for each crystal: the fast engine at its finest (waves as far as the judge's, any number of points), and as
shipped: conf/simulation/engine/tilt.yaml on a picture of 0.2 A a pixel, which is SMC-19's; zones that it leaves to
multislice say so. Ratio: processor time of the thermal mean over the fast engine's.

The pixel size limits the scattering angle: on pixels of 0.16 A a fifth of the diffuse scattering of heavy atoms, which
goes beyond 3.1 1/A, would be left out of the judge's physics and stay in its Bragg beams. On pixels of 0.1 A it is 2 or
3 % by our form factors, whose fit ends at 4 1/A; by those that fall as q^-2, 10 to 16 %.

    python benchmarks/fidelity.py [--each 5] [--configurations 16] [--probes 16] [--box 48] [--sampling 0.1]
    python benchmarks/fidelity.py --crystals A2B3_hP20_159_bc_2c --box 72 --probes 128    # these alone
    python benchmarks/fidelity.py --quick    # two crystals, too small a box and too few probes to judge by
"""

from __future__ import annotations

import argparse
import difflib
import time
from dataclasses import dataclass, replace

import numpy as np
import spglib
import torch
from common import Table, machine, r1

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.crystallography.library import load_library
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import protocol
from sgexp.simulation.cells import zone_cell
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.protocol import Slab
from sgexp.simulation.schema import SimulationConfig, TiltEngine
from sgexp.simulation.tilt import Tilt

KEV, Q_MAX = 100.0, 1.5
GATE_SAMPLING, SAMPLING = 0.1, 0.16  # A a pixel: of this gate, and of other benchmarks that judge by its parts
SPREAD = 0.25  # of the box, along each side: where probes are
DOSE = 1e7  # electrons
SHOWN = 0.03  # R1 of multislice from which a contrast is judged
FREE = 0.5  # of the squared thermal contrast that may be noise
FAINT = 1e-3  # disks with less than this of the strongest one's intensity are not judged one by one
SHIPPED = 0.2  # A a pixel of the picture for the engine as shipped: SMC-19's
EDGE = 40.0  # angstrom: an aperture twice as soft as the protocol's, whose probes end within the box


class Judge:
    """Multislice with many probes on one zone."""

    def __init__(self, crystal: Crystal, config: SimulationConfig, zone: protocol.Zone | None = None) -> None:
        self.config, self.zone = config, zone or protocol.zones(crystal, config)[0]
        self.slab = protocol.cut_slab(crystal, self.zone, config)

    def pattern(self, probes: int, rms: float, seed: int) -> np.ndarray:
        """Return the mean over ``probes`` at random places, for atoms displaced by ``rms`` Å."""
        slab, beam = self.configuration(probes, rms, seed)
        return Multislice().pattern(slab, beam, (self.config.grid, self.config.grid))

    def configuration(self, probes: int, rms: float, seed: int) -> tuple[Slab, Illumination]:
        """Return atoms displaced by ``rms`` Å, and probes at random places in the middle of their box."""
        rng = np.random.default_rng(seed)
        places = self.config.box * (0.5 + SPREAD * rng.uniform(-0.5, 0.5, size=(probes, 2)))
        beam = Illumination(KEV, self.zone.semi_angle, self.config.aperture_edge, places)
        return protocol.displaced(self.slab, rms, rng), beam

    def patterns(self, count: int, probes: int, rms: float) -> np.ndarray:
        """Return ``count`` patterns of so many probes each, (count, Ny, Nx)."""
        return np.array([self.pattern(probes, rms, seed) for seed in range(count)])


class Ours:
    """The fast engine, at its finest or as shipped; pictures have the judge's pixels."""

    def __init__(self, shipped: bool, config: SimulationConfig) -> None:
        self.shipped, self.judged = shipped, config
        pixels = 2 * round(config.box / SHIPPED / 2) if shipped else config.grid
        self.config = replace(config, grid=pixels, pixels=pixels)
        self.engine: Tilt = build(TiltEngine()) if shipped else finest(config)

    def pattern(self, crystal: Crystal, zone: protocol.Zone, rms: float) -> np.ndarray:
        """Return a zone's pattern; what lies beyond the engine's own picture is zero."""
        config = replace(self.config, displacement=rms)
        found = self.engine.zone_pattern(crystal, zone, config, KEV, np.random.default_rng(0)).pattern
        return np.pad(found, (self.judged.grid - self.config.grid) // 2)

    def cell(self, crystal: Crystal, zone: protocol.Zone) -> str:
        """Tell the cells of the projected lattice in a period of the slab, or that there is none."""
        if self.engine.leaves(crystal, zone, self.config, KEV):
            return "left"
        cell, _ = self.engine.plane_waves(crystal, zone, self.config)
        return f"{cell.index}" if cell.periodic else "none"


def finest(config: SimulationConfig) -> Tilt:
    """Return the fast engine that follows waves as far as the judge, and Laue zones to Ewald's sphere there."""
    edge = 0.5 * config.grid / config.box
    return Tilt(sampling=config.box / config.grid, laue_reach=wavelength(KEV) * edge**2 / 2.0, max_points=10**6)


class Measures:
    """R1, R1 of each disk and of the log code, and correlation, where the direct disk is not."""

    def __init__(self, crystal: Crystal, zone: protocol.Zone, config: SimulationConfig) -> None:
        steps = (np.arange(config.grid) - config.grid // 2) / config.box
        q = np.hypot(steps[:, None], steps[None])
        self.inside = q < Q_MAX
        self.scattered = self.inside & (q > zone.semi_angle / wavelength(KEV) + 3.0 / EDGE)
        self.disks = self.inside * disks(crystal, zone, steps)

    def r1(self, ours: np.ndarray, reference: np.ndarray) -> float:
        """Compare what is outside the direct disk."""
        return r1(ours[self.scattered], reference[self.scattered])

    def disk_r1(self, ours: np.ndarray, reference: np.ndarray, judge: np.ndarray) -> np.ndarray:
        """Compare each disk that is not too faint in ``judge`` by itself."""
        here = self.disks.ravel()
        bright = np.bincount(here, judge.ravel())[1:]  # 0 is no disk, and the direct one
        apart, whole = (np.bincount(here, one.ravel())[1:] for one in (np.abs(ours - reference), reference))
        return (apart / np.maximum(whole, 1e-30))[bright > FAINT * bright.max()]

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


def disks(crystal: Crystal, zone: protocol.Zone, steps: np.ndarray) -> np.ndarray:
    """Return the number of the disk that each pixel is in, from 1; 0: in none, or in the direct one."""
    reciprocal = np.linalg.inv(zone_cell(crystal, zone.uvw, zone.axes).across).T
    q = np.stack(np.meshgrid(steps, steps), axis=-1)  # (x, y)
    corner = np.floor(q @ np.linalg.inv(reciprocal)).astype(np.int64)
    best, order = np.full(q.shape[:2], np.inf), np.zeros_like(corner)
    for shift in np.ndindex(4, 4):  # the nearest of a reduced lattice is among these
        tried = corner + np.array(shift) - 1
        distance = np.linalg.norm(q - tried @ reciprocal, axis=-1)
        nearer = distance < best
        best[nearer], order[nearer] = distance[nearer], tried[nearer]
    _, numbers = np.unique(order.reshape(-1, 2), axis=0, return_inverse=True)
    inside = (best < zone.semi_angle / wavelength(KEV)) & order.any(axis=-1)
    return np.where(inside, numbers.reshape(best.shape) + 1, 0)


def log_coded(intensity: np.ndarray) -> np.ndarray:
    """Code as STEMDL does: clip(10 (max(-17, ln I) + 17), 0, 255)."""
    return np.clip(10.0 * (np.maximum(-17.0, np.log(np.maximum(intensity, 1e-30))) + 17.0), 0.0, 255.0)


def gate(box: float, thickness: float, sampling: float = SAMPLING) -> SimulationConfig:
    """Return the setting in which engines are judged: box, slab and pixels in angstrom."""
    pixels = 2 * round(box / sampling / 2)
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


def named(names: list[str]) -> list[tuple[str, Crystal]]:
    """Return the library's crystals of these names, with their systems."""
    found = {crystal.name: crystal for crystal in load_library(copies=False, edition=1)}
    for name in names:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1, cutoff=0.0)
            raise SystemExit(f"--crystals: the library has no {name}; the nearest name is {near[0]}.")
    return [(SPACE_GROUPS[found[name].space_group - 1].crystal_system, found[name]) for name in names]


def main() -> None:
    """Compare and print two rows for each crystal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="crystals of each of the seven systems")
    parser.add_argument("--configurations", type=int, default=16, help="frozen configurations, two probes each")
    parser.add_argument("--probes", type=int, default=16, help="probes with atoms at rest")
    parser.add_argument("--box", type=float, default=48.0, help="side of the judge's box, A")
    parser.add_argument("--sampling", type=float, default=GATE_SAMPLING, help="A a pixel of the judge's")
    parser.add_argument("--thickness", type=float, default=100.0, help="of the slab, A")
    parser.add_argument("--crystals", nargs="+", metavar="NAME", help="these crystals of the library, not --each")
    parser.add_argument("--quick", action="store_true", help="two crystals, few probes, a small box")
    asked = parser.parse_args()
    if asked.quick:
        asked.each, asked.configurations, asked.probes, asked.box, asked.thickness = 1, 2, 2, 24.0, 20.0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    moving = gate(asked.box, asked.thickness, asked.sampling)
    pairs: list[tuple[str, int] | str] = [("R1", 6), ("judge", 6), ("disks", 6), ("90 %", 6), ("judge", 7)]
    pairs += [("log R1", 6), ("corr.", 7), "|"]
    table = Table(
        *(("crystal", 34), ("system", 12), ("group", 5), ("engine", 8), ("cell", 5), "|", *pairs, *pairs),
        *(("dose", 6), ("noise", 6), "|", ("hand", 5), ("super", 5), ("hand T", 15), ("super T", 15), ("ratio", 6)),
    )
    some = named(asked.crystals) if asked.crystals else chosen(asked.each, moving)[: 2 if asked.quick else None]
    rows = np.array([compare(system, crystal, moving, asked, table) for system, crystal in some])
    for index, name in enumerate(("at its finest", "as shipped")):
        print(f"the fast engine {name}:")
        summary(rows[:, index])


def compare(
    system: str, crystal: Crystal, config: SimulationConfig, asked: argparse.Namespace, table: Table
) -> list[list[float]]:
    """Print one crystal's rows, one for each engine, and return their numbers."""
    judge = Judge(crystal, config)
    zone, rms = judge.zone, config.displacement
    measures = Measures(crystal, zone, config)
    still = judge.patterns(2, asked.probes // 2, 0.0)
    begin = time.process_time()
    moving = judge.patterns(asked.configurations, 2, rms)
    slow = time.process_time() - begin
    others = [
        changed(other, judge, (still, moving), asked, measures) for other in (inverse(crystal), symmetrised(crystal))
    ]
    rows = []
    for ours in (Ours(False, config), Ours(True, config)):
        at_rest = ours.pattern(crystal, zone, 0.0)
        fresh = Ours(ours.shipped, config)
        begin = time.process_time()
        thermal = fresh.pattern(crystal, zone, rms)
        ratio = slow / (time.process_time() - begin)
        numbers = [*row_of(measures, at_rest, still), *row_of(measures, thermal, moving)]
        numbers += measures.dose_r1(thermal, np.mean(moving, axis=0))
        kept = np.array([contrasts(ours, other, (at_rest, thermal), measures) for other in others])  # hand, super
        row = [*numbers, *kept.T.ravel(), ratio]
        show(table, (crystal, system), (ours, zone), row)
        rows.append(row)
    return rows


def show(table: Table, what: tuple[Crystal, str], how: tuple[Ours, protocol.Zone], row: list[float]) -> None:
    """Print a row."""
    (crystal, system), (ours, zone) = what, how
    numbers, kept, ratio = row[:-9], np.array(row[-9:-1]).reshape(4, 2).T, row[-1]
    said = [f"{value:.4f}" if index in (6, 13) else f"{value:.3f}" for index, value in enumerate(numbers)]  # corr.
    for index in (4, 11):  # the judge's own, of the disks
        said[index] = f"({said[index]})"
    shown = ["" if np.isnan(one) else f"{one:.2f}" for one in kept[:, 0]]
    shown += [
        "" if np.isnan(one) else f"{one:.2f} noise" if np.isnan(two) else f"{one:.2f} {two:.2f}±{error:.2f}"
        for _, one, two, error in kept
    ]
    name = "shipped" if ours.shipped else "finest"
    cell = ours.cell(crystal, zone)
    table.row(crystal.name[:34], system, crystal.space_group, name, cell, *said, *shown, f"{ratio:.0f}x")


@dataclass(frozen=True)
class Changed:
    """A crystal to tell from the first one, and how far the judge has them apart: R1, and by configuration."""

    crystal: Crystal
    zone: protocol.Zone
    rms: float
    at_rest: float
    thermal: float
    apart: np.ndarray


def changed(
    other: Crystal | None,
    judge: Judge,
    first: tuple[np.ndarray, np.ndarray],
    asked: argparse.Namespace,
    measures: Measures,
) -> Changed | None:
    """Return how far the judge has ``other`` from the first crystal; None where it shows too little at rest."""
    if other is None:
        return None
    still, moving = first
    second, rms = Judge(other, judge.config, judge.zone), judge.config.displacement
    shown = measures.r1(np.mean(second.patterns(2, asked.probes // 2, 0.0), axis=0), np.mean(still, axis=0))
    if shown < SHOWN:
        return None
    patterns = second.patterns(asked.configurations, 2, rms)
    thermal = measures.r1(patterns.mean(axis=0), moving.mean(axis=0))
    apart = (patterns - moving)[:, measures.scattered].astype(float)
    return Changed(other, judge.zone, rms, shown, thermal, apart)


def contrasts(
    ours: Ours, other: Changed | None, first: tuple[np.ndarray, np.ndarray], measures: Measures
) -> tuple[float, float, float, float]:
    """Return the shares of the judge's contrast that are left: at rest, thermal, without its noise, and the error."""
    if other is None:
        return np.nan, np.nan, np.nan, np.nan
    at_rest, thermal = first
    kept = measures.r1(ours.pattern(other.crystal, other.zone, 0.0), at_rest) / other.at_rest
    if other.thermal < SHOWN:
        return kept, np.nan, np.nan, np.nan
    second = ours.pattern(other.crystal, other.zone, other.rms)
    free, error = free_of_noise((second - thermal)[measures.scattered], other.apart)
    return kept, measures.r1(second, thermal) / other.thermal, free, error


def free_of_noise(ours: np.ndarray, apart: np.ndarray) -> tuple[float, float]:
    """Return the share of the judge's difference that ours has, and its standard error.

    ``apart`` (configurations, pixels). Noise adds to the judge's squares, not to products of two configurations.
    """
    count, products = len(apart), apart @ apart.T
    along, cross = apart @ ours, products.sum() - np.trace(products)
    if cross / (count - 1) < FREE * products.sum() / count:
        return np.nan, np.nan
    if count < 3:
        return float(along.mean() * count * (count - 1) / cross), np.nan
    left_out = cross - 2.0 * (products.sum(axis=1) - np.diag(products))
    shares = (along.sum() - along) / (count - 1) * (count - 1) * (count - 2) / left_out
    error = np.sqrt((count - 1) / count * ((shares - shares.mean()) ** 2).sum())
    return float(along.mean() * count * (count - 1) / cross), float(error)


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


def row_of(measures: Measures, ours: np.ndarray, patterns: np.ndarray) -> list[float]:
    """Return R1, the judge's own, those of disks (median, 90th percentile, the judge's own), log R1, correlation."""
    halves = [patterns[start::2].mean(axis=0) for start in (0, 1)]
    judge = np.mean(halves, axis=0)
    disk, own = measures.disk_r1(ours, judge, judge), measures.disk_r1(halves[0], halves[1], judge) / 2.0
    row = [measures.r1(ours, judge), measures.r1(halves[0], halves[1]) / 2.0]
    row += [float(np.median(disk)), float(np.quantile(disk, 0.9)), float(np.median(own))]
    return [*row, measures.log_r1(ours, judge), measures.correlation(ours, judge)]


def summary(rows: np.ndarray) -> None:
    """Print medians and worst values."""
    each = ["R1 {}", "its judge", "disks, median {}", "disks, 90 % {}", "disks, judge", "log R1 {}", "corr. {}"]
    names = [name.format(when) for when in ("at rest", "thermal") for name in each]
    names += ["dose", "noise", "hand", "super", "hand thermal", "super thermal", "hand thermal, free of noise"]
    names += ["super thermal, free of noise", "its error, hand", "its error, super", "ratio"]
    for name, column in zip(names, rows.T, strict=True):
        values = column[~np.isnan(column)]
        if not len(values):
            continue
        print(f"{name}: median {np.median(values):.3f}, from {values.min():.3f} to {values.max():.3f} ({len(values)})")


if __name__ == "__main__":
    main()
