"""Populations have the size, the shape and the families that were asked for, and no copies."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import spearmanr

from sgexp.crystallography.crystal import SYMPRECS, group_number
from sgexp.crystallography.families import duplicates
from sgexp.crystallography.library import load_library
from sgexp.crystallography.population import apportion, make_population, smc19_counts
from sgexp.errors import UserError


@pytest.fixture(scope="module")
def population():
    return make_population(1500, seed=0)


def test_every_group_occurs_and_the_count_is_exact(population):
    assert len(population) == 1500
    assert {crystal.space_group for crystal in population} == set(range(1, 231))


def test_counts_per_group_follow_smc19(population):
    counts = np.bincount([crystal.space_group for crystal in population], minlength=231)
    shape = smc19_counts()
    assert shape.sum() == pytest.approx((148006 + 20400 + 18749) / 10)
    assert (shape[1:] > 0).sum() == 200
    head = np.argsort(-shape)[:60]
    assert spearmanr(shape[head], counts[head]).statistic > 0.8
    assert counts[14] == counts.max() > 20 * counts[1:].min()


def test_no_material_is_there_twice(population):
    assert len({crystal.name for crystal in population}) == len(population)
    assert duplicates(population) == {}


def test_children_stand_with_their_parents_family_and_are_labelled_by_spglib(population):
    family = {crystal.name: crystal.family for crystal in load_library()}
    assert all(crystal.family == family[crystal.parent] for crystal in population)
    for crystal in population[::25]:
        assert crystal.space_groups == tuple(group_number(crystal, symprec) for symprec in SYMPRECS)


def test_most_groups_can_be_tested_on_families_and_on_materials(population):
    sizes = defaultdict(Counter)
    for crystal in population:
        sizes[crystal.space_group][crystal.family] += 1
    library = defaultdict(set)
    for crystal in load_library():
        library[crystal.space_group].add(crystal.family)
    for number, families in sizes.items():
        assert len(families) >= min(2, len(library[number])), number
        assert sum(families.values()) >= 3, number


def test_the_seed_decides():
    first, again, other = (make_population(240, seed=seed) for seed in (5, 5, 6))
    assert [c.name for c in first] == [c.name for c in again] != [c.name for c in other]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.cell, two.cell)


def test_a_small_population_keeps_the_commonest_groups_testable():
    population = make_population(60, seed=0)
    counts = Counter(crystal.space_group for crystal in population)
    assert len(population) == 60
    assert len(counts) == 10
    assert min(counts.values()) >= 3


@pytest.mark.parametrize(("asked", "message"), [(0, "ask for one or more"), (10**6, "ask for fewer")])
def test_what_cannot_be_reached_is_said(asked, message):
    with pytest.raises(UserError, match=message):
        make_population(asked, seed=0)


def test_apportioned_counts_sum_up_and_stay_within_bounds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = rng.exponential(size=30) ** 3
        low = rng.integers(0, 4, size=30)
        high = low + rng.integers(0, 50, size=30)
        total = int(rng.integers(low.sum(), high.sum() + 1))
        counts = apportion(total, shape, low, high)
        assert counts.sum() == total
        assert (counts >= low).all()
        assert (counts <= high).all()
    np.testing.assert_array_equal(apportion(6, np.array([1.0, 2.0, 3.0]), np.zeros(3, int), np.full(3, 9)), [1, 2, 3])
