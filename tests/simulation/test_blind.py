"""What the blind protocol draws, that it is what it says, and that it knows no more of a crystal than its lattice."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.library import load_library
from sgexp.data.formats.smc19 import scan
from sgexp.data.samples import SampleHeader
from sgexp.errors import DataError
from sgexp.simulation import blind, protocol
from sgexp.simulation.blind import low_index
from sgexp.simulation.generation import generate
from sgexp.simulation.multislice import Multislice
from sgexp.simulation.schema import BlindConfig, IdealDetector
from sgexp.simulation.stack import simulate

from .crystals import FCC, quartz, silicon, strontium_titanate, triclinic

CRYSTALS = [silicon(), quartz(), strontium_titanate(), triclinic()]
SMALL = BlindConfig(grid=64, box=20.0, pixels=32, thickness=[50.0, 80.0], max_slice=2.0)
PRIMITIVE_FCC = 2.7 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])


def zones(crystal, seed=1, energy=100.0, **settings):
    return blind.zones(crystal, replace(BlindConfig(), **settings), energy, seed)


def drawn(count=200, crystal=None, **settings):
    return [zone for seed in range(count) for zone in zones(crystal or quartz(), seed, **settings)]


def test_settings_keep_to_their_ranges_and_fill_them():
    found = drawn()
    normals = [np.cos(np.radians(zone.recorded["foil_tilt_degree"])) for zone in found]
    thickness = np.array([protocol.depth(zone, BlindConfig()) for zone in found]) * normals
    steps = np.array([zone.slicing[0] for zone in found])
    assert np.all(steps <= 1.0 + 1e-9)
    assert np.all((thickness > 50 - steps) & (thickness < 1500 + steps))
    assert thickness.min() < 60 and thickness.max() > 1300
    assert np.median(thickness) == pytest.approx(np.sqrt(50 * 1500), rel=0.35)  # even in the logarithm
    off = np.hypot(*np.array([zone.mistilt for zone in found]).T)
    assert off.max() <= 5e-3 and off.max() > 4.8e-3 and np.mean(off**2) == pytest.approx(12.5e-6, rel=0.15)
    assert {round(1e3 * zone.semi_angle, 6) for zone in found} == set(BlindConfig().apertures_mrad)
    turns = np.array([zone.recorded["rotation_rad"] for zone in found])
    assert np.histogram(turns, bins=8, range=(0, 2 * np.pi))[0].min() > 0.5 * len(turns) / 8
    assert max(zone.recorded["foil_tilt_degree"] for zone in found) <= 30.0


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda crystal: crystal.name)
def test_a_zone_is_a_lattice_direction_within_reach_of_one_foil_normal(crystal):
    for seed in range(20):
        chosen = zones(crystal, seed)
        axes = np.array([zone.axes for zone in chosen])
        assert axes @ axes.transpose(0, 2, 1) == pytest.approx(np.stack([np.eye(3)] * 3), abs=1e-12)
        assert np.linalg.det(axes) == pytest.approx(np.ones(3))  # right-handed: a mirror image would swap hands
        beams = axes[:, 2]
        for zone, beam in zip(chosen, beams, strict=True):
            assert np.cross(np.array(zone.uvw) @ crystal.cell, beam) == pytest.approx(np.zeros(3), abs=1e-9)
            assert zone.d == pytest.approx(protocol.beam_repeat(crystal, zone.uvw))
            repeat = zone.d / zone.slicing[0]
            assert repeat == pytest.approx(round(repeat))
            assert zone.y_dir @ crystal.cell == pytest.approx(zone.axes[1])
        # One direction lies as far from the three as is written (three beams in one plane do not tell).
        tilts = np.cos(np.radians([zone.recorded["foil_tilt_degree"] for zone in chosen]))
        if abs(np.linalg.det(beams)) > 1e-3:
            assert np.linalg.norm(np.linalg.solve(beams, tilts)) == pytest.approx(1.0, abs=1e-6)
        assert (beams @ beams.T).min() >= np.cos(np.radians(60.0)) - 1e-9


def test_zones_have_the_shortest_repeats_and_equals_come_once():
    normal = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    chosen = low_index(PRIMITIVE_FCC, normal, 30.0) @ PRIMITIVE_FCC / 2.7
    # Of the fcc lattice's [011], [112] and [013] are within 30 degrees of [123]; [002] is not.
    assert chosen == pytest.approx(np.array([[0, 1, 1], [1, 1, 2], [0, 1, 3]]))
    box = low_index(np.diag([3.0, 4.0, 5.0]), np.array([0.2, 0.1, 1.0]), 90.0)
    assert np.abs(box).tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0]] or np.abs(box).tolist() == np.eye(3).tolist()


def test_the_network_cannot_read_the_answer_off():
    # One lattice, one name, other atoms and other groups: the same zones, angles, thickness, rotation.
    lattice = np.diag([4.0, 4.0, 6.0])
    tetragonal = Crystal.from_arrays(lattice, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], name="x")
    low = Crystal.from_arrays(
        lattice, ["Ga", "O", "Pb"], [[0.1, 0.2, 0.3], [0.45, 0.7, 0.15], [0.8, 0.35, 0.62]], name="x"
    )
    assert tetragonal.space_group == 123 and low.space_group == 1
    for seed in range(5):
        for one, other in zip(zones(tetragonal, seed), zones(low, seed), strict=True):
            assert one.uvw == other.uvw and one.semi_angle == other.semi_angle and one.slicing == other.slicing
            assert np.array_equal(one.axes, other.axes) and one.recorded == other.recorded
    relabelled = replace(low, space_groups=(123, 123, 123), family="another", parent="another")
    assert [zone.uvw for zone in zones(relabelled)] == [zone.uvw for zone in zones(low)]
    assert [zone.uvw for zone in zones(replace(low, name="y"))] != [zone.uvw for zone in zones(low)]


def test_the_centring_is_the_lattices_and_the_setting_of_the_cell_is_nothing():
    conventional = Crystal.from_arrays(np.eye(3) * 5.4, ["Cu"] * 4, FCC, name="Cu")
    primitive = Crystal.from_arrays(PRIMITIVE_FCC, ["Cu"], [[0, 0, 0]], name="Cu")
    for seed in range(5):
        for one, other in zip(zones(conventional, seed), zones(primitive, seed), strict=True):
            assert one.d == pytest.approx(other.d)
            assert one.axes[2] == pytest.approx(other.axes[2])


def test_a_sample_is_named_by_seed_material_and_energy():
    def said(found):
        return [(zone.uvw, zone.slicing, zone.mistilt, zone.semi_angle) for zone in found]

    assert said(zones(quartz())) == said(zones(quartz()))
    for other in (zones(quartz(), seed=2), zones(quartz(), energy=120.0), zones(replace(quartz(), name="other"))):
        assert said(other) != said(zones(quartz()))


def test_directions_can_be_given():
    given = zones(silicon(), uvw=[[0, 0, 2], [1, 1, 0], [2, 2, 2]])
    assert [zone.uvw for zone in given] == [(0, 0, 1), (1, 1, 0), (1, 1, 1)]
    assert [zone.d for zone in given] == pytest.approx([5.431, 5.431 / 2**0.5, 5.431 * 3**0.5])
    assert all(zone.recorded["foil_tilt_degree"] == 0 for zone in given)


def test_a_sample_records_what_nobody_is_told():
    result = simulate(quartz(), SMALL, Multislice(), 100.0)
    extra = result.extra(quartz())
    assert extra["rotation_rad"].shape == (3,) and extra["mistilt_rad"].shape == (3, 2)
    assert extra["foil_tilt_degree"].shape == (3,) and extra["detector"] == "camera"
    assert extra["protocol"] == "blind"
    assert np.isfinite(result.patterns).all() and result.patterns.max() > 0


def test_a_mistilt_is_the_crystal_leant_the_other_way():
    # The beam along z + 6 mrad x, written as a tilt of the beam, and as axes that are turned in the crystal.
    crystal, angle = strontium_titanate(), 6e-3
    config = replace(SMALL, grid=128, box=40.0, pixels=64, displacement=0.0, probes=16, detector=IdealDetector())
    flat = protocol.Zone((0, 0, 1), np.array([0.0, 1.0, 0.0]), 3.905, 4e-3, np.eye(3), (3.905 / 2, 40))
    z = np.array([np.sin(angle), 0.0, np.cos(angle)])
    leant = replace(flat, axes=np.stack([np.cross([0.0, 1.0, 0.0], z), [0.0, 1.0, 0.0], z]))
    rng = np.random.default_rng(0)
    tilted, other, expected = (
        Multislice().zone_pattern(crystal, zone, config, 100.0, rng).pattern
        for zone in (replace(flat, mistilt=(angle, 0.0)), replace(flat, mistilt=(-angle, 0.0)), leant)
    )
    assert np.abs(tilted - expected).sum() < 0.4 * np.abs(other - expected).sum()


def test_too_small_a_cone_is_said():
    with pytest.raises(DataError, match="of the foil normal"):
        zones(quartz(), max_tilt=0.01)


@pytest.mark.parametrize("group", [2, 14, 62, 146, 166, 227])
def test_crystals_of_the_library_have_three_zones(group):
    crystal = next(one for one in load_library() if one.space_group == group)
    for seed in range(3):
        chosen = zones(crystal, seed)
        assert len({zone.uvw for zone in chosen}) == 3


def test_the_choice_composes_and_refuses_what_cannot_be():
    config = Composer().check(["simulation=blind", "size=smc19"]).simulation
    assert isinstance(config, BlindConfig) and len(config.energies_kev) >= config.energies_per_material == 10
    assert "thickness" in replace(SMALL, thickness=[100.0, 50.0]).contradiction("simulation")
    assert "apertures_mrad" in replace(SMALL, apertures_mrad=[]).contradiction("simulation")
    assert "uvw" in replace(SMALL, uvw=[[0, 0, 1]]).contradiction("simulation")
    assert "uvw" in replace(SMALL, uvw=[[0, 0, 1], [0, 0, 0], [1, 1, 1]]).contradiction("simulation")


def test_files_say_what_the_network_is_not_told(tmp_path):
    config = replace(SMALL, processes=1, energies_per_material=2)
    made = generate([silicon(), quartz()], tmp_path, config, progress=False)
    drawn = {}
    for name in made.files:
        assert all(isinstance(header, SampleHeader) for header in scan(made.folder / name))
        with h5py.File(made.folder / name) as file:
            for key, group in file.items():
                energy = float(group.attrs["energy_keV"])
                assert config.energies_kev[int(key.split("_")[2])] == energy
                ours = dict(group["sgexp"].attrs)
                assert ours["protocol"] == "blind" and ours["detector"] == "camera"
                numbers = {
                    "thickness",
                    "mistilt_rad",
                    "rotation_rad",
                    "foil_tilt_degree",
                    "detector_dose",
                    "B",
                    "q_pixel",
                }
                assert all(np.isfinite(ours[name]).all() for name in numbers)
                assert len(set(group.attrs["semi_angles_rad"])) == 1  # one aperture a sample
                drawn[group.attrs["material"], energy] = ours["thickness"]
    assert len(drawn) == 4 and len({tuple(value) for value in drawn.values()}) == 4  # each sample is a foil of its own
