"""Tilts that are equivalent by symmetry are computed once, and only those."""

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation import disks, orbits, tilt
from sgexp.simulation.physics import wavelength
from sgexp.simulation.protocol import Zone
from sgexp.simulation.schema import ProtocolConfig
from sgexp.simulation.tilt import Tilt

from .crystals import quartz, silicon, strontium_titanate, triclinic

KEV = 100.0


def zone_of(crystal, uvw, slices, mistilt=(0.0, 0.0)):
    """A zone ``slices`` Å deep whose x axis lies anyhow."""
    along = np.array(uvw) @ crystal.cell
    along = along / np.linalg.norm(along)
    x = np.cross([0.3, 0.5, 0.8], along)
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(along, x), along])
    return Zone(uvw, axes[1], 2.0, 4e-3, axes, (1.0, slices), mistilt)


def polar():
    """PbTiO3, P4mm."""
    places = [[0, 0, 0], [0.5, 0.5, 0.54], [0.5, 0.5, 0.11], [0.5, 0, 0.62], [0, 0.5, 0.62]]
    return Crystal.from_arrays(np.diag([3.9, 3.9, 4.15]), [82, 22, 8, 8, 8], np.array(places), name="polar")


def glide():
    """A glide across the beam: b/2 with x -> -x."""
    places = [[0.13, 0.1, 0.2], [0.87, 0.6, 0.2], [0.31, 0.33, 0.64], [0.69, 0.83, 0.64]]
    return Crystal.from_arrays(np.diag([4.1, 5.3, 3.7]), [38, 38, 8, 8], np.array(places), name="glide")


CASES = {
    "4mm": (strontium_titanate, (0, 0, 1), 8),
    "Si [111]": (silicon, (1, 1, 1), 6),
    "polar": (polar, (0, 0, 1), 8),
    "polar, one mirror": (polar, (1, 0, 0), 2),
    "glide": (glide, (0, 0, 1), 2),
    "glide along the beam": (glide, (0, 1, 0), 1),
    "a 3-fold screw along the beam": (quartz, (0, 0, 1), 1),
    "order 1": (triclinic, (0, 0, 1), 1),
}


@pytest.fixture
def computed(monkeypatch):
    """Counts of the waves computed in each call of the engine."""
    counts, plain = [], tilt.amplitudes

    def counted(grid, slices, energy, nodes, device="cpu"):
        counts.append(len(nodes))
        return plain(grid, slices, energy, nodes, device)

    monkeypatch.setattr(tilt, "amplitudes", counted)
    return counts


def both(crystal, zone, thermal, monkeypatch):
    config = ProtocolConfig(grid=128, box=20.0, displacement=0.07)
    ours = Tilt(thermal=thermal).zone_pattern(crystal, zone, config, KEV, np.random.default_rng(1)).pattern
    with monkeypatch.context() as patch:
        patch.setattr(orbits, "orbits", lambda operations, degree: None)
        plain = Tilt(thermal=thermal).zone_pattern(crystal, zone, config, KEV, np.random.default_rng(1)).pattern
    return ours, plain


# Both interpolate, from tilts at other places; the absorption of "einstein" is added up in three of them.
@pytest.mark.parametrize(("thermal", "bound"), [("debye_waller", 5e-4), ("einstein", 5e-3)])
@pytest.mark.parametrize("case", CASES)
def test_patterns_are_those_of_all_tilts(case, thermal, bound, computed, monkeypatch):
    make, uvw, order = CASES[case]
    crystal = make()
    ours, plain = both(crystal, zone_of(crystal, uvw, 60), thermal, monkeypatch)
    few, many = computed
    if order == 1:
        assert few == many and np.array_equal(ours, plain)
    else:
        assert few <= 0.75 * many and few < 1.5 * many / order + 4
        assert 0 < np.abs(ours - plain).sum() < bound * plain.sum()


@pytest.mark.parametrize("case", [case for case, (_, _, order) in CASES.items() if order > 1])
def test_amplitudes_by_symmetry_are_those_computed_at_the_same_tilts(case):
    make, uvw, order = CASES[case]
    crystal = make()
    zone = zone_of(crystal, uvw, 60)
    engine, config = Tilt(), ProtocolConfig(grid=128, box=20.0)
    cell, grid = engine.plane_waves(crystal, zone, config)
    operations = orbits.operations(orbits.rotations(crystal), cell, zone.axes, grid.shape)
    assert len(operations) == order
    found = orbits.orbits(operations, 6)
    slices = tilt.cut(cell, grid, 60.0, 1.0)
    radius = disks.disk_radius(zone.semi_angle / wavelength(KEV), config.aperture_edge)
    computed, _ = tilt.amplitudes(grid, slices, KEV, found.nodes * radius)
    near = np.flatnonzero(np.hypot(*grid.beams.reshape(-1, 2).T) < 2.0)
    expected, _ = tilt.amplitudes(grid, slices, KEV, orbits.all_tilts(found.nodes, operations) * radius)
    np.testing.assert_allclose(found.waves(computed, near, grid.shape), expected[:, near], atol=5e-6)
    assert expected.abs().max() > 0.1


def test_a_beam_that_misses_the_zone_has_no_symmetry(computed, monkeypatch):
    crystal = strontium_titanate()
    ours, plain = both(crystal, zone_of(crystal, (0, 0, 1), 40, (1e-3, 0.0)), "einstein", monkeypatch)
    assert computed[0] == computed[1] and np.array_equal(ours, plain)


def test_few_tilts_of_a_fixed_degree_are_all_computed(computed):
    """The default data's six: their patterns are what they were."""
    crystal = strontium_titanate()
    config = ProtocolConfig(grid=128, box=20.0)
    Tilt(degree=2).zone_pattern(crystal, zone_of(crystal, (0, 0, 1), 40), config, KEV, np.random.default_rng(1))
    assert computed == [6]
