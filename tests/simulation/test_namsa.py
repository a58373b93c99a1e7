"""namsa's pixel snapping and box, against what its source says."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.schema import build
from sgexp.simulation import namsa, protocol
from sgexp.simulation.generation import generate
from sgexp.simulation.multislice import Multislice
from sgexp.simulation.potential import slice_phases
from sgexp.simulation.protocol import Slab
from sgexp.simulation.schema import MultisliceEngine, SimulationConfig
from sgexp.simulation.stack import simulate

from .crystals import quartz, silicon, strontium_titanate

SMALL = SimulationConfig(grid=64, box=20.0, pixels=32, thickness=30.0)
NAMSA = {"placement": "pixel", "extent": True}


def displaced(crystal=None, index=0, seed=0):
    zone = protocol.zones(crystal or quartz(), SMALL)[index]
    slab = protocol.cut_slab(crystal or quartz(), zone, SMALL)
    return protocol.displaced(slab, 0.07, np.random.default_rng(seed))


def test_the_potential_is_a_sum_of_one_atoms_potential_shifted_by_whole_pixels():
    grid, slab = (64, 48), displaced(silicon())
    slab = replace(slab, box=(20.0, 18.0), slices=1, slice_thickness=slab.thickness)
    (ours,) = slice_phases(namsa.on_pixels(slab, grid), grid, 100.0)
    alone = Slab(np.array([14]), np.zeros((1, 3)), slab.box, slab.thickness, 1)
    (atom,) = slice_phases(alone, grid, 100.0)
    expected = np.zeros(grid)
    for x, y in slab.positions[:, :2]:  # namsa: int(x * sampling / dims)
        shift = (int(np.floor(y * grid[0] / slab.box[1])), int(np.floor(x * grid[1] / slab.box[0])))
        expected += np.roll(atom[0].numpy(), shift, axis=(0, 1))
    assert ours[0].numpy() == pytest.approx(expected, abs=1e-4 * expected.max())


def test_atoms_that_stand_on_pixels_stay_there():
    slab = displaced()
    once = namsa.on_pixels(slab, (64, 64))
    assert np.array_equal(once.positions, namsa.on_pixels(once, (64, 64)).positions)
    moved = slab.positions - once.positions
    assert moved[:, :2].min() > -1e-8 and moved[:, :2].max() <= 20.0 / 64
    assert not moved[:, 2].any()


@pytest.mark.parametrize("make", [silicon, quartz, strontium_titanate])
def test_the_box_is_the_extent_of_the_displaced_atoms(make):
    slab = displaced(make())
    boxed = namsa.extent_of_atoms(slab, "x")
    assert boxed.box == pytest.approx(np.ptp(slab.positions[:, :2], axis=0))
    assert boxed.slices == int(np.ptp(slab.positions[:, 2]) / slab.slice_thickness)
    kept = boxed.positions[:, 2]
    assert kept.min() >= 0 and kept.max() < boxed.slices * boxed.slice_thickness
    outside = (slab.positions[:, 2] < 0) | (slab.positions[:, 2] >= boxed.thickness)
    assert len(kept) == len(slab.positions) - outside.sum()


def test_the_scale_is_that_of_each_patterns_own_box(tmp_path):
    crystal = strontium_titanate()
    result = simulate(crystal, SMALL, Multislice(**NAMSA), 100.0)
    assert result.q_pixel.shape == (3, 2) and result.q_max.shape == (3,)
    assert np.all(result.q_pixel > 2 / 20.6) and np.all(result.q_pixel < 2 / 16.0)
    assert result.q_max == pytest.approx(result.q_pixel.min(axis=1) * 32 / 2)
    assert len(np.unique(result.q_pixel)) == 6  # another in every zone, and across and down
    assert isinstance(simulate(crystal, SMALL, Multislice(), 100.0).q_pixel, float)
    config = replace(SMALL, engine=MultisliceEngine(**NAMSA), processes=1)
    made = generate([crystal], tmp_path, config, progress=False)
    with h5py.File(made.folder / made.files[0]) as file:
        (sample,) = file.values()
        assert sample["sgexp"].attrs["q_pixel"].shape == (3, 2)


def test_disks_stand_where_the_recorded_scale_says():
    # Silicon [001], so thin that disks are evenly bright; a box of 24 Å, of which the atoms span 23.04.
    directions = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    config = SimulationConfig(grid=128, pixels=128, box=24.0, thickness=4.0, displacement=0.0, uvw=directions)
    (zone, *_) = protocol.zones(silicon(), config)
    one = Multislice(extent=True).zone_pattern(silicon(), zone, config, 100.0, np.random.default_rng(0))
    q_x, q_y = ((np.arange(128) - 64) / edge for edge in one.box)
    g = zone.axes[:2] @ np.array([2, 2, 0]) / 5.431
    middles = []
    for sign in (1, -1):
        disk = one.pattern * (np.hypot(q_x - sign * g[0], q_y[:, None] - sign * g[1]) < 0.15)
        disk *= disk > 0.3 * disk.max()
        middles.append(np.array([disk.sum(axis=0) @ q_x, disk.sum(axis=1) @ q_y]) / disk.sum())
    assert np.linalg.norm(middles[0] - middles[1]) == pytest.approx(2 * np.linalg.norm(g), rel=0.003)
    assert one.box[0] < 0.97 * config.box  # so that the scale of the settings would have been found out


def test_the_choice_is_smc19_with_these_two():
    compat, plain = (Composer().check([f"simulation={name}"]).simulation for name in ("namsa_compat", "smc19"))
    assert replace(compat, engine=plain.engine) == plain
    assert compat.engine == MultisliceEngine(**NAMSA)
    engine = build(compat.engine)
    assert (engine.placement, engine.extent) == ("pixel", True)
