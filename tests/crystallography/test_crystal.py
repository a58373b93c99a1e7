"""A Crystal says what its arrays say."""

from __future__ import annotations

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal, group_number
from sgexp.errors import DataError

ROCKSALT = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def rocksalt(shift=0.0):
    places = np.concatenate([ROCKSALT, np.array(ROCKSALT) + 0.5])
    places[0, 0] += shift
    return Crystal.from_arrays(np.eye(3) * 5.64, ["Na"] * 4 + ["Cl"] * 4, places, name="salt")


def test_positions_are_wrapped_and_the_group_is_found():
    crystal = rocksalt()
    assert crystal.space_groups == (225, 225, 225)
    assert crystal.space_group == 225
    assert crystal.positions.min() >= 0
    assert crystal.positions.max() < 1
    assert Crystal.from_arrays(np.eye(3), [1], [[-1e-17, 0, 0]], name="edge").positions[0, 0] == 0.0
    assert (crystal.name, crystal.parent, crystal.family, len(crystal)) == ("salt", "salt", "", 8)
    assert crystal.volume == pytest.approx(5.64**3)


def test_the_three_labels_are_those_of_three_tolerances():
    crystal = rocksalt(shift=0.03 / 5.64)
    assert crystal.space_groups == tuple(group_number(crystal, symprec) for symprec in (0.001, 0.01, 0.1))
    assert crystal.space_group != 225
    assert crystal.space_groups[2] == 225


def test_formulas_are_ordered_as_in_the_materials_project():
    pymatgen = pytest.importorskip("pymatgen.core")
    numbers = [26] * 8 + [8] * 14 + [9] * 2
    crystal = Crystal.from_arrays(
        np.eye(3) * 9, numbers, np.random.default_rng(0).random((24, 3)), name="x", space_groups=(1, 1, 1)
    )
    assert crystal.formula == "Fe8 O14 F2"
    assert pymatgen.Composition({"Fe": 8, "O": 14, "F": 2}).formula == crystal.formula


def test_two_atoms_on_one_place_are_refused_by_name():
    with pytest.raises(DataError, match="twins: spglib finds no space group"):
        Crystal.from_arrays(np.eye(3) * 4, ["Na", "Na"], [[0, 0, 0], [0, 0, 0]], name="twins")
