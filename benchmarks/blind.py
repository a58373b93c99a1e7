"""What the blind track's patterns are worth: zones left to multislice, a fixed degree, one probe in a small box.

Four questions that docs/simulation.md answers with these figures. "zones": of the first crystals of the default
population, the share of zones that ``engine=tilt`` leaves to multislice, by protocol, quality and thickness. "degree":
R1 of polynomials of degree 2 (``tilt_coarse``) against the degree that the thickness asks for, all else equal, 200 kV.
The others take the settings of CBED-230 S blind (multislice, a 50 A box, 128 pixels, one probe, one frozen
configuration) by thickness and voltage: "box", R1 against the same probe in a box of 100 A with the same pixels (what
wraps around; atoms at rest); "speckle", R1 against the mean over 16 other frozen configurations with a probe each at
another place. R1 = sum |a - b| / sum |b| outside the direct disk. All but "zones" look at the first blind zone of eight
crystals of all seven systems.

    python benchmarks/blind.py [--crystals 150] [--draws 16]
    python benchmarks/blind.py --only box speckle --speckle-at 100 300    # as the page was measured
    python benchmarks/blind.py --quick    # four crystals, thin slabs
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from common import Table, machine, r1
from fidelity import chosen, gate

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.population import make_population
from sgexp.errors import DataError
from sgexp.schema import build
from sgexp.simulation import protocol
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import phase_of_form_factor, wavelength
from sgexp.simulation.potential import form_factor, slice_sums, transmission
from sgexp.simulation.schema import BlindConfig, ProtocolConfig, TiltEngine
from sgexp.simulation.stack import zones_of
from sgexp.simulation.tilt import Tilt

TILT = "simulation/engine=tilt"
SETTINGS = {
    "smc19": (["simulation=smc19", TILT], 150.0),
    "smc19, full quality": (["simulation=smc19", TILT, "size=smc19"], 150.0),
    "blind": (["simulation=blind", TILT], 200.0),
    "blind, full quality": (["simulation=blind", TILT, "size=smc19"], 200.0),
}
BOUNDS = (0.0, 200.0, 400.0, 800.0, np.inf)  # A along the beam
KEV = 200.0
DEGREE_AT = (100.0, 200.0, 400.0)
WORTH_AT = (100.0, 300.0, 600.0, 1200.0)
VOLTAGES = (100.0, 200.0)
S_BLIND = ["dataset=cbed230", "size=cbed230_s", "simulation=blind"]
QUESTIONS = ("zones", "degree", "box", "speckle")


def main() -> None:
    """Answer what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=list(QUESTIONS))
    parser.add_argument("--crystals", type=int, default=150, help="of the default population, three zones each")
    parser.add_argument("--draws", type=int, default=16, help="probes, each in a frozen configuration of its own")
    parser.add_argument("--box-at", type=float, nargs="+", default=list(WORTH_AT), help="thicknesses of 'box', A")
    parser.add_argument("--speckle-at", type=float, nargs="+", default=list(WORTH_AT), help="those of 'speckle', A")
    parser.add_argument("--quick", action="store_true", help="four crystals, thin slabs, two draws")
    asked = parser.parse_args()
    if asked.quick:
        asked.crystals, asked.draws, asked.box_at, asked.speckle_at = 4, 2, [30.0, 60.0], [30.0]
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"machine: {machine('torch', 'numpy')}")
    if "zones" in asked.only:
        shares_left(make_population(2900, 1)[: asked.crystals])
    some = [crystal for _, crystal in chosen(2, gate(48.0, 100.0))[: 2 if asked.quick else 8]]
    if "degree" in asked.only:
        fixed_degree(some, DEGREE_AT[:1] if asked.quick else DEGREE_AT)
    if "box" in asked.only:
        worth("box", some, asked.box_at, 0)
    if "speckle" in asked.only:
        worth("speckle", some, asked.speckle_at, asked.draws)


def shares_left(crystals: list[Crystal]) -> None:
    """Print the share of zones left to multislice, for each setting and in ranges of thickness."""
    table = Table(("left to multislice", 20), ("zones", 6), ("kV", 5), "|", ("thickness", 12), ("of", 5), ("share", 7))
    for name, (words, kev) in SETTINGS.items():
        config = Composer().check(words).simulation
        engine: Tilt = build(config.engine)
        rows = []
        for crystal in crystals:
            try:
                zones = zones_of(crystal, config, kev, 1)
            except DataError:  # the protocol has no zones for it
                continue
            rows += [(protocol.depth(zone, config), engine.leaves(crystal, zone, config, kev)) for zone in zones]
        depth, left = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        table.row(name, len(left), f"{kev:g}", "all", len(left), f"{left.mean():.1%}")
        if "blind" in name:
            for low, high in pairwise(BOUNDS):
                here = (depth > low) & (depth <= high)
                if here.any():
                    table.row("", "", "", f"{low:g}-{high:g}", here.sum(), f"{left[here].mean():.1%}")


def fixed_degree(crystals: list[Crystal], thicknesses: tuple[float, ...]) -> None:
    """Print R1 of degree 2 against the degree asked for, over the blind zones that the engine computes itself."""
    table = Table(("degree 2, thickness", 20), ("zones", 6), "|", ("median", 7), ("lowest", 7), ("highest", 7))
    config = Composer().check(["simulation=blind", "simulation/engine=tilt_coarse", "size=cbed230_s"]).simulation
    assert isinstance(config.engine, TiltEngine)
    two: Tilt = build(config.engine)
    whole: Tilt = build(replace(config.engine, degree=None))
    rng = np.random.default_rng(0)  # not drawn from
    for thickness in thicknesses:
        thick = of_thickness(config, thickness)
        values = []
        for crystal, zone in blind_zones(crystals, thick, 1):
            if not whole.leaves(crystal, zone, thick, KEV):
                seen = scattered(thick, zone.semi_angle, KEV)
                pictures = [engine.zone_pattern(crystal, zone, thick, KEV, rng).pattern for engine in (two, whole)]
                values.append(r1(pictures[0][seen], pictures[1][seen]))
        spread = [f"{value:.3f}" for value in (np.median(values), min(values), max(values))] if values else []
        table.row(f"{thickness:g} A", len(values), *spread)


def worth(what: str, crystals: list[Crystal], thicknesses: Sequence[float], draws: int) -> None:
    """Print R1 of CBED-230 S blind against a larger box or a mean: a row for each crystal, then medians."""
    columns: list[tuple[str, int] | str] = [
        (f"{kev:g} kV, {thick:g} A", 15) for kev in VOLTAGES for thick in thicknesses
    ]
    table = Table((what, 30), ("mrad", 5), "|", *columns)
    config = of_thickness(Composer().check(S_BLIND).simulation, max(thicknesses))
    rows = []
    for crystal, zone in blind_zones(crystals, config, 1):
        foil = Foil(crystal, zone, config, thicknesses)
        values = (foil.box_alone() if what == "box" else foil.speckle(draws)).ravel()
        rows.append(values)
        table.row(crystal.name[:30], f"{1e3 * zone.semi_angle:g}", *(f"{value:.3f}" for value in values))
    for name, function in (("median", np.median), ("lowest", np.min), ("highest", np.max)):
        table.row(name, "", *(f"{value:.3f}" for value in function(rows, axis=0)))
    by_thickness = np.median(rows, axis=0).reshape(len(VOLTAGES), -1).mean(axis=0)
    print(f"{what}, thickest over thinnest, of medians: ratio {by_thickness[-1] / by_thickness[0]:.2f}")


class Foil:
    """A zone of a crystal by the settings of S blind; all results are R1, (voltages, thicknesses)."""

    def __init__(
        self, crystal: Crystal, zone: protocol.Zone, config: BlindConfig, thicknesses: Sequence[float]
    ) -> None:
        self.crystal, self.zone, self.config = crystal, zone, config
        assert zone.slicing is not None
        _, slices = zone.slicing  # as many as the thickest foil has, which is tilted
        self.ends = [max(1, round(slices * thickness / max(thicknesses))) for thickness in thicknesses]

    def box_alone(self) -> np.ndarray:
        """Compare with a box twice as large and the same pixels: atoms at rest, the probe in the middle of both."""
        box, grid = self.config.box, self.config.grid
        wide = protocol.cut_slab(self.crystal, self.zone, replace(self.config, box=2.0 * box, grid=2 * grid))
        inside = ((wide.positions[:, :2] >= box / 2) & (wide.positions[:, :2] < 1.5 * box)).all(axis=1)
        moved = wide.positions[inside] - np.array([box / 2, box / 2, 0.0])
        narrow = replace(wide, numbers=wide.numbers[inside], positions=moved, box=(box, box))
        small = self.patterns(narrow, np.full(2, box / 2), grid)
        large = self.patterns(wide, np.full(2, box), 2 * grid)
        return self.r1(small, large[..., ::2, ::2])  # the frequencies that the small box has

    def speckle(self, draws: int) -> np.ndarray:
        """Compare one probe in one frozen configuration with the mean over ``draws`` others at other places."""
        slab, pictures = protocol.cut_slab(self.crystal, self.zone, self.config), []
        for seed in range(draws + 1):
            rng = np.random.default_rng(seed)
            place = self.config.box / 2 + rng.uniform(-0.25, 0.25, size=2) * self.config.box
            pictures.append(
                self.patterns(protocol.displaced(slab, self.config.displacement, rng), place, self.config.grid)
            )
        return self.r1(pictures[0], np.mean(pictures[1:], axis=0))

    @torch.inference_mode()
    def patterns(self, slab: protocol.Slab, place: np.ndarray, grid: int) -> np.ndarray:
        """Return one probe's patterns, (voltages, thicknesses, grid, grid), over the intensity incident at q = 0.

        It is ``Multislice.pattern``, voltages and thicknesses from one pass through the potential. A pattern's sum
        would not do as the measure: an aperture of a few pixels has another area in each box.
        """
        size, engine = (grid, grid), Multislice()
        beams = [
            Illumination(kev, self.zone.semi_angle, self.config.aperture_edge, place[None], self.zone.mistilt)
            for kev in VOLTAGES
        ]
        waves = [engine._probes(size, beam.positions, slab, beam)[0] for beam in beams]
        propagators = [engine._propagator(size, slab, beam, True) for beam in beams]
        incident = [float(wave[0, 0].abs().square()) for wave in waves]
        found: list[list[np.ndarray]] = [[] for _ in beams]
        sheets = (sheet for some in slice_sums(slab, size, form_factor) for sheet in some)
        for done, sheet in enumerate(sheets, start=1):
            for index, beam in enumerate(beams):
                grating = transmission(sheet * phase_of_form_factor(beam.energy_kev))
                waves[index] = torch.fft.fft2(torch.fft.ifft2(waves[index]) * grating) * propagators[index]
                if done in self.ends:
                    seen = torch.fft.fftshift(waves[index].abs().square()) / incident[index]
                    found[index].append(seen.numpy())
        return np.array(found)

    def r1(self, ours: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return R1 outside the direct disk."""
        masks = [scattered(self.config, self.zone.semi_angle, kev) for kev in VOLTAGES]
        return np.array(
            [
                [r1(a[mask], b[mask]) for a, b in zip(one, other, strict=True)]
                for one, other, mask in zip(ours, others, masks, strict=True)
            ]
        )


def of_thickness(config: ProtocolConfig, thickness: float) -> BlindConfig:
    """Return the settings with foils of one thickness in A, cut across the beam."""
    assert isinstance(config, BlindConfig)
    return replace(config, thickness=[thickness, thickness])


def blind_zones(crystals: list[Crystal], config: BlindConfig, count: int) -> Iterator[tuple[Crystal, protocol.Zone]]:
    """Yield the first ``count`` blind zones of each crystal."""
    for crystal in crystals:
        for zone in zones_of(crystal, config, KEV, config.seed)[:count]:
            yield crystal, zone


def scattered(config: ProtocolConfig, semi_angle: float, kev: float) -> np.ndarray:
    """Return where the direct disk is not, and the band limit is not reached."""
    steps = (np.arange(config.grid) - config.grid // 2) / config.box
    q = np.hypot(steps[:, None], steps[None])
    return (q > semi_angle / wavelength(kev) + 3.0 / config.aperture_edge) & (q < np.abs(steps).max())


if __name__ == "__main__":
    main()
