"""Random crystals have the group that was asked for, and no more symmetry; the same seed makes the same ones."""

import sys

import numpy as np
import pytest

from sgexp.crystallography.crystal import CLOSEST
from sgexp.crystallography.random_crystals import random_crystals
from sgexp.errors import DataError

GROUPS = [1, 2, 14, 43, 92, 96, 146, 166, 199, 227, 230]


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("pyxtal")
    crystals, failed = random_crystals(GROUPS, 2, seed=1)
    assert not failed
    return crystals


def test_each_group_is_there_as_often_as_asked_at_all_tolerances(made):
    assert [crystal.space_groups for crystal in made] == [(group,) * 3 for group in GROUPS for _ in range(2)]
    assert len({crystal.name for crystal in made}) == len(made) == len({crystal.family for crystal in made})
    assert all(len(np.unique(crystal.numbers)) >= 1 and len(crystal) <= 600 for crystal in made)


def test_atoms_keep_apart(made):
    for crystal in made:
        apart = crystal.positions[:, None] - crystal.positions[None]
        apart = np.linalg.norm((apart - np.round(apart)) @ crystal.cell, axis=2) + 99 * np.eye(len(crystal))
        assert apart.min() > CLOSEST


def test_a_crystal_depends_on_seed_group_and_number_only(made):
    again, _ = random_crystals([14], 2, seed=1)
    (other,), _ = random_crystals([14], 1, seed=2)
    first = [crystal for crystal in made if crystal.space_group == 14]
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.cell, same.cell) and np.array_equal(one.positions, same.positions)
    assert not np.allclose(first[0].cell, other.cell)
    assert not np.allclose(first[0].cell, first[1].cell)


def test_without_pyxtal_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyxtal", None)
    with pytest.raises(DataError, match=r"pip install 'sgexp\[random\]'"):
        random_crystals([14], 1, seed=1)
