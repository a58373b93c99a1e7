import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from scipy.optimize import minimize

from sgexp.errors import ConfigError, DataError
from sgexp.simulation import protocol
from sgexp.simulation.physics import wavelength
from sgexp.simulation.schema import SimulationConfig

from .crystals import diamond, quartz, silicon, strontium_titanate, triclinic

ALL = (silicon, strontium_titanate, quartz, triclinic)


@pytest.mark.parametrize("make", ALL)
def test_powder_pattern_is_pymatgens(make):
    crystal = make()
    theirs = XRDCalculator().get_pattern(Structure(crystal.cell, crystal.numbers, crystal.positions), scaled=False)
    ours = protocol.powder_pattern(crystal)
    order = np.argsort(theirs.y)[::-1][:8]
    for rank, index in enumerate(order):
        line = int(np.argmin(np.abs(ours.d - theirs.d_hkls[index])))
        assert ours.d[line] == pytest.approx(theirs.d_hkls[index], rel=1e-4)
        # pymatgen's form factors are another fit to the same calculations
        assert ours.intensity[line] / ours.intensity[0] == pytest.approx(theirs.y[index] / theirs.y.max(), abs=0.03)
        assert rank > 2 or line == rank


def test_equal_reflections_are_one_line_named_by_their_strongest_member():
    lines = protocol.powder_pattern(silicon())
    assert lines.hkl[:3].tolist() == [[1, 1, 1], [2, 2, 0], [3, 1, 1]]
    hkl = protocol.powder_pattern(quartz()).hkl[0]  # 101 and 011 share a spacing but not a structure factor
    weak = np.array([[hkl[0], hkl[1], -hkl[2]]])
    inverse_d = np.full(1, 1.0 / protocol.powder_pattern(quartz()).d[0])
    strong_f, weak_f = (abs(protocol.structure_factors(quartz(), h, inverse_d))[0] for h in (hkl[None], weak))
    assert strong_f > 1.2 * weak_f


def test_three_zones_with_the_semi_angle_of_the_reference_energy():
    zones = protocol.zones(silicon(), SimulationConfig())
    assert len(zones) == 3
    for zone in zones:
        assert zone.semi_angle == pytest.approx(0.5 * wavelength(100.0) / (2 * zone.d))
        assert zone.axes @ zone.axes.T == pytest.approx(np.eye(3))
        assert np.linalg.det(zone.axes) == pytest.approx(1.0)
        assert np.cross(np.array(zone.uvw) @ silicon().cell, zone.axes[2]) == pytest.approx(np.zeros(3), abs=1e-9)
        assert np.array(zone.y_dir) @ silicon().cell @ zone.axes[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("uvw", [(2, 2, 0), (3, 1, 1), (1, 0, 0), (1, -1, 1)])
def test_in_plane_direction_is_what_namsa_minimises_to(uvw):
    vector = np.array(uvw)
    found = minimize(lambda y: np.abs(vector @ y), np.array([-1.0, 1.0, -1.0]), method="CG").x
    expected = np.array([1.0, 0.0, 0.0]) if np.abs(found).sum() < 1e-4 else found
    assert protocol.in_plane_direction(vector) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("make", ALL)
def test_slab_holds_exactly_the_atoms_inside_the_box(make):
    crystal = make()
    size = np.array([21.0, 17.0, 30.0])
    axes = protocol.zones(crystal, SimulationConfig())[1].axes
    numbers, positions = protocol.atoms_in_box(crystal, axes, size)
    n = np.arange(-16, 17)
    shifts = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 1, 3)
    every = ((crystal.positions + shifts).reshape(-1, 3) @ crystal.cell) @ axes.T
    inside = ((every >= -1e-6) & (every < size - 1e-6)).all(axis=1)
    assert len(positions) == inside.sum()
    assert np.sort(np.round(positions, 5), axis=0) == pytest.approx(
        np.sort(np.round(every[inside], 5), axis=0), abs=2e-5
    )
    expected = np.tile(crystal.numbers, len(shifts))[inside]
    assert np.bincount(numbers).tolist() == np.bincount(expected).tolist()


def test_slab_is_whole_slices_of_d_and_thick_slices_are_split_evenly():
    config = SimulationConfig(max_slice=1.0)
    zone = protocol.zones(silicon(), config)[0]
    coarse, fine = (protocol.cut_slab(silicon(), zone, c) for c in (SimulationConfig(), config))
    assert coarse.slice_thickness == pytest.approx(zone.d)
    assert coarse.slices == int(100.0 / zone.d)
    assert fine.slice_thickness <= 1.0
    assert fine.thickness == pytest.approx(coarse.thickness)


def test_probes_stand_in_the_middle_half_of_the_box():
    assert protocol.probe_positions(1, (40.0, 40.0)).tolist() == [[20.0, 20.0]]
    probes = protocol.probe_positions(64, (40.0, 40.0))
    assert probes.shape == (64, 2)
    assert (probes.min(), probes.max()) == (10.0, 30.0)
    assert len(protocol.probe_positions(6, (40.0, 40.0))) == 6


def test_repeat_along_the_beam_knows_the_centring():
    assert protocol.beam_repeat(silicon(), (2, 2, 0)) == pytest.approx(5.431 / 2**0.5)
    assert protocol.beam_repeat(silicon(), (0, 0, 1)) == pytest.approx(5.431)
    assert protocol.beam_repeat(strontium_titanate(), (1, 1, 0)) == pytest.approx(3.905 * 2**0.5)


def test_first_holz_ring_lies_on_the_ewald_sphere():
    k, repeat = 1.0 / wavelength(100.0), 5.431
    radius = protocol.holz_radius(repeat, 100.0)
    assert k - np.sqrt(k**2 - radius**2) == pytest.approx(1.0 / repeat)


def test_sampling_coarser_than_0_4_angstrom_is_refused():
    with pytest.raises(ConfigError, match=r"0\.625 Å a pixel.*size\.grid to 126 or more"):
        protocol.check_sampling(SimulationConfig(grid=80, box=50.0))
    protocol.check_sampling(SimulationConfig(grid=126, box=50.0))


def test_more_stored_pixels_than_simulated_are_refused():
    with pytest.raises(ConfigError, match=r"pixels=256"):
        protocol.check_sampling(SimulationConfig(pixels=256))


def test_crystals_that_the_protocol_cannot_do_are_refused_by_name():
    with pytest.raises(DataError, match="diamond: only 2 X-ray reflections"):
        protocol.zones(diamond(), SimulationConfig())
    with pytest.raises(DataError, match="Si: its cell edge"):
        protocol.zones(silicon(), SimulationConfig(max_cell_edge=5.0))


def test_beam_directions_can_be_given():
    config = SimulationConfig(uvw=[[0, 0, 1], [1, 1, 0], [1, 1, 1]])
    found = protocol.zones(silicon(), config)
    assert [zone.uvw for zone in found] == [(0, 0, 1), (1, 1, 0), (1, 1, 1)]
    assert [zone.d for zone in found] == pytest.approx([5.431, 5.431 / 2**0.5, 5.431 / 3**0.5])
    # A direction that is also the strongest reflection's is the zone that the protocol would have chosen.
    (chosen,) = [zone for zone in protocol.zones(silicon(), SimulationConfig()) if zone.uvw == (1, 1, 1)]
    assert chosen.d == pytest.approx(found[2].d) and chosen.semi_angle == pytest.approx(found[2].semi_angle)
    assert chosen.axes == pytest.approx(found[2].axes)
