"""Laws of diffraction where the slab has no period across the beam: the fast engine's third coordinate.

The mean over that coordinate is one over terminations, so that what turns the slab over is a symmetry at any thickness.
"""

from dataclasses import replace

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.symmetry import dataset
from sgexp.simulation.cells import periodic_cell, zone_cell
from sgexp.simulation.tilt import Slices, amplitudes, cut, make_grid

from .crystals import quartz, triclinic
from .plane_waves import KEV, along, at, intensities

K = np.array([0.031, -0.017])
BETA = np.radians(103.0)
CELL = np.array([[5.3, 0.0, 0.0], [0.0, 4.7, 0.0], [6.1 * np.cos(BETA), 0.0, 6.1 * np.sin(BETA)]])
SITES = {"Sr": [0.13, 0.21, 0.08], "Ti": [0.42, 0.37, 0.66], "O": [0.71, 0.12, 0.37]}
MIRROR, AXIS, CENTRE = np.diag([1, -1, 1]), np.diag([-1, 1, -1]), -np.eye(3)
GROUPS = {"P1": (1, []), "P-1": (2, [CENTRE]), "P2": (3, [AXIS]), "Pm": (6, [MIRROR]),
          "P2/m": (10, [CENTRE, AXIS, MIRROR])}  # fmt: skip


def monoclinic(operations, glide=(0.0, 0.0, 0.0), sites=SITES):
    """The same three atoms in general positions of a group on one monoclinic lattice, b unique."""
    moved = [(np.eye(3), np.zeros(3)), *((operation, np.array(glide)) for operation in operations)]
    pairs = [(element, site @ operation.T + shift) for element, site in sites.items() for operation, shift in moved]
    numbers, places = zip(*pairs, strict=True)
    return Crystal.from_arrays(CELL, numbers, np.array(places), name="monoclinic")


def without_period(crystal, uvw=(1, 0, 1), limit=2.0, reach=0.25, axes=None):
    """The cell and plane waves of a zone that has no period across the beam."""
    cell = zone_cell(crystal, uvw, along(uvw, crystal).axes if axes is None else axes)
    layers = 2 * int(np.ceil(reach * cell.repeat)) + 1
    assert not cell.periodic and periodic_cell(cell, layers) is None
    return cell, make_grid(cell, layers, limit)


def slab_of(cell, grid, depth=30.0):
    """Whole slices."""
    step = float(cut(cell, grid, 5.0, 0.8).thickness[0])
    return cut(cell, grid, round(depth / step) * step, 0.8)


def laue_zones(grid):
    """The number of the Laue zone of each beam, in the order of ``intensities``."""
    numbers = np.fft.fftfreq(grid.shape[0], 1.0 / grid.shape[0])[:, None, None]
    return np.broadcast_to(numbers, grid.shape).ravel()[np.hypot(*grid.beams.reshape(-1, 2).T) < 0.8 * grid.limit]


def exchanged(grid, slices, k, which, turn, back):
    """R1 between beams ``which`` from ``k`` and, for each, beam ``back(G)`` from the incident beam ``turn(k, G)``."""
    forward, beams = intensities(grid, slices, k)
    found = []
    for index in which(forward[0], beams):
        other, _ = intensities(grid, slices, turn(k, beams[index]))
        found.append((forward[0, index], other[0, at(beams, back(beams[index]))]))
    one, two = np.array(found).T
    return np.abs(one - two).sum() / one.sum()


def strongest(count):
    """The strongest beams but the direct one."""
    return lambda values, beams: np.argsort(-values * (np.hypot(*beams.T) > 1e-6))[:count]


def across(vector):
    """x, y as seen by a mirror plane that holds x and the beam."""
    return np.array([vector[0], -vector[1]])


# What an incident beam k and a beam G become. A twofold axis along y and a centre take a beam to one from below, which
# reciprocity makes one from above: from k + G, turned over, to k (Buxton et al. 1976, Phil. Trans. A 281, 171).
LAWS = {
    "mirror": (lambda k, g: across(k), across),
    "axis": (lambda k, g: across(k + g), lambda g: -across(g)),
    "centre": (lambda k, g: k + g, lambda g: -g),
}
HOLD = {"P1": [], "P-1": ["centre"], "P2": ["axis"], "Pm": ["mirror"], "P2/m": list(LAWS)}


@pytest.mark.parametrize("group", HOLD)
def test_a_pattern_has_the_symmetry_of_its_group_and_no_more(group):
    """Beam along [101], which the mirror plane holds and the twofold axis crosses."""
    number, operations = GROUPS[group]
    crystal = monoclinic(operations)
    assert dataset(crystal.cell, crystal.positions, crystal.numbers, 1e-3).number == number
    cell, grid = without_period(crystal)
    slices = slab_of(cell, grid)
    for law, (turn, back) in LAWS.items():
        r1 = exchanged(grid, slices, K, strongest(16), turn, back)
        assert (r1 < 0.005) if law in HOLD[group] else (r1 > 0.1), (law, r1)


@pytest.mark.parametrize(("make", "uvw"), [(quartz, (1, 0, 1)), (triclinic, (1, 0, 1))])
def test_source_and_detector_can_be_exchanged(make, uvw):
    """Reciprocity: k to k + G through the slab is -(k + G) to -k through the slab turned over."""
    cell, grid = without_period(make(), uvw, limit=4.0)
    grid = replace(grid, limit=2.0)
    slices = slab_of(cell, grid)
    turned = Slices(slices.phases, None, slices.order[::-1].copy(), slices.thickness[::-1].copy())
    forward, beams = intensities(grid, slices, K)
    layers = laue_zones(grid)
    zolz, holz = (np.where(some, forward[0], 0.0).argsort()[::-1][:6] for some in (layers == 0, layers != 0))
    # Exact where the numbers of Laue zones go round the same way in both; else the last zones that are followed leak.
    for index, within in [*((one, 1e-4) for one in zolz), *((one, 0.03) for one in holz)]:
        back, _ = intensities(grid, turned, -(K + beams[index]))
        assert back[0, index] == pytest.approx(forward[0, index], rel=within)
    assert forward[0, zolz[-1]] > 1e-3 and forward[0, holz[0]] > 1e-5


@pytest.mark.parametrize(("make", "uvw"), [(quartz, (1, 0, 1)), (triclinic, (1, 0, 1))])
def test_no_electron_is_lost_or_won(make, uvw):
    cell, grid = without_period(make(), uvw)
    slices = slab_of(cell, grid, 100.0)
    waves, absorbed = amplitudes(replace(grid, limit=np.inf), slices, KEV, np.array([K, -3 * K]))
    assert waves.abs().square().double().sum(dim=1).numpy() == pytest.approx(1.0, abs=1e-4)
    assert absorbed == 0.0


def test_a_glide_plane_leaves_dark_lines_in_a_reflection_that_double_diffraction_lights():
    """Pc, the beam in its plane: h0l, l odd, are dark where k lies in the plane (Gjonnes and Moodie 1965, Acta Cryst.
    19, 65)."""
    crystal = monoclinic([MIRROR], glide=(0.0, 0.0, 0.5))
    assert dataset(crystal.cell, crystal.positions, crystal.numbers, 1e-3).number == 7
    cell, grid = without_period(crystal)
    slices = slab_of(cell, grid, 100.0)
    line = np.array([[0.05, 0.0], [-0.021, 0.0]])
    on, beams = intensities(grid, slices, line)
    beside, _ = intensities(grid, slices, line + np.array([0.0, 0.1]))
    first = 1.0 / abs(crystal.cell[2] @ along((1, 0, 1), crystal).axes[0])  # of -1 0 1, which c projects to
    for order in (1, 3):
        index = at(beams, [order * first, 0.0])
        assert on[:, index].max() < 1e-8
        assert beside[:, index].max() > 1e-5
    assert on[:, at(beams, [2 * first, 0.0])].max() > 1e-4  # what is allowed is there


def test_the_hand_shows_where_it_must_and_not_where_it_must_not():
    """A crystal and its image in a mirror plane that holds the beam and keeps the lattice: quartz has no such plane."""
    contrast = {}
    for name, crystal, uvw, mirror in (
        ("Pm", monoclinic([MIRROR]), (1, 0, 1), [1.0, -1.0, 1.0]),
        ("P2/m", monoclinic(GROUPS["P2/m"][1]), (1, 0, 1), [1.0, -1.0, 1.0]),
        ("quartz", quartz(), (1, 2, 1), [-1.0, 1.0, 1.0]),
    ):
        image = Crystal.from_arrays(crystal.cell * mirror, crystal.numbers, crystal.positions, name="image")
        patterns = []
        for one in (crystal, image):
            cell, grid = without_period(one, uvw, axes=along(uvw, crystal).axes)
            patterns.append(intensities(grid, slab_of(cell, grid), K))
        (first, beams), (second, others) = patterns
        bright = strongest(60)(first[0], beams)
        places = [at(others, beam) for beam in beams[bright]]
        contrast[name] = np.abs(second[0, places] - first[0, bright]).sum() / first[0, bright].sum()
    assert contrast["Pm"] < 1e-4 and contrast["P2/m"] < 1e-4
    assert contrast["quartz"] > 0.03, contrast


@pytest.mark.parametrize(("uvw", "index"), [((1, 1, 1), 3), ((2, 1, 0), 5), ((2, 2, 1), 9)])
def test_a_third_coordinate_of_as_many_points_does_what_a_larger_cell_does(uvw, index):
    """Where a period exists the same beams are found in both ways, those of the first Laue zone's ring included.

    The larger cell has atoms at their heights, the third coordinate as few harmonics as the cell has parts.
    """
    crystal = Crystal.from_arrays(np.eye(3) * 4.1, list(SITES), np.array(list(SITES.values())), name="cubic P1")
    small = zone_cell(crystal, uvw, along(uvw, crystal).axes)
    large = periodic_cell(small, index)
    assert large.index == index and not small.periodic
    grids = [make_grid(cell, layers, 3.6) for cell, layers in ((small, index), (large, 1))]
    (ours, beams), (expected, others) = (
        intensities(grid, cut(cell, grid, 8 * cell.repeat, 0.8), K)
        for cell, grid in zip((small, large), grids, strict=True)
    )
    expected = expected[0, [at(others, beam) for beam in beams]]
    zones = np.abs(laue_zones(grids[0]))
    for which, within in (((zones == 0) & (np.hypot(*beams.T) > 1e-6), 0.05), (zones == 1, 0.12)):
        assert np.abs(ours[0, which] - expected[which]).sum() < within * expected[which].sum()
    assert expected[zones == 1].max() > 1e-3  # the ring is within the beams
