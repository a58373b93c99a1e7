"""The fast engine against multislice with many probes on the same atoms."""

from dataclasses import replace

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.schema import build
from sgexp.simulation import disks, protocol
from sgexp.simulation.cells import zone_cell
from sgexp.simulation.forecast import forecast
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.protocol import Slab, Zone
from sgexp.simulation.schema import MultisliceEngine, SimulationConfig, TiltEngine
from sgexp.simulation.stack import simulate
from sgexp.simulation.tilt import Tilt, amplitudes, cut, fast_size, make_grid

from .crystals import diamond, quartz, silicon, strontium_titanate, triclinic

KEV = 100.0
A = 3.905
RIGHT = quartz()
LEFT = Crystal.from_arrays(RIGHT.cell * [1, -1, 1], RIGHT.numbers, RIGHT.positions, name="left quartz")


def along_c(semi_angle, d):
    return Zone((0, 0, 1), np.array([0.0, 1.0, 0.0]), d, semi_angle, np.eye(3))


def supercell(crystal, zone, box, slice_thickness, slices):
    size = np.array([*box, slices * slice_thickness])
    return Slab(*protocol.atoms_in_box(crystal, zone.axes, size), box, slice_thickness, slices)


def radii(grid, box):
    return np.hypot((np.arange(grid) - grid // 2)[:, None] / box[1], (np.arange(grid) - grid // 2)[None] / box[0])


def scattered(ours, reference, q, semi_angle, q_max=1.5, tail=0.03):
    """R1 without the direct disk."""
    seen = (q > semi_angle / wavelength(KEV) + tail) & (q < q_max)
    return float(np.abs(ours - reference)[seen].sum() / reference[seen].sum())


def test_a_sum_over_tilts_is_the_mean_over_probe_positions():
    """SrTiO3 [001]: a supercell of 6 x 6 cells and 36 probes over one cell, against one tilt for each of its pixels."""
    cells, pixels, limit, semi_angle = 6, 144, 0.9 * 12 / A, 4.0e-3
    box, zone = (cells * A, cells * A), along_c(4.0e-3, A)
    steps = A / 6 * np.arange(6)
    probes = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) + 2 * A
    slab = supercell(strontium_titanate(), zone, box, A / 2, 24)
    reference = Multislice(0.9).pattern(slab, Illumination(KEV, semi_angle, 80.0, probes), (pixels, pixels))

    cell = zone_cell(strontium_titanate(), zone.uvw, zone.axes)
    grid = make_grid(cell, 1, 12 / A)  # the supercell's own pixels
    slices = cut(cell, grid, 24 * A / 2, A / 2)
    grid = replace(grid, limit=limit)
    q = radii(pixels, box)
    aperture = 1 / (1 + np.exp(np.clip(-160.0 * (semi_angle / wavelength(KEV) - q), -80, 80))) ** 2
    rows, columns = np.nonzero(aperture > 1e-10)
    tilts = (np.stack([columns, rows], axis=1) - pixels // 2) / box[0]
    waves, _ = amplitudes(grid, slices, KEV, tilts)
    ours = np.zeros((pixels, pixels))
    places = np.rint((grid.beams.reshape(-1, 2) + tilts[:, None]) * box[0]).astype(int) + pixels // 2
    inside = ((places >= 0) & (places < pixels)).all(axis=2)
    weights = waves.abs().square().numpy() * (aperture[rows, columns] / aperture.sum())[:, None]
    np.add.at(ours, (places[inside][:, 1], places[inside][:, 0]), weights[inside])
    assert scattered(ours, reference, q, semi_angle, q_max=limit) < 1e-4
    assert np.abs(ours - reference).sum() < 1e-4


CASES = {
    "its own period": (strontium_titanate, 1),
    "three cells a period": (silicon, 0),
    "no period, quartz": (quartz, 0),
    "no period, triclinic": (triclinic, 1),
}
# A soft aperture makes compact probes, which do not reach the faces of so small a box.
SOFT = {"aperture_edge": 20.0, "max_slice": 1.0}
FINE = SimulationConfig(grid=256, box=40.0, pixels=256, thickness=50.0, displacement=0.0, **SOFT)


def many_probes(crystal, zone, config, count=6):
    """Multislice with probes spread at random, but evenly, over some cells in the middle of the box."""
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1).reshape(-1, 2)
    probes = config.box / 2 + ((places + rng.uniform(size=places.shape)) / count - 0.5) * 16.0
    beam = Illumination(KEV, zone.semi_angle, config.aperture_edge, probes, zone.mistilt)
    return Multislice().pattern(protocol.cut_slab(crystal, zone, config), beam, (config.grid, config.grid))


@pytest.mark.parametrize("case", CASES)
def test_static_patterns_are_those_of_multislice(case):
    make, index = CASES[case]
    crystal = make()
    zone = protocol.zones(crystal, FINE)[index]
    reference = many_probes(crystal, zone, FINE)
    ours = Tilt(sampling=FINE.box / FINE.grid, max_points=10**6).zone_pattern(crystal, zone, FINE, KEV, None)
    assert ours.engine == "tilt"
    assert ours.thickness == pytest.approx(protocol.cut_slab(crystal, zone, FINE).thickness)
    q = radii(FINE.grid, (FINE.box, FINE.box))
    assert scattered(ours.pattern, reference, q, zone.semi_angle, tail=0.1) < 0.05  # 36 probes are not all places
    assert ours.pattern.sum() == pytest.approx(reference.sum(), abs=0.01)


def test_a_beam_off_the_zone_gives_the_pattern_of_multislice():
    crystal = strontium_titanate()
    zone = replace(protocol.zones(crystal, FINE)[1], mistilt=(6e-3, -3e-3))
    engine = Tilt(sampling=FINE.box / FINE.grid, max_points=10**6)
    on, ours = (engine.zone_pattern(crystal, one, FINE, KEV, None) for one in (replace(zone, mistilt=(0, 0)), zone))
    q = radii(FINE.grid, (FINE.box, FINE.box))
    reference = many_probes(crystal, zone, FINE)
    assert scattered(ours.pattern, reference, q, zone.semi_angle, tail=0.1) < 0.05
    assert scattered(on.pattern, reference, q, zone.semi_angle, tail=0.1) > 0.2


def test_an_engine_tells_zones_apart_by_all_that_they_are():
    crystal, engine, zone = quartz(), Tilt(), protocol.zones(quartz(), SMALL)[0]
    turned = np.array([zone.axes[1], -zone.axes[0], zone.axes[2]])
    others = [{"axes": turned}, {"mistilt": (5e-3, 0.0)}, {"slicing": (1.0, 20)}, {"semi_angle": 2e-3}]
    before = engine.zone_pattern(crystal, zone, SMALL, KEV, None).pattern
    for change in others:
        other = replace(zone, **change)
        again, fresh = (one.zone_pattern(crystal, other, SMALL, KEV, None).pattern for one in (engine, Tilt()))
        assert np.array_equal(again, fresh)
        assert not np.allclose(again, before, rtol=1e-2)
    # A quarter turn of the crystal turns the picture about the direct beam, which is at [N/2, N/2].
    picture = engine.zone_pattern(crystal, replace(zone, axes=turned), SMALL, KEV, None).pattern
    assert picture[1:, 1:] == pytest.approx(np.rot90(before[1:, 1:]), abs=2e-6)


def test_patterns_converge_with_the_number_of_tilts():
    crystal, config = strontium_titanate(), replace(FINE, thickness=100.0)
    zone = protocol.zones(crystal, config)[0]
    many, chosen, few = (
        Tilt(degree=degree).zone_pattern(crystal, zone, config, KEV, None).pattern for degree in (12, None, 2)
    )
    q = radii(config.grid, (config.box, config.box))
    assert scattered(chosen, many, q, zone.semi_angle) < 0.01
    assert scattered(few, many, q, zone.semi_angle) > 0.01


def test_the_hands_of_quartz_differ_as_in_multislice():
    semi_angle, slices = 3.0e-3, 6 * 9
    thickness = RIGHT.cell[2, 2] / 6
    box = (6 * RIGHT.cell[0, 0], 3 * 2 * RIGHT.cell[1, 1])
    grid = 240
    zone = along_c(semi_angle, thickness)
    steps = np.stack(np.meshgrid(np.arange(4), np.arange(6)), axis=-1).reshape(-1, 2) / [4, 6]
    probes = (steps + np.array([3, 1.5])) * [box[0] / 6, box[1] / 3]
    beam = Illumination(KEV, semi_angle, 80.0, probes)
    hands = [
        Multislice().pattern(supercell(crystal, zone, box, thickness, slices), beam, (grid, grid))
        for crystal in (RIGHT, LEFT)
    ]
    expected = scattered(*hands, radii(grid, box), semi_angle)
    config = SimulationConfig(grid=grid, box=box[0], thickness=slices * thickness, displacement=0.0)
    ours = [Tilt().zone_pattern(crystal, zone, config, KEV, None).pattern for crystal in (RIGHT, LEFT)]
    contrast = scattered(*ours, radii(grid, (box[0],) * 2), semi_angle)
    assert expected > 0.03
    assert contrast == pytest.approx(expected, rel=0.1)


def log_coded(pattern):
    return np.clip(10.0 * (np.maximum(-17.0, np.log(np.maximum(pattern, 1e-30))) + 17.0), 0.0, 255.0)


@pytest.mark.slow
def test_thermal_averages_are_those_of_frozen_phonons():
    crystal = quartz()
    config = replace(FINE, displacement=0.07)
    zone = protocol.zones(crystal, config)[1]
    rng = np.random.default_rng(1)
    slab = protocol.cut_slab(crystal, zone, config)
    total = np.zeros((config.grid, config.grid))
    for _ in range(12):
        beam = Illumination(
            KEV, zone.semi_angle, config.aperture_edge, config.box / 2 + rng.uniform(-6, 6, size=(2, 2))
        )
        total += Multislice().pattern(protocol.displaced(slab, 0.07, rng), beam, total.shape) / 12
    q = radii(config.grid, (config.box, config.box))
    seen = q < 1.5
    differences = {
        thermal: float(np.abs(log_coded(total) - log_coded(pattern))[seen].sum() / log_coded(total)[seen].sum())
        for thermal in ("none", "debye_waller", "einstein")
        for pattern in [Tilt(thermal=thermal).zone_pattern(crystal, zone, config, KEV, None).pattern]
    }
    assert differences["einstein"] < 0.15
    assert differences["einstein"] < 0.4 * min(differences["none"], differences["debye_waller"])


def test_what_is_absorbed_comes_back_as_a_diffuse_background():
    crystal, config = strontium_titanate(), replace(FINE, displacement=0.07)
    zone = protocol.zones(crystal, config)[0]
    none, smeared, einstein = (
        Tilt(thermal=thermal).zone_pattern(crystal, zone, config, KEV, None).pattern.sum()
        for thermal in ("none", "debye_waller", "einstein")
    )
    assert none == pytest.approx(1.0, abs=0.02)
    assert smeared == pytest.approx(1.0, abs=0.01)
    assert 0.95 < einstein < 1.0  # the rest lies beyond the picture


SMALL = SimulationConfig(grid=64, box=20.0, pixels=32, thickness=30.0)


@pytest.mark.parametrize("thermal", ["none", "debye_waller", "einstein"])
def test_what_is_left_to_multislice_has_the_thermal_motion_asked_for(thermal):
    left = [simulate(quartz(), SMALL, Tilt(max_points=0, thermal=thermal), KEV, seed) for seed in (1, 2)]
    assert np.array_equal(left[0].patterns, simulate(quartz(), SMALL, Multislice(thermal=thermal), KEV).patterns)
    assert np.array_equal(left[0].patterns, left[1].patterns)  # no displaced atoms, hence no speckle that tells cells


def test_what_is_too_large_is_left_to_multislice():
    assert simulate(quartz(), SMALL, Tilt(max_points=0), KEV).fallback.all()
    assert not simulate(quartz(), SMALL, Tilt(), KEV).fallback.any()
    some = simulate(quartz(), SMALL, Tilt(max_points=1_000), KEV)
    assert some.extra(quartz())["fallback"].tolist() == some.fallback.tolist()
    thick = replace(SMALL, thickness=3_000.0)  # asks for more tilts than polynomials can be trusted with
    for degree in (None, 2):
        assert Tilt(degree=degree).leaves(silicon(), protocol.zones(silicon(), thick)[0], thick, KEV)


def test_energies_in_any_order_give_the_same_values():
    engine = Tilt()
    first = simulate(quartz(), SMALL, engine, 100.0).patterns
    simulate(silicon(), SMALL, engine, 100.0)
    high = simulate(quartz(), SMALL, engine, 190.0).patterns
    assert np.array_equal(simulate(quartz(), SMALL, engine, 100.0).patterns, first)
    assert np.array_equal(simulate(quartz(), SMALL, Tilt(), 190.0).patterns, high)
    assert not np.allclose(first, high, rtol=1e-2)


def test_patterns_do_not_depend_on_the_seed():
    assert np.array_equal(
        simulate(quartz(), SMALL, Tilt(), KEV, 1).patterns, simulate(quartz(), SMALL, Tilt(), KEV, 2).patterns
    )


def test_the_schema_builds_the_engine():
    engine = build(TiltEngine(thermal="none"))
    assert isinstance(engine, Tilt)
    assert engine.q_max((64, 64), (16.0, 16.0)) == build(MultisliceEngine()).q_max((64, 64), (16.0, 16.0))


@pytest.mark.parametrize("degree", [2, 3, 6, 7, 12, 20])
def test_polynomials_are_fitted_without_loss(degree):
    points = disks.tilts(degree)
    assert len(points) == (degree + 1) * (degree + 2) // 2
    assert np.hypot(*points.T).max() <= 1.0
    x, y = points.T
    values = np.exp(1j * (0.3 * x - 0.2 * y))
    coefficients = disks.fit_matrix(degree) @ values
    fx, fy = (disks.chebyshev(np.array([part]), degree)[0] for part in (0.4, -0.5))
    exact = np.exp(1j * (0.3 * 0.4 + 0.2 * 0.5))
    assert abs(fy @ coefficients @ fx - exact) < max(1e-7, 0.36 ** (degree + 1))


def test_grids_have_fast_sizes():
    assert [fast_size(n) for n in (1.0, 2.0, 7.0, 13.0, 31.0)] == [2, 2, 8, 16, 32]


def test_a_forecast_is_measured_on_the_crystals_with_the_engine():
    crystals = [quartz(), silicon(), strontium_titanate()]
    found = forecast(crystals, SMALL, Tilt(max_points=0))
    assert found.fallback == 1.0
    assert found.seconds > 0.0
    assert forecast(crystals, SMALL, Tilt()).fallback == 0.0
    assert forecast([diamond()], SMALL, Tilt()) is None
