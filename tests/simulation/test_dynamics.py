"""Laws that electron diffraction obeys in any crystal: two beams, reciprocity, symmetry, extinction, convergence."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import constants

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.library import load_library
from sgexp.crystallography.symmetry import dataset
from sgexp.simulation import protocol
from sgexp.simulation.cells import ZoneCell, periodic_cell, zone_cell
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.potential import form_factor
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.tilt import Slices, cut, make_grid

from .crystals import quartz, strontium_titanate, triclinic
from .plane_waves import KEV, along, at, intensities


def cell_of(crystal, uvw=(0, 0, 1)):
    zone = along(uvw, crystal)
    found = periodic_cell(zone_cell(crystal, zone.uvw, zone.axes), 12)
    assert found is not None
    return found


@pytest.mark.parametrize("off_bragg", [0.0, 1.0, 2.5])
def test_two_beams_make_the_fringes_of_the_closed_form(off_bragg):
    """Hirsch et al., Electron Microscopy of Thin Crystals: sin^2(pi t s_eff) / (xi s_eff)^2, s_eff^2 = 1/xi^2 + s^2.

    Hydrogen in so small a cell (no crystal has it) that all other beams are far from their Bragg angles.
    """
    a, lam = 0.2, wavelength(KEV)
    cell = ZoneCell(np.eye(2) * a, np.zeros(2), a, np.array([1]), np.zeros((1, 3)), 1)
    grid = make_grid(cell, 1, 20.0)
    g = 1 / a
    gamma = 1 + 1e3 * KEV * constants.e / (constants.electron_mass * constants.c**2)
    xi = np.pi * a**3 / (gamma * lam * float(form_factor(1, np.array([g**2]))[0]))  # pi V / (lambda gamma f)
    assert lam * g**2 * xi > 200  # the others' excitation error, in units of 1/xi
    s = off_bragg / xi
    kx = -g / 2 + s / (lam * g)  # |k + g|^2 - |k|^2 = 2 s / lambda
    for thickness in xi * np.array([0.25, 0.5, 0.9, 1.3, 2.0]):
        slices = cut(cell, grid, float(thickness), a)
        found, beams = intensities(grid, slices, [kx, 0.0])
        depth = float(slices.thickness.sum())
        s_eff = np.hypot(1 / xi, s)
        expected = (np.sin(np.pi * depth * s_eff) / (xi * s_eff)) ** 2
        assert found[0, at(beams, [g, 0.0])] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("make", [strontium_titanate, quartz])
def test_source_and_detector_can_be_exchanged(make):
    """Reciprocity: k to k + G through the slab is -(k + G) to -k through the slab turned over."""
    cell = cell_of(make())
    grid = replace(make_grid(cell, 1, 4.0), limit=2.0)  # so that no product of waves leaves the grid
    slices = cut(cell, grid, 3.4 * cell.repeat, 0.9)
    turned = Slices(slices.phases, None, slices.order[::-1].copy(), slices.thickness[::-1].copy())
    k = np.array([0.031, -0.017])
    forward, beams = intensities(grid, slices, k)
    strong = np.argsort(-forward[0])[:12]
    for index in strong:
        back, _ = intensities(grid, turned, -(k + beams[index]))
        assert back[0, index] == pytest.approx(forward[0, index], rel=2e-3, abs=1e-6)
    assert forward[0, strong[-1]] > 1e-5


SYMMETRIC = (3, 6, 10, 16, 25, 47, 75, 81, 83, 89, 99, 111, 123, 143, 147, 149, 156, 162, 168, 174, 177, 183, 187, 191,
             195, 200, 207, 215, 221)  # fmt: skip


def point_symmetry(crystal):
    """Rotations (Cartesian 2 x 2) that keep [001] and shift nothing along it, and other rotations of the lattice."""
    found = dataset(crystal.cell, crystal.positions, crystal.numbers, 1e-3)
    axes = along((0, 0, 1), crystal).axes
    to_xy = axes @ crystal.cell.T  # fractional columns to x, y, z
    kept = []
    for rotation, translation in zip(found.rotations, found.translations, strict=True):
        cartesian = to_xy @ rotation @ np.linalg.inv(to_xy)
        shift = to_xy @ (translation - np.round(translation))
        if np.allclose(cartesian[2], [0, 0, 1], atol=1e-6) and abs(shift[2]) < 1e-4:
            kept.append(cartesian[:2, :2])
    return kept


def test_a_pattern_has_the_point_symmetry_of_its_zone_and_no_more():
    """Along [001] of one crystal of each group without screws or glides along it: all rotations and mirrors that keep
    the beam are symmetries of the whole pattern (Buxton et al. 1976, Phil. Trans. R. Soc. A 281, 171), others not."""
    seen, broken, compared = 0, 0, 0
    by_group = {}
    for crystal in load_library(copies=False, edition=1):
        if len(crystal) <= 16 and crystal.space_group in SYMMETRIC:
            by_group.setdefault(crystal.space_group, crystal)
    for crystal in by_group.values():
        zone = along((0, 0, 1), crystal)
        cell = periodic_cell(zone_cell(crystal, zone.uvw, zone.axes), 12)
        if cell is None or cell.area > 60:
            continue
        compared += 1
        grid = make_grid(cell, 1, 2.0)
        slices = cut(cell, grid, 5 * cell.repeat, 0.8)  # whole repeats
        k = np.array([0.043, 0.019])
        own = point_symmetry(crystal)
        reference, beams = intensities(grid, slices, k)
        bright = np.flatnonzero((reference[0] > 1e-6) & (np.hypot(*beams.T) > 0))
        possible = [np.array([[c, -s], [s, c]]) @ np.diag([1, mirror]) for mirror in (1, -1)
                    for n in range(12) for c, s in [(np.cos(n * np.pi / 6), np.sin(n * np.pi / 6))]]  # fmt: skip
        for operation in possible:
            images = beams[bright] @ operation.T
            if np.linalg.norm(beams[None] - images[:, None], axis=2).min(axis=1).max() > 1e-4:
                continue  # no symmetry of the lattice
            turned, _ = intensities(grid, slices, operation @ k)
            places = [int(np.linalg.norm(beams - image, axis=1).argmin()) for image in images]
            r1 = np.abs(turned[0, places] - reference[0, bright]).sum() / reference[0, bright].sum()
            if any(np.allclose(operation, one, atol=1e-4) for one in own):
                assert r1 < 1e-3, (crystal.name, crystal.space_group, operation.round(2))
                seen += not np.allclose(operation, np.eye(2))
            else:
                assert r1 > 4e-3, (crystal.name, crystal.space_group, operation.round(2))
                broken += 1
    assert compared >= 19 and seen >= 30 and broken >= 10


def test_a_glide_plane_leaves_dark_lines_in_a_reflection_that_double_diffraction_lights():
    """Gjonnes and Moodie (1965), Acta Cryst. 19, 65: (0k0), k odd, of P4/mbm along [001] is dark where k_x = 0."""
    crystal = next(one for one in load_library(copies=False, edition=1) if one.name == "A2B3_tP10_127_g_ah")
    cell = cell_of(crystal)
    grid = make_grid(cell, 1, 3.0)
    slices = cut(cell, grid, 60 * cell.repeat, 1.0)
    a = np.linalg.norm(crystal.cell[0])
    line = np.array([[0.0, y] for y in (-0.1, 0.0, 0.07)])
    on, beams = intensities(grid, slices, line)
    beside, _ = intensities(grid, slices, line + np.array([0.03, 0.0]))
    for order in (1, 3):
        index = at(beams, [0.0, order / a])
        assert on[:, index].max() < 1e-8
        assert beside[:, index].max() > 1e-5
    assert on[:, at(beams, [0.0, 2 / a])].max() > 1e-4  # what is allowed is there


def test_the_hand_shows_where_it_must_and_not_where_it_must_not():
    """A crystal and its mirror image are equal where a mirror plane of the crystal holds the beam; quartz has none."""
    contrast = {}
    for make, mirror in ((strontium_titanate, np.diag([-1.0, 1.0])), (quartz, np.diag([1.0, -1.0]))):
        crystal = make()
        image = Crystal.from_arrays(
            crystal.cell * [*np.diag(mirror), 1.0], crystal.numbers, crystal.positions, name="image"
        )
        first, second = (cell_of(one) for one in (crystal, image))
        k = np.array([0.021, 0.034])
        patterns = []
        for cell in (first, second):
            grid = make_grid(cell, 1, 2.0)
            patterns.append(intensities(grid, cut(cell, grid, 9 * cell.repeat, 0.7), k))
        (one, beams), (other, others) = patterns
        places = [int(np.linalg.norm(others - beam, axis=1).argmin()) for beam in beams]
        contrast[make.__name__] = np.abs(other[0, places] - one[0]).sum() / (1 - one[0, at(beams, [0, 0])])
    assert contrast["strontium_titanate"] < 1e-4
    assert contrast["quartz"] > 0.03


SOFT = SimulationConfig(grid=192, box=24.0, pixels=192, thickness=60.0, aperture_edge=20.0, displacement=0.0)


def pattern(crystal, config, probe=(0.4, 0.1)):
    zone = protocol.zones(crystal, config)[0]
    slab = protocol.cut_slab(crystal, zone, config)
    places = np.array([[config.box / 2 + probe[0], config.box / 2 + probe[1]]])
    beam = Illumination(KEV, zone.semi_angle, config.aperture_edge, places)
    return Multislice().pattern(slab, beam, (config.grid, config.grid))


def difference(first, second):
    return float(np.abs(first - second).sum() / second.sum())


def test_patterns_converge_as_slices_grow_thin():
    crystal = triclinic()
    made = {most: pattern(crystal, replace(SOFT, max_slice=most)) for most in (2.0, 1.0, 0.5, 0.25)}
    errors = [difference(made[most], made[0.25]) for most in (2.0, 1.0, 0.5)]
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.03


def test_patterns_converge_as_the_sampling_grows_fine():
    crystal = strontium_titanate()
    config = replace(SOFT, max_slice=1.0)
    made = {grid: pattern(crystal, replace(config, grid=grid, pixels=grid)) for grid in (96, 192, 384)}
    middle = {grid: one[grid // 2 - 40 : grid // 2 + 41, grid // 2 - 40 : grid // 2 + 41] for grid, one in made.items()}
    errors = [difference(middle[grid], middle[384]) for grid in (96, 192)]
    assert errors[1] < 0.3 * errors[0] and errors[1] < 0.03


def test_patterns_converge_as_the_box_grows():
    """A probe in the middle does not notice the box: where boxes share a frequency, it has one intensity per area."""
    crystal, a = strontium_titanate(), 3.905  # whole cells, so that the atoms about the probe are the same
    zone = replace(along((0, 0, 1), crystal), d=a / 2)
    made = {}
    for cells in (4, 8, 16):
        config = replace(SOFT, grid=16 * cells, box=cells * a)
        slab = protocol.cut_slab(crystal, zone, config)
        beam = Illumination(KEV, 8e-3, config.aperture_edge, np.array([[config.box / 2] * 2]))
        whole = Multislice().pattern(slab, beam, (config.grid, config.grid)) * cells**2  # per area in q
        middle, step = config.grid // 2, cells // 4
        shared = slice(middle - 24 * step, middle + 24 * step + 1, step)
        made[cells] = whole[shared, shared]
    errors = [difference(made[cells], made[16]) for cells in (4, 8)]
    assert errors[1] < 0.2 * errors[0] and errors[1] < 0.05
