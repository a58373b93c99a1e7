import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation import protocol
from sgexp.simulation.cells import FLAT, periodic_cell, primitive, zone_cell

from .crystals import quartz, silicon, strontium_titanate, triclinic

DIRECTIONS = [(0, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0), (3, 1, -1), (-1, 2, 5)]
MAKERS = [silicon, strontium_titanate, quartz, triclinic]


def axes_of(crystal, uvw):
    index = np.array(uvw)
    return protocol.slab_axes(crystal.cell, index, protocol.in_plane_direction(index))


def rhombohedral():
    cell = [[4.0, 0, 0], [-2.0, 12**0.5, 0], [0, 0, 9.0]]
    centred = [[0, 0, 0], [2 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 2 / 3]]
    return Crystal.from_arrays(cell, ["Bi"] * 3, centred, name="rhombohedral")


@pytest.mark.parametrize(("make", "cells"), [(silicon, 4), (strontium_titanate, 1), (rhombohedral, 3), (quartz, 1)])
def test_centrings_are_found(make, cells):
    crystal = make()
    lattice, atoms = primitive(crystal)
    assert abs(np.linalg.det(lattice)) == pytest.approx(1 / cells)
    assert len(atoms) * cells == len(crystal)


@pytest.mark.parametrize("uvw", DIRECTIONS)
@pytest.mark.parametrize("make", MAKERS)
def test_cells_hold_the_crystal(make, uvw):
    crystal = make()
    axes = axes_of(crystal, uvw)
    projected = zone_cell(crystal, uvw, axes)
    size = np.array([24.0, 22.0, 17.0])
    _, expected = protocol.atoms_in_box(crystal, axes, size)
    for cell in (projected, periodic_cell(projected, 12)):
        if cell is None:
            continue
        assert cell.repeat == pytest.approx(protocol.beam_repeat(crystal, uvw))
        assert len(cell.numbers) / (cell.area * cell.repeat) == pytest.approx(len(crystal) / crystal.volume)
        assert (np.abs(cell.shifts) <= 0.5).all()
        ours = atoms_of(cell, size)
        inner = expected[((expected > 0.1) & (expected < size - 0.1)).all(axis=1)]
        nearest = np.linalg.norm(inner[:, None] - ours[None], axis=2).min(axis=1)
        assert nearest.max() < 1e-6
        assert abs(len(ours) - len(expected)) <= 0.2 * len(expected)  # a little more: the box here is open at its faces


def atoms_of(cell, size):
    """All atoms of the slab that the cell describes, inside a box."""
    vectors = np.zeros((3, 3))
    vectors[:2, :2], vectors[:2, 2], vectors[2, 2] = cell.across, cell.shifts * cell.repeat, cell.repeat
    counts = np.ceil(np.linalg.norm(np.linalg.inv(vectors), axis=0) * np.linalg.norm(size)).astype(int) + 1
    steps = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), -1).reshape(-1, 3)
    places = ((steps[:, None] + cell.positions[None]) @ vectors).reshape(-1, 3)
    return places[((places > -1e-6) & (places < size)).all(axis=1)]


def test_periods_of_the_slab_are_found_where_there_are_any():
    def index(crystal, uvw, most=12):
        cell = periodic_cell(zone_cell(crystal, uvw, axes_of(crystal, uvw)), most)
        return None if cell is None else cell.index

    assert index(silicon(), (1, 1, 1)) == 3  # ABC
    assert index(silicon(), (1, 1, 0)) == 2
    assert index(strontium_titanate(), (0, 0, 1)) == 1
    assert index(strontium_titanate(), (1, 1, 0)) == 2
    assert index(strontium_titanate(), (1, 1, 0), most=1) is None
    assert index(triclinic(), (0, 0, 1)) is None


def test_a_vector_counts_as_flat_only_within_the_tolerance_of_the_labels():
    assert FLAT < 0.01  # angstrom: spglib's symprec of the label
    leaning = Crystal.from_arrays([[4, 0, 0.02], [0, 5, 0], [0, 0, 6]], ["Na"], [[0, 0, 0]], name="leaning")
    assert not zone_cell(leaning, (0, 0, 1), np.eye(3)).periodic
    hardly = Crystal.from_arrays([[4, 0, 0.002], [0, 5, 0], [0, 0, 6]], ["Na"], [[0, 0, 0]], name="hardly")
    assert zone_cell(hardly, (0, 0, 1), np.eye(3)).periodic


@pytest.mark.timeout(20)
def test_exact_halves_do_not_keep_the_reduction_going():
    cell = np.diag([6.353378018, 15.954011885, 5.222087767])
    crystal = Crystal.from_arrays(cell, ["Na", "Na"], [[0.1, 0.2, 0.3], [0.6, 0.7, 0.3]], name="C-centred")
    for uvw in DIRECTIONS:
        found = zone_cell(crystal, uvw, axes_of(crystal, uvw))
        assert abs(found.across[0] @ found.across[1]) <= 0.5001 * (found.across[0] @ found.across[0])
