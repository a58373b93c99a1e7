"""Our multislice against abTEM's, and against the Fourier transforms that any multislice has to make.

Both compute position-averaged patterns of one slab of SrTiO3 (the protocol's first zone, displaced atoms, 100 kV, hard
aperture) with the same form factors, the same atoms in the same slices, on the same grid with the same band limit (two
thirds of Nyquist, abTEM's default), single precision, one thread, taking turns; a pattern is everything from atoms to
intensities. abTEM keeps the tables of form factors that it has computed, as ours does. The floor is 2 x slices x probes
transforms of that grid with torch.fft in the quickest way that we know: no normalisation, new memory for the result, a
batch as large as ours going through all slices before the next. "potentials" is the part of our time that does not
depend on the number of probes. "tilt" is the fast engine on the same zone, cell, slices and beams included: a thermal
mean over all positions, on the same picture, with waves on the crystal's cell at least as fine.

How right they are: R1 = sum |a - b| / sum |b| without the direct disk, below 0.6 of Nyquist. Each is judged by itself
on a grid so fine that where atoms stand between pixels hardly matters: abTEM's is the judge of both, ours of how far
it can be trusted. At most four probes are used for this.

    python benchmarks/simulation.py [--probes 64] [--rounds 3]
    python benchmarks/simulation.py --dataset 240 [--processes 1 2]   # instead: materials a minute of `generate`
    python benchmarks/simulation.py --overhead 5800 [--only quick]  # instead: processor time of the whole command
                                                 # `task=simulate` over that of its engine alone
    python benchmarks/simulation.py --quick     # a thin slab, few probes and rounds; the judge is not as fine
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import abtem
import numba
import numpy as np
import torch
from abtem.integrals import ScatteringFactorProjectionIntegrals
from abtem.parametrizations import Parametrization
from ase import Atoms
from ase.data import atomic_numbers
from common import Table, in_turns, machine, medians
from threadpoolctl import threadpool_limits

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import make_population
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation.generation import energies_of, generate
from sgexp.simulation.multislice import Illumination, Multislice, batched_rows
from sgexp.simulation.physics import wavelength
from sgexp.simulation.potential import form_factor, slice_phases, transmission
from sgexp.simulation.protocol import cut_slab, displaced, probe_positions, zones
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.tilt import Tilt

SEED = 1
ENERGY = 100.0  # keV
HARD = 1e5  # angstrom: an aperture with this edge is hard, as abTEM's is with soft=False
BAND_LIMIT = 2 / 3  # of Nyquist, abTEM's default
COMPARED = 0.6  # of Nyquist: below abTEM's taper
PREFACTOR = 47.87801  # h^2 / (2 pi m0 e), V Å^2: from a form factor in Å to a projected potential in V Å
PIXELS_AT_ONCE = 2**16  # as in our engine, so that the floor's batches are its batches
ORDER = ("ours", "abTEM", "floor", "potentials", "tilt")
COLUMNS: list[tuple[str, int] | str] = [
    *(("box, grid, probes", 21), "|", ("ours s", 8), ("abTEM s", 8), ("floor s", 8), ("potent. s", 9), ("tilt s", 8)),
    *("|", ("ratio abTEM/ours", 16), ("of cpu", 7), "|", ("ratio ours/floor", 16), ("of cpu", 7)),
    *("|", ("abTEM/tilt", 10), ("of cpu", 7)),
]


@dataclass(frozen=True)
class Setting:
    """Grid, box and probes of a pattern; ``judge`` is the pixels along a side of the grid that judges it (0: none)."""

    name: str
    box: float
    grid: int
    probes: int
    rounds: int
    judge: int


SETTINGS = (
    Setting("default data", box=50.0, grid=128, probes=1, rounds=41, judge=1024),
    Setting("finer", box=50.0, grid=256, probes=4, rounds=15, judge=1024),
    Setting("SMC-19's quality", box=100.0, grid=512, probes=64, rounds=3, judge=2048),
)


class OurFormFactors(Parametrization):
    """abTEM's door for form factors: ``projected_scattering_factor`` takes k squared and returns V Å^3."""

    def __init__(self) -> None:
        super().__init__(parameters={}, sigmas=None)

    def scaled_parameters(self, symbol: str, name: str) -> np.ndarray:
        """Not needed: infinite projections ask for scattering factors only."""
        raise NotImplementedError

    def projected_scattering_factor(self, symbol: str, charge: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function of k squared."""
        return lambda k_squared: PREFACTOR * form_factor(atomic_numbers[symbol], np.asarray(k_squared))


class Sides:
    """One slab and beam, and the ways to compute its pattern; each takes the pixels along a side of the grid."""

    def __init__(self, setting: Setting, thickness: float) -> None:
        config = SimulationConfig(box=setting.box, grid=setting.grid, probes=setting.probes, thickness=thickness)
        crystal = strontium_titanate()
        zone = zones(crystal, config)[0]
        self.crystal, self.zone, self.config = crystal, zone, config
        self.slab = displaced(cut_slab(crystal, zone, config), config.displacement, np.random.default_rng(SEED))
        self.beam = Illumination(ENERGY, zone.semi_angle, HARD, probe_positions(setting.probes, self.slab.box))
        self.engine = Multislice(BAND_LIMIT)
        self.atoms = self._same_slices()
        self.integrals = ScatteringFactorProjectionIntegrals(OurFormFactors())

    def _same_slices(self) -> Atoms:
        """Return the atoms for abTEM, each in the middle of its slice, where rounding cannot move it to the next."""
        slab, positions = self.slab, self.slab.positions.copy()
        slices = np.floor(positions[:, 2] / slab.slice_thickness + 1e-6).clip(0, slab.slices - 1)
        positions[:, 2] = (slices + 0.5) * slab.slice_thickness
        positions[:, :2] %= slab.box
        return Atoms(slab.numbers, positions, cell=[*slab.box, slab.thickness], pbc=True)

    def ours(self, grid: int) -> np.ndarray:
        """Return our pattern."""
        return self.engine.pattern(self.slab, self.beam, (grid, grid))

    def abtem(self, grid: int) -> np.ndarray:
        """Return abTEM's pattern, axes and zero frequency as in ours."""
        potential = abtem.Potential(
            self.atoms, gpts=(grid, grid), slice_thickness=self.slab.slice_thickness, integrator=self.integrals
        )
        assert len(potential) == self.slab.slices
        probe = abtem.Probe(energy=1e3 * ENERGY, semiangle_cutoff=1e3 * self.beam.semi_angle, soft=False)
        probe.grid.match(potential)
        detector = abtem.PixelatedDetector(max_angle="full")
        measured = probe.scan(potential, scan=abtem.CustomScan(self.beam.positions), detectors=detector, lazy=False)
        return np.asarray(measured.array).reshape(-1, grid, grid).mean(axis=0).T

    @torch.inference_mode()
    def floor(self, grid: int) -> None:
        """Transform as often as a multislice must, and nothing else."""
        at_once = max(1, PIXELS_AT_ONCE // grid**2)
        for some in batched_rows(self.beam.positions, at_once):
            ones = torch.ones(len(some), grid, grid, dtype=torch.complex64)
            for _ in range(self.slab.slices):
                torch.fft.fft2(torch.fft.ifft2(ones, norm="forward"))

    @torch.inference_mode()
    def potentials(self, grid: int) -> None:
        """Compute our phase gratings and send no wave through them."""
        for phases in slice_phases(self.slab, (grid, grid), ENERGY):
            for grating in transmission(phases):
                del grating

    def tilt(self, grid: int) -> None:
        """Return nothing, but compute the pattern with the fast engine, which knows nothing of the zone yet."""
        config = replace(self.config, grid=grid, pixels=grid)
        Tilt(sampling=config.box / grid).zone_pattern(self.crystal, self.zone, config, ENERGY, np.random.default_rng(0))

    def r1(self, pattern: np.ndarray, reference: np.ndarray, grid: int) -> float:
        """Compare two patterns where both grids and abTEM's band limit reach, without the direct disk."""
        ours, theirs = (middle(one, grid) for one in (pattern, reference))
        index = np.arange(grid) - grid // 2
        q = np.hypot(index[:, None], index[None]) / self.slab.box[0]
        nyquist = grid / self.slab.box[0] / 2
        seen = (q > 1.05 * self.beam.semi_angle / wavelength(ENERGY)) & (q < COMPARED * nyquist)
        return float(np.abs(ours - theirs)[seen].sum() / theirs[seen].sum())


def strontium_titanate() -> Crystal:
    """Return SrTiO3: three elements, light and heavy ones."""
    positions = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Crystal.from_arrays(np.eye(3) * 3.905, ["Sr", "Ti", "O", "O", "O"], positions, name="SrTiO3")


def middle(pattern: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle out of a pattern on a finer grid: the same frequencies, because the box is the same."""
    first = len(pattern) // 2 - size // 2
    return pattern[first : first + size, first : first + size]


def one_thread_each() -> None:
    """Give every library one thread, both sides single precision, and abTEM neither progress bars nor dask."""
    abtem.config.set({"diagnostics.progress_bar": False, "precision": "float32", "dask.lazy": False})
    abtem.config.set({"fftw.threads": 1, "mkl.threads": 1})
    numba.set_num_threads(1)
    threadpool_limits(1)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as `generate` does; it holds for the whole thread, so abTEM gains as well


def nothing() -> None:
    """Prepare nothing."""


def time_setting(sides: Sides, setting: Setting, table: Table) -> None:
    """Let the ways take turns and print a row."""
    ways: dict[str, Callable[[int], object]] = {
        **{"ours": sides.ours, "abTEM": sides.abtem},
        **{"floor": sides.floor, "potentials": sides.potentials},
        "tilt": sides.tilt,
    }
    turns = {name: (nothing, lambda _, way=way: way(setting.grid)) for name, way in ways.items()}
    measured = {name: medians(seconds) for name, seconds in in_turns(turns, setting.rounds).items()}
    label = f"{setting.box:.0f} A, {setting.grid} px, {setting.probes} pr."
    ratios = [*measured["abTEM"] / measured["ours"], *measured["ours"] / measured["floor"]]
    ratios += [*measured["abTEM"] / measured["tilt"]]
    table.row(label, *(f"{measured[name][0]:.4f}" for name in ORDER), *(f"{ratio:.2f}x" for ratio in ratios))


def judge(setting: Setting, thickness: float, table: Table) -> None:
    """Print how the two agree on the setting's grid, with the judge, and on the judge's grid."""
    few = replace(setting, probes=min(setting.probes, 4))
    sides = Sides(few, thickness)
    ours, theirs = sides.ours(few.grid), sides.abtem(few.grid)
    fine = sides.abtem(few.judge)
    numbers = [
        sides.r1(ours, theirs, few.grid),
        sides.r1(ours, fine, few.grid),
        sides.r1(theirs, fine, few.grid),
        sides.r1(sides.ours(few.judge), fine, few.grid),
    ]
    label = f"{few.box:.0f} A, {few.grid} px, {few.probes} pr."
    table.row(label, f"{few.box / few.judge:.3f}", *(f"{number:.4f}" for number in numbers))


def compare(settings: Sequence[Setting], thickness: float) -> None:
    """Print times, then fidelity."""
    print(f"\nseconds a pattern, medians of {', '.join(str(one.rounds) for one in settings)} rounds")
    table = Table(*COLUMNS)
    for setting in settings:
        sides = Sides(setting, thickness)
        time_setting(sides, setting, table)
        print(f"  {setting.name}: {len(sides.slab.numbers):,} atoms, {sides.slab.slices} slices", flush=True)
    print("\nR1 without the direct disk, below 0.6 of Nyquist; the judge is abTEM on a fine grid")
    columns: list[tuple[str, int] | str] = [("ours, abTEM", 11), ("ours, judge", 11), ("abTEM, judge", 12)]
    fidelity = Table(("box, grid, probes", 21), "|", ("judge A/px", 10), *columns, ("ours on judge's grid", 20))
    for setting in settings:
        if setting.judge:
            judge(setting, thickness, fidelity)


def throughput(materials: int, processes: Sequence[int]) -> None:
    """Print how many materials a minute `generate` makes at the default setting, start of its processes included."""
    crystals = make_population(materials, SEED)
    table = Table(("processes", 9), "|", ("seconds", 8), ("materials/min", 13), ("cpu ms each", 11), "|", ("ratio", 6))
    first = 0.0
    for count in processes:
        config = SimulationConfig(processes=count)
        before = children_seconds()
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            made = generate(crystals, Path(folder), config, progress=False)
        seconds = time.perf_counter() - begin
        first = first or seconds
        cpu = 1e3 * (children_seconds() - before) / materials
        numbers = [f"{seconds:.1f}", f"{60 * made.materials / seconds:,.0f}", f"{cpu:.1f}", f"{first / seconds:.2f}x"]
        table.row(count, *numbers)
    print(
        f"\n{materials} materials, a sample each, 50 A, 128 px, 1 probe, kept at 64 px; ratio: speed over the first row"
    )


def overhead(materials: int, names: Sequence[str]) -> None:
    """Print the processor time of the command `task=simulate` over that of its engine alone, on the same patterns."""
    crystals = make_population(materials, SEED)
    table = Table(("simulation", 10), "|", ("command ms", 10), ("engine ms", 9), "|", ("ratio", 6))
    for name in names:
        words = [f"simulation={name}", "simulation.processes=1", f"size.materials={materials}"]
        alone = engine_seconds(crystals, Composer().check(words).simulation)
        before = children_seconds()
        with tempfile.TemporaryDirectory() as folder:
            places = [f"task.folder={folder}/data", f"data_dir={folder}", f"output_dir={folder}/outputs"]
            command = [sys.executable, "-m", "sgexp", "task=simulate", *words, *places]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole = children_seconds() - before
        each = (f"{1e3 * seconds / materials:.1f}" for seconds in (whole, alone))
        table.row(name, *each, f"{whole / alone:.2f}x")
    print(f"\n{materials} materials, a sample each; one process simulates; the command's start is part of it")


def engine_seconds(crystals: Sequence[Crystal], config: SimulationConfig) -> float:
    """Return the processor seconds of an engine for the patterns that `generate` makes of these crystals."""
    engine, spent = build(config.engine), 0.0
    for index, crystal in enumerate(crystals):
        try:
            all_zones = zones(crystal, config)
        except DataError:  # too few reflections
            continue
        for energy in energies_of(config, index):
            began = time.process_time()
            for zone in all_zones:
                engine.zone_pattern(crystal, zone, config, energy, np.random.default_rng(SEED))
            spent += time.process_time() - began
    return spent


def children_seconds() -> float:
    """Return the processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, help="probes of the third setting (64: SMC-19's; takes minutes)")
    parser.add_argument("--rounds", type=int, help="measured rounds of every setting; the median counts")
    parser.add_argument("--dataset", type=int, metavar="MATERIALS", help="only measure `generate` on so many materials")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of --dataset, a row for each")
    parser.add_argument("--overhead", type=int, metavar="MATERIALS", help="only measure task=simulate over its engine")
    parser.add_argument(
        "--only", nargs="+", default=["quick", "smc19"], metavar="NAME", help="simulations of --overhead"
    )
    parser.add_argument("--quick", action="store_true", help="a slab of 20 A, 2 probes at most, 2 rounds")
    asked = parser.parse_args()
    print(f"machine: {machine('torch', 'abtem', 'pyfftw', 'numpy')}")
    one_thread_each()
    if asked.dataset:
        throughput(asked.dataset, asked.processes)
        return
    if asked.overhead:
        overhead(asked.overhead, asked.only)
        return
    settings = [*SETTINGS[:2], replace(SETTINGS[2], probes=asked.probes or SETTINGS[2].probes)]
    if asked.rounds:
        settings = [replace(setting, rounds=asked.rounds) for setting in settings]
    if asked.quick:
        settings = [replace(one, probes=min(one.probes, 2), rounds=2, judge=512) for one in settings]
        settings[2] = replace(settings[2], judge=0)
    print("one thread each; SrTiO3, atoms displaced by 0.07 A rms, hard aperture")
    compare(settings, thickness=20.0 if asked.quick else 100.0)


if __name__ == "__main__":
    main()
