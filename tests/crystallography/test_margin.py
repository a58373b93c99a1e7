"""The margin to higher symmetry is that of closed forms, and jitter keeps group, family and margin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import same_type
from sgexp.crystallography.jitter import CLEAR, jittered
from sgexp.crystallography.library import load_library, symmetry_margins
from sgexp.crystallography.margin import NONE_NEAR, rms, symmetry_margin

EDGE = 4.0


def perovskite(off: float = 0.0, stretch: float = 0.0) -> Crystal:
    """CaTiO3, the cubic one, with Ti moved along c by ``off`` angstrom or the cell stretched by ``1 + stretch``."""
    cell = np.diag([EDGE, EDGE, EDGE * (1.0 + stretch)])
    places = [[0, 0, 0], [0.5, 0.5, 0.5 + off / cell[2, 2]], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Crystal.from_arrays(cell, ["Ca", "Ti", "O", "O", "O"], places, name="perovskite")


@pytest.fixture(scope="module")
def library():
    return {crystal.name: crystal for crystal in load_library()}


@pytest.mark.parametrize("off", [0.02, 0.1, 0.3])
def test_an_atom_off_its_place_is_brought_back_by_the_least_displacement(off):
    crystal = perovskite(off=off)
    assert crystal.space_group == 99
    assert symmetry_margin(crystal) == pytest.approx(off * np.sqrt(1 / 5 - 1 / 25))


@pytest.mark.parametrize("stretch", [0.01, 0.03])
def test_a_stretched_cell_is_brought_back_by_its_strain(stretch):
    crystal = perovskite(stretch=stretch)
    assert crystal.space_group == 123
    assert symmetry_margin(crystal) == pytest.approx(EDGE * stretch / np.sqrt(18), rel=2 * stretch)


def test_a_doubled_cell_falls_back_to_the_single_one():
    """Every second Ca of a row is moved by the same step to the right: half the step each way is the way back."""
    cell = np.diag([2 * EDGE, EDGE, EDGE])
    places = [[0.01, 0, 0], [0.49, 0, 0]]
    pair = Crystal.from_arrays(cell, ["Ca", "Ca"], places, name="pair")
    single = Crystal.from_arrays(np.eye(3) * EDGE, ["Ca"], [[0, 0, 0]], name="one")
    assert (single.space_group, pair.space_group) == (221, 123)
    assert symmetry_margin(pair) == pytest.approx(0.01 * 2 * EDGE)


def test_the_most_symmetric_structure_has_none_near_and_origin_axes_do_not_matter(library):
    assert symmetry_margin(perovskite()) == NONE_NEAR
    crystal = perovskite(off=0.1)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned *= np.sign(np.linalg.det(turned))
    moved = replace(
        crystal, cell=crystal.cell @ turned, positions=(crystal.positions + np.array([0.3, 0.1, 0.7])) % 1.0
    )
    assert symmetry_margin(moved) == pytest.approx(symmetry_margin(crystal))


def test_stored_margins_are_those_found_and_none_raises_at_its_own_labels(library):
    stored = symmetry_margins()
    assert stored.keys() == library.keys()
    for crystal in [c for c in library.values() if len(c) <= 40][::60]:
        assert symmetry_margin(crystal) == pytest.approx(stored[crystal.name], abs=1e-3), crystal.name
    # A crystal whose group changes between 0.01 and 0.1 angstrom has a supergroup at hand.
    loose = [c for c in library.values() if c.space_groups[1] != c.space_groups[2]]
    assert np.mean([stored[c.name] < 0.1 for c in loose]) > 0.9


@pytest.mark.parametrize("name", ["A2B_hP9_152_c_a", "AB2_cP12_205_a_c", "ABC3_oP20_62_c_c_cd", "AB_hP4_186_b_b"])
def test_jitter_keeps_the_group_moves_what_is_free_and_by_as_much_as_asked(library, name):
    crystal = library[name]
    child = jittered(crystal, 0.06, np.random.default_rng(3))
    assert child.space_groups[:2] == (crystal.space_group,) * 2
    assert same_type(crystal, child)
    difference = child.positions - crystal.positions
    difference -= np.round(difference)
    assert rms(difference @ crystal.cell, np.zeros((3, 3))) == pytest.approx(0.06 / np.sqrt(2))
    assert not np.allclose(child.cell, crystal.cell)
    assert symmetry_margin(child) >= min(CLEAR, symmetry_margin(crystal)) - 1e-9
    again, other = (jittered(crystal, 0.06, np.random.default_rng(seed)) for seed in (3, 4))
    np.testing.assert_array_equal(again.positions, child.positions)
    assert not np.allclose(other.positions, child.positions)


def test_a_crystal_without_free_positions_moves_its_cell_alone_and_stays_cubic(library):
    salt = library["AB_cF8_225_a_b"]
    child = jittered(salt, 0.05, np.random.default_rng(0))
    np.testing.assert_array_equal(child.positions, salt.positions)
    assert child.space_groups == (225, 225, 225)
    ratio = child.abc / salt.abc
    assert ratio == pytest.approx(ratio[0]) and abs(ratio[0] - 1.0) > 1e-3


def test_jitter_that_would_come_too_near_a_supergroup_is_refused():
    near = perovskite(off=0.05)  # 0.02 from the cubic one: its children must stay as far
    rng = np.random.default_rng(0)
    children = [jittered(near, 0.03, rng) for _ in range(12)]
    assert all(symmetry_margin(child) >= 0.02 - 1e-9 for child in children if child is not None)
    assert any(child is not None for child in children)
