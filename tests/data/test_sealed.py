"""split=sealed: a second test that no part of the open split touches, and training that may be thinned."""

import itertools

import numpy as np
import pytest

from sgexp.data.audit import audit
from sgexp.data.catalog import Catalog
from sgexp.data.sealed import Sealed
from sgexp.data.split import UNUSED

from .makers import make_catalog

SHARES = (0.1, 0.1, 0.1, 0.05, 0.1)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    rng = np.random.default_rng(5)
    groups, materials, families = [], [], []
    for family in range(400):
        group = int(rng.zipf(1.5)) % 40 + 1
        for _ in range(int(rng.integers(1, 8))):
            material = f"m{len(set(materials))}"
            for _ in range(int(rng.integers(1, 3))):
                groups.append(group)
                materials.append(material)
                families.append(f"f{family}")
    return make_catalog(groups, materials, families).take(rng.permutation(len(groups)))


def names(column, rows):
    return set(column[rows].tolist())


@pytest.mark.parametrize("seed", range(10))
def test_sealed_rows_are_no_part_of_the_open_split_and_neither_leaks(catalog, seed):
    method = Sealed(*SHARES, train_share=1.0, seed=seed)
    opened, split = method.sealed(catalog), method.make(catalog)
    sealed = opened.part >= 2
    assert sealed.sum() > 50 and (split.part[sealed] == UNUSED).all()
    assert (split.part[~sealed] >= 0).all() and (opened.part[split.part >= 2] == UNUSED).all()
    learning = np.isin(split.part, (0, 1))
    np.testing.assert_array_equal(opened.part[learning], split.part[learning])
    audit(catalog, split)
    audit(catalog, opened)
    used = np.flatnonzero(split.part >= 0)
    assert not names(catalog.material, sealed) & names(catalog.material, used)
    assert not names(catalog.family, opened.rows("test_family")) & names(catalog.family, used)
    assert names(catalog.family, opened.rows("test_material")) <= names(catalog.family, opened.rows("train"))


def test_less_training_is_a_subset_of_more_and_the_tests_stay(catalog):
    splits = [Sealed(*SHARES, train_share=share, seed=1).make(catalog) for share in (1.0, 0.5, 0.25, 0.0)]
    for more, less in itertools.pairwise(splits):
        for part in ("validation", "test_material", "test_family"):
            np.testing.assert_array_equal(more.rows(part), less.rows(part))
        assert set(less.rows("train")) < set(more.rows("train"))
        assert names(catalog.space_group, less.rows("train")) == names(catalog.space_group, more.rows("train"))
        audit(catalog, less)
    materials = [len(names(catalog.material, split.rows("train"))) for split in splits]
    assert materials[1] == pytest.approx(materials[0] / 2, abs=20)
    assert materials[3] == len(names(catalog.space_group, splits[3].rows("train")))
    assert "are left out (split.train_share=0.5)" in splits[1].notes[-1]
