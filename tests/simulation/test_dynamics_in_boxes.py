"""Laws of diffraction in the multislice engine: plane waves and probes through boxes of whole cells."""

from dataclasses import replace

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.protocol import Slab

from .crystals import strontium_titanate
from .plane_waves import KEV

A = 5.2
SITES = {"Sr": [0.11, 0.23, 0.1], "Ti": [0.31, 0.08, 0.55], "O": [0.42, 0.27, 0.83]}
FOURFOLD = np.array([[0, -1], [1, 0]])


def fourfold():
    """P4, polar and without mirrors: three atoms in general positions, four times each."""
    turned = [[*np.linalg.matrix_power(FOURFOLD, n) @ site[:2], site[2]] for site in SITES.values() for n in range(4)]
    elements = [element for element in SITES for _ in range(4)]
    return Crystal.from_arrays(np.diag([A, A, 4.6]), elements, np.array(turned), name="P4")


def box_of(crystal, cells=1, repeats=7, slices=6):
    """A slab of whole cells along [001] of a crystal with right angles; ``slices`` a repeat."""
    a, b, c = np.diag(crystal.cell)
    assert np.allclose(crystal.cell, np.diag([a, b, c]))
    steps = np.stack(np.meshgrid(range(cells), range(cells), range(repeats), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    places = ((crystal.positions % 1.0 + 1e-4) + steps).reshape(-1, 3) * [a, b, c]  # none on a slice's face
    numbers = np.tile(crystal.numbers, len(steps))
    return Slab(numbers, places, (cells * a, cells * b), c / slices, repeats * slices)


def turned_over(slab):
    """The same atoms seen from below, x and y kept."""
    places = slab.positions.copy()
    places[:, 2] = slab.thickness - places[:, 2]
    return replace(slab, positions=places)


def plane_wave(slab, k, grid=64):
    """|S_G(k)|^2, G = 0 in the middle: the aperture lets one frequency of the box through, and the beam is tilted."""
    tilt = tuple(np.array(k) * wavelength(KEV))
    beam = Illumination(KEV, 0.1 * wavelength(KEV) / slab.box[0], 1e4, np.zeros((1, 2)), tilt)
    return Multislice().pattern(slab, beam, (grid, grid))


def about_the_middle(picture, operation):
    """The picture's value at R G for each G: without the first row and column, which have no partner."""
    half = picture.shape[0] // 2
    y, x = np.mgrid[1 - half : half, 1 - half : half]
    x, y = np.rint(np.tensordot(operation, np.stack([x, y]), axes=1)).astype(int)
    return picture[y + half, x + half]


def difference(one, two):
    return float(np.abs(one - two).sum() / two.sum())


@pytest.mark.parametrize("make", [strontium_titanate, fourfold])
def test_source_and_detector_can_be_exchanged(make):
    """Reciprocity: k to k + G through the slab is -(k + G) to -k through the slab turned over."""
    slab, k = box_of(make()), np.array([0.031, -0.017])
    forward = plane_wave(slab, k)
    middle = forward.shape[0] // 2
    strong = [np.unravel_index(index, forward.shape) for index in np.argsort(-forward, axis=None)[:8]]
    for row, column in strong:
        g = np.array([column - middle, row - middle]) / slab.box[0]
        back = plane_wave(turned_over(slab), -(k + g))
        assert back[row, column] == pytest.approx(forward[row, column], rel=2e-3)
    assert forward[strong[-1]] > 1e-4


ROTATIONS = [np.linalg.matrix_power(FOURFOLD, n) for n in range(4)]
MIRRORS = [np.diag([1, -1]) @ rotation for rotation in ROTATIONS]


@pytest.mark.parametrize(("make", "mirrors"), [(strontium_titanate, True), (fourfold, False)])
def test_plane_waves_have_the_point_symmetry_of_the_zone_and_no_more(make, mirrors):
    """4mm and 4: what the slab has, S_G(k) to S_RG(Rk), and nothing else."""
    slab, k = box_of(make()), np.array([0.043, 0.019])
    first = about_the_middle(plane_wave(slab, k), np.eye(2))
    for operation in (*ROTATIONS, *MIRRORS):
        r1 = difference(about_the_middle(plane_wave(slab, operation @ k), operation), first)
        if mirrors or np.linalg.det(operation) > 0:
            assert r1 < 1e-3, operation
        else:
            assert r1 > 0.05, operation


@pytest.mark.parametrize(("make", "mirrors"), [(strontium_titanate, True), (fourfold, False)])
def test_a_probe_on_an_axis_gives_a_pattern_with_the_axis(make, mirrors):
    slab = box_of(make(), cells=4, repeats=5)
    beam = Illumination(KEV, 6e-3, 40.0, np.array([slab.box]) / 2.0)
    picture = Multislice().pattern(slab, beam, (144, 144))
    for operation in (*ROTATIONS, *MIRRORS):
        r1 = difference(about_the_middle(picture, operation), about_the_middle(picture, np.eye(2)))
        kept = mirrors or np.linalg.det(operation) > 0
        assert (r1 < 1e-3) if kept else (r1 > 0.05), operation
    aside = replace(beam, positions=beam.positions + 0.7)
    other = Multislice().pattern(slab, aside, (144, 144))
    assert difference(about_the_middle(other, FOURFOLD), about_the_middle(other, np.eye(2))) > 0.01


def test_a_glide_plane_leaves_dark_lines_in_a_reflection_that_double_diffraction_lights():
    """Gjonnes and Moodie (1965), Acta Cryst. 19, 65: h00, h odd, of Pa (b unique) along [001] is dark for k_y = 0."""
    halves = [(element, site) for element, (x, y, z) in SITES.items() for site in ([x, y, z], [x + 0.5, -y, z])]
    numbers, places = zip(*halves, strict=True)
    crystal = Crystal.from_arrays(np.diag([A, A, 4.6]), numbers, np.array(places), name="Pa")
    slab = box_of(crystal, repeats=15)
    on, beside = (plane_wave(slab, k) for k in ([0.05, 0.0], [0.05, 0.06]))
    middle = on.shape[0] // 2
    for order in (1, 3):
        assert on[middle, middle + order] < 3e-7  # single precision
        assert beside[middle, middle + order] > 1e-5
    assert on[middle, middle + 2] > 1e-4  # what is allowed is there


def test_no_electron_is_lost_or_won_by_a_tilted_beam():
    slab = box_of(fourfold(), repeats=20)
    tilt = (0.03 * wavelength(KEV), 0.01 * wavelength(KEV))
    beam = Illumination(KEV, 0.1 * wavelength(KEV) / A, 1e4, np.zeros((1, 2)), tilt)
    (waves,) = Multislice().exit_waves(slab, beam, (64, 64), limited=False)
    assert float(waves.abs().square().double().sum()) == pytest.approx(1.0, abs=1e-4)
