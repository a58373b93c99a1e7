"""How much longer abTEM takes than the fast engine for the same fidelity: its cheapest setting that should be as true.

Fidelity: R1 outside the direct disk against a converged thermal mean, as ``fidelity.py`` finds it (the same crystals,
zones, box and judge: 16 frozen configurations with two probes each). abTEM's choices are how many frozen configurations
and how many probes in each, 1, 2, 4 ... of either. The cheapest of those whose R1 is no larger than the fast engine's
counts; where none is as true, the dearest, marked >. The fast engine has a choice as well: its slices and the reach of
Laue zones as conf/simulation/engine/tilt.yaml has them ("fine"), twice as coarse ("half") or as in tilt_coarse.yaml
("coarse"); each is set beside the abTEM that is as true as it, and the one that gains most is marked *.

Measured: what the fast engine and our own multislice reach, in the judge's box of 48 A at 0.16 A a pixel, in slices of
at most 1 A and with other configurations and places than the judge's; and times. Inferred: that abTEM is as true as our
multislice with as many configurations and probes. That favours abTEM: it spreads each atom over four pixels, and is
timed at 0.2 A a pixel in SMC-19's thicker slices, where its patterns are further from converged ones (``simulation.py``
says how far at rest). ``--own`` measures it: R1 of abTEM's own patterns against the judge at the setting that gains
most, on the judge's pixels and slices ("own") and on the pixels and slices of the times in the judge's box ("timed").
Fidelity in a box of 100 A is not measured for either.

Time: processor time of one thread at SMC-19's full quality (100 A, 512 pixels, 100 A thick, 100 kV). abTEM's is
configurations x (potential + probes x one probe), both measured for the crystal's own slab, its slices as thick as
SMC-19's. Ours is that of a fast engine which knows nothing of the zone yet.

    python benchmarks/equal_fidelity.py [--each 5] [--own]
    python benchmarks/equal_fidelity.py --own --crystals A12B_hP13_191_cdei_a A12B_cI26_204_g_a    # these alone
    python benchmarks/equal_fidelity.py --quick    # two crystals, too small a box and too few configurations
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import abtem
import numpy as np
import torch
from abtem.integrals import ScatteringFactorProjectionIntegrals
from ase import Atoms
from common import Table, machine
from fidelity import KEV, SAMPLING, SHIPPED, Judge, Measures, chosen, gate, named
from simulation import OurFormFactors, one_thread_each

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation import protocol
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.protocol import Slab
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.tilt import Tilt

FULL = SimulationConfig(box=100.0, grid=512, pixels=512, thickness=100.0, energies_kev=[KEV])
FEW, MANY = 2, 10  # probes whose times tell those of the potential and of one probe
OURS = {
    "fine": {"max_slice": 1.0, "laue_reach": 0.25},
    "half": {"max_slice": 2.0, "laue_reach": 0.125},
    "coarse": {"max_slice": 3.0, "laue_reach": 0.05},
}
OTHERS = 1000  # seed of the first configuration that is not the judge's


def main() -> None:
    """Print a row for each crystal, then what they say together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="crystals of each of the seven systems")
    parser.add_argument("--configurations", type=int, default=16, help="frozen configurations, at most")
    parser.add_argument("--probes", type=int, default=4, help="in each configuration, at most")
    parser.add_argument("--crystals", nargs="+", metavar="NAME", help="these crystals of the library, not --each")
    parser.add_argument("--own", action="store_true", help="R1 of abTEM's own patterns as well, where ours gains most")
    parser.add_argument("--quick", action="store_true", help="two crystals, a small box, thin slabs")
    asked = parser.parse_args()
    box, thickness = 48.0, 100.0
    full = FULL
    if asked.quick:
        asked.each, asked.configurations, asked.probes, box, thickness = 1, 2, 2, 24.0, 20.0
        full = replace(FULL, box=50.0, grid=128, pixels=128, thickness=20.0)
    print(f"machine: {machine('torch', 'abtem', 'numpy')}")
    one_thread_each()
    judged = gate(box, thickness)
    table = Table(
        *(
            ("crystal", 34),
            ("system", 12),
            ("ours", 7),
            "|",
            ("R1 ours", 8),
            ("abTEM's", 8),
            ("configs", 8),
            ("probes", 7),
            "|",
        ),
        *(("potential s", 11), ("a probe s", 10), ("abTEM s", 8), ("ours s", 7), "|", ("ratio", 9)),
        *("|", ("own", 6), ("timed", 6)),
    )
    ratios, fine = [], []
    some = named(asked.crystals) if asked.crystals else chosen(asked.each, judged)[: 2 if asked.quick else None]
    for system, crystal in some:
        found, reached = fidelities(crystal, judged, asked.configurations, asked.probes)
        potential, probe = abtem_seconds(crystal, full)
        cost = {setting: setting[0] * (potential + setting[1] * probe) for setting in reached}
        rows = []
        for name, ours in found.items():
            fast = seconds(lambda crystal=crystal, name=name: tilt_pattern(crystal, full, OURS[name]))
            enough = [setting for setting, one in reached.items() if one <= ours]
            best = min(enough, key=cost.__getitem__) if enough else max(cost, key=cost.__getitem__)
            mark = "" if enough else ">"
            numbers = (f"{ours:.3f}", f"{reached[best]:.3f}", *best, f"{potential:.2f}", f"{probe:.3f}")
            rows.append((cost[best] / fast, name, (*numbers, f"{cost[best]:.2f}", f"{fast:.3f}"), mark, best))
        most = max(rows)
        own = [f"{one:.3f}" for one in abtem_r1(crystal, judged, asked, most[4])] if asked.own else []
        for ratio, name, numbers, mark, _ in rows:
            star, also = ("*", own) if name == most[1] else ("", [])
            table.row(crystal.name[:34], system, name + star, *numbers, f"{mark}{ratio:.1f}x", *also)
        ratios.append(most[0])
        fine.append(rows[0][0])
    for name, some in (("fine", fine), ("the one that gains most", ratios)):
        spread = f"from {min(some):.0f}x to {max(some):.0f}x, thirty or more for {sum(one >= 30 for one in some)}"
        print(f"ratio, {name}: median {np.median(some):.0f}x, {spread} of {len(some)}")


def fidelities(
    crystal: Crystal, config: SimulationConfig, configurations: int, probes: int
) -> tuple[dict[str, float], dict[tuple[int, int], float]]:
    """Return R1 of the fast engine's settings, and of multislice by (configurations, probes in each)."""
    judge = Judge(crystal, config)
    measures = Measures(crystal, judge.zone, config)
    reference = np.mean([judge.pattern(2, config.displacement, seed) for seed in range(configurations)], axis=0)
    found = {}
    for name, setting in OURS.items():
        engine = Tilt(sampling=SAMPLING, max_points=10**6, **setting)
        ours = engine.zone_pattern(crystal, judge.zone, config, KEV, np.random.default_rng(0)).pattern
        found[name] = measures.r1(ours, reference)
    single = np.stack([single_patterns(judge, probes, OTHERS + seed) for seed in range(configurations)])
    settings = [(c, p) for c in powers(configurations) for p in powers(probes)]
    reached = {(c, p): measures.r1(single[:c, :p].mean(axis=(0, 1)), reference) for c, p in settings}
    return found, reached


def single_patterns(judge: Judge, probes: int, seed: int) -> np.ndarray:
    """Return the patterns of single probes in one frozen configuration, (probes, Ny, Nx)."""
    slab, beam = judge.configuration(probes, judge.config.displacement, seed)
    waves = torch.cat(Multislice().exit_waves(slab, beam, (judge.config.grid, judge.config.grid)))
    return torch.fft.fftshift(waves.abs().square(), dim=(1, 2)).numpy()


def abtem_r1(
    crystal: Crystal, config: SimulationConfig, asked: argparse.Namespace, setting: tuple[int, int]
) -> tuple[float, float]:
    """Return R1 of abTEM's own patterns at (configurations, probes in each): the judge's slices, and those of times."""
    judge = Judge(crystal, config)
    measures = Measures(crystal, judge.zone, config)
    count = asked.configurations
    reference = np.mean([judge.pattern(2, config.displacement, seed) for seed in range(count)], axis=0)
    pixels = 2 * round(config.box / SHIPPED / 2)
    timed = Judge(crystal, replace(config, grid=pixels, pixels=pixels, max_slice=None))
    found = []
    for one in (judge, timed):
        frozen = [one.configuration(asked.probes, config.displacement, OTHERS + seed) for seed in range(setting[0])]
        mean = np.mean([abtem_pattern(slab, beam, setting[1], one.config.grid) for slab, beam in frozen], axis=0)
        found.append(measures.r1(np.pad(mean, (config.grid - one.config.grid) // 2), reference))
    return found[0], found[1]


def abtem_pattern(slab: Slab, beam: Illumination, probes: int, grid: int) -> np.ndarray:
    """Return abTEM's mean pattern of the first probes, which come from our engine: it has no such soft aperture."""
    few = replace(beam, positions=beam.positions[:probes])
    empty = replace(slab, numbers=slab.numbers[:0], positions=slab.positions[:0], slices=1, slice_thickness=1e-9)
    probe = torch.cat(Multislice().exit_waves(empty, few, (grid, grid), limited=False))
    integrals = ScatteringFactorProjectionIntegrals(OurFormFactors())
    potential = abtem.Potential(
        abtem_atoms(slab), gpts=(grid, grid), slice_thickness=slab.slice_thickness, integrator=integrals
    )
    total = np.zeros((grid, grid))
    for wave in torch.fft.ifft2(probe).numpy():
        waves = abtem.Waves(wave.T.copy(), energy=1e3 * beam.energy_kev, extent=slab.box)  # x first
        total += np.abs(np.fft.fft2(np.asarray(waves.multislice(potential).compute().array))).T ** 2
    return np.fft.fftshift(total / probes)


def powers(most: int) -> list[int]:
    """Return 1, 2, 4 ... up to ``most``."""
    return [2**n for n in range(most.bit_length()) if 2**n <= most]


def abtem_atoms(slab: Slab) -> Atoms:
    """Return the atoms for abTEM, each in the middle of its slice, where rounding cannot move it to the next."""
    places = slab.positions.copy()
    places[:, :2] %= slab.box
    slices = np.floor(places[:, 2] / slab.slice_thickness + 1e-6).clip(0, slab.slices - 1)
    places[:, 2] = (slices + 0.5) * slab.slice_thickness
    return Atoms(slab.numbers, places, cell=[*slab.box, slab.thickness], pbc=True)


def abtem_seconds(crystal: Crystal, full: SimulationConfig) -> tuple[float, float]:
    """Return abTEM's processor seconds for a potential, and for one probe through it."""
    zone = protocol.zones(crystal, full)[0]
    slab = protocol.cut_slab(crystal, zone, full)
    atoms = abtem_atoms(slab)
    integrals = ScatteringFactorProjectionIntegrals(OurFormFactors())

    def pattern(probes: int) -> None:
        potential = abtem.Potential(
            atoms, gpts=(full.grid, full.grid), slice_thickness=slab.slice_thickness, integrator=integrals
        )
        probe = abtem.Probe(energy=1e3 * KEV, semiangle_cutoff=1e3 * zone.semi_angle, soft=False)
        probe.grid.match(potential)
        scan = abtem.CustomScan(protocol.probe_positions(64, slab.box)[:probes])
        probe.scan(potential, scan=scan, detectors=abtem.PixelatedDetector(max_angle="full"), lazy=False)

    pattern(1)  # its tables of form factors
    few, many = (seconds(lambda probes=probes: pattern(probes)) for probes in (FEW, MANY))
    probe = (many - few) / (MANY - FEW)
    return few - FEW * probe, probe


def tilt_pattern(crystal: Crystal, full: SimulationConfig, setting: dict[str, float]) -> None:
    """Compute a zone's pattern with an engine that knows nothing of it."""
    zone = protocol.zones(crystal, full)[0]
    Tilt(max_points=10**6, **setting).zone_pattern(crystal, zone, full, KEV, np.random.default_rng(0))


def seconds(work: Callable[[], None]) -> float:
    """Return the processor seconds that ``work`` takes, the least of three times."""
    found = []
    for _ in range(3):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


if __name__ == "__main__":
    main()
