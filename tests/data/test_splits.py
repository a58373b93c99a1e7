from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sgexp.data.catalog import Catalog
from sgexp.data.splits import (
    PARTS,
    Material,
    Nested,
    Released,
    Sample,
    Split,
    SplitMethod,
    audit,
    split_hash,
    stored_split,
)
from sgexp.errors import DataError

from .makers import make_catalog


def smc19_shaped() -> Catalog:
    """187,155 samples with SMC-19's counts of each group, ten energies a material, families of uneven size."""
    table = files("sgexp.crystallography.tables") / "smc19_class_counts.csv"
    rng = np.random.default_rng(0)
    groups, materials, families = [], [], []
    material = family = 0
    with table.open() as file:
        for row in csv.DictReader(file):
            left = sum(int(row[part]) for part in ("train", "dev", "test"))
            while left > 0:
                family += 1
                for _ in range(min(int(rng.zipf(1.8)), 60)):
                    count = min(left, 10)
                    groups += [int(row["space_group"])] * count
                    materials += [f"mp-{material}"] * count
                    families += [f"family {family}"] * count
                    material, left = material + 1, left - count
                    if not left:
                        break
    shuffled = rng.permutation(len(groups))
    return make_catalog(groups, materials, families).take(shuffled)


@pytest.fixture(scope="module")
def large() -> Catalog:
    return smc19_shaped()


def random_catalog(seed: int) -> Catalog:
    """A few dozen materials; some families hold both hands of an enantiomorphic pair."""
    rng = np.random.default_rng(seed)
    groups, materials, families = [], [], []
    for family in range(int(rng.integers(1, 30))):
        pair = [(76, 78), (14, 14), (2, 2), (225, 225), (92, 96)][rng.integers(5)]
        for _ in range(int(rng.integers(1, 8))):
            count = int(rng.integers(1, 4))
            groups += [pair[rng.integers(2)]] * count
            materials += [f"m{len(groups)}"] * count
            families += [f"f{family}"] * count
    return make_catalog(groups, materials, families).take(rng.permutation(len(groups)))


def materials_of(catalog: Catalog, split: Split, part: str) -> set[str]:
    return set(catalog.material[split.rows(part)].tolist())


def families_of(catalog: Catalog, split: Split, part: str) -> set[str]:
    return set(catalog.family[split.rows(part)].tolist())


def groups_of(catalog: Catalog, split: Split, part: str) -> set[int]:
    return set(catalog.space_group[split.rows(part)].tolist())


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("method", [Nested, Material])
def test_no_material_is_on_both_sides_of_a_split(method: type, seed: int) -> None:
    catalog = random_catalog(seed)
    shares = (0.2, 0.2, 0.2) if method is Nested else (0.2, 0.2)
    split = method(*shares, seed=seed).make(catalog)
    parts = [materials_of(catalog, split, part) for part in PARTS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(catalog.material.tolist()))
    assert (split.part >= 0).all()
    for part in PARTS[1:]:
        assert groups_of(catalog, split, part) <= groups_of(catalog, split, "train")
    audit(catalog, split)


@pytest.mark.parametrize("seed", range(40))
def test_nested_tests_unseen_families_and_new_materials_of_seen_ones(seed: int) -> None:
    catalog = random_catalog(seed)
    split = Nested(0.2, 0.2, 0.2, seed=seed).make(catalog)
    unseen = families_of(catalog, split, "test_family")
    assert not unseen & set().union(*(families_of(catalog, split, part) for part in PARTS[:3]))
    assert families_of(catalog, split, "test_material") <= families_of(catalog, split, "train")


def test_nested_on_smc19s_counts_keeps_its_shares_and_most_groups_testable(large: Catalog) -> None:
    split = Nested(0.1, 0.1, 0.1, seed=1).make(large)
    found = audit(large, split)
    assert found.faults == ()
    counts = split.counts()
    for part in PARTS[1:]:
        assert 0.08 < counts[part] / len(large) < 0.12
    assert len(groups_of(large, split, "train")) == 200
    assert len(groups_of(large, split, "test_material")) >= 170
    assert len(groups_of(large, split, "test_family")) >= 150
    assert len(split.notes) == 3


def test_material_split_keeps_185_of_smc19s_200_groups_testable(large: Catalog) -> None:
    split = Material(0.1, 0.1, seed=1).make(large)
    assert len(groups_of(large, split, "test_material")) == 185  # 15 groups have a single material
    assert not len(split.rows("test_family"))


def test_groups_that_a_column_cannot_test_are_named() -> None:
    catalog = make_catalog([1, 1, 1, 2, 2, 3], list("abcdef"), ["x", "x", "y", "z", "z", "w"])
    split = Nested(0.1, 0.1, 0.1, seed=1).make(catalog)
    notes = {note.split()[0]: note for note in split.notes}
    assert "2 of 3 groups (too few families): 2, 3." in notes["test_family"]
    assert "1 of 3 groups (too few materials): 3." in notes["test_material"]


def test_a_family_of_both_hands_moves_whole_and_leaves_both_groups_trained() -> None:
    groups = [76, 78, 76, 78, 76]
    catalog = make_catalog(groups, list("abcde"), ["p", "p", "q", "q", "q"])
    for seed in range(10):
        split = Nested(0.0, 0.0, 0.4, seed=seed).make(catalog)
        assert materials_of(catalog, split, "test_family") in ({"a", "b"}, {"c", "d", "e"})
        audit(catalog, split)
    # 78 occurs in one family only, so that this family must stay in training
    catalog = make_catalog([76, 78, 76, 76], list("abcd"), ["p", "p", "q", "r"])
    for seed in range(10):
        split = Nested(0.0, 0.0, 0.5, seed=seed).make(catalog)
        assert {"a", "b"} <= materials_of(catalog, split, "train")


@pytest.mark.parametrize(
    "method", [Nested(0.1, 0.1, 0.1, seed=3), Material(0.1, 0.1, seed=3), Sample(0.1, 0.1, seed=3)]
)
def test_the_seed_alone_decides(method: SplitMethod) -> None:
    catalog = random_catalog(5)
    again = type(method)(**vars(method))
    other = type(method)(**{**vars(method), "seed": 4})
    np.testing.assert_array_equal(method.make(catalog).part, again.make(catalog).part)
    assert (method.make(catalog).part != other.make(catalog).part).any()


def test_a_share_of_nothing_gives_nothing(large: Catalog) -> None:
    counts = Nested(0.0, 0.1, 0.0, seed=1).make(large).counts()
    assert counts["validation"] == counts["test_family"] == 0 < counts["test_material"]


def test_released_follows_the_files_and_drops_what_would_leak() -> None:
    catalog = make_catalog(
        [1, 1, 2, 1, 2, 3, 1, 1, 2],
        ["a", "a", "b", "c", "b", "d", "c", "e", "f"],
        ["x"] * 9,
        ["train", "train", "train", "dev", "dev", "dev", "test", "test", ""],
    )
    split = Released().make(catalog)
    #                               train.....  dev: b is trained, 3 is not; test: c is in dev; '' is no part
    assert split.part.tolist() == [0, 0, 0, 1, -1, -1, -1, 2, -1]
    text = " ".join(split.notes)
    assert "1 samples lie in files" in text
    assert "2 released dev or test samples" in text
    assert "never saw their groups: 3" in text
    audit(catalog, split)
    with pytest.raises(DataError, match="no sample in a batch_train"):
        Released().make(make_catalog([1], ["a"], ["x"]))


def test_the_leaky_split_leaks_and_says_so(large: Catalog) -> None:
    split = Sample(0.1, 0.1, seed=1).make(large)
    assert split.leaky
    assert "LEAKY" in split.notes[0]
    found = audit(large, split)
    assert found.materials["train/test_material"] > 10_000
    assert groups_of(large, split, "test_material") <= groups_of(large, split, "train")


def test_the_audit_fails_a_split_with_a_material_or_a_tested_family_on_two_sides() -> None:
    catalog = make_catalog([1, 1, 1, 1, 2], list("aabcd"), ["x", "x", "y", "y", "z"])

    def split(*part: int, leaky: bool = False) -> Split:
        return Split(np.array(part, dtype=np.int8), "by hand", leaky=leaky)

    audit(catalog, split(0, 0, 0, 2, -1))  # a known family in test_material is what that column is for
    with pytest.raises(DataError, match="1 materials lie in both train/test_material"):
        audit(catalog, split(0, 2, 0, 0, 0))
    with pytest.raises(DataError, match="1 families lie in both train/test_family"):
        audit(catalog, split(0, 0, 0, 3, 0))
    with pytest.raises(DataError, match="groups 2 are judged but never trained"):
        audit(catalog, split(0, 0, 0, 0, 1))
    with pytest.raises(DataError, match="nothing to train on"):
        audit(catalog, split(-1, -1, -1, -1, -1))
    with pytest.raises(DataError, match="make the split again"):
        audit(catalog, split(0))
    assert audit(catalog, split(0, 2, 0, 0, 0, leaky=True)).faults == ("1 materials lie in both train/test_material",)


def test_a_split_is_stored_once_by_content(tmp_path: Path) -> None:
    catalog = random_catalog(7)
    method = Nested(0.2, 0.1, 0.2, seed=1)
    made = stored_split(method, catalog, tmp_path)
    assert [path.stem for path in (tmp_path / "splits").iterdir()] == [split_hash(method, catalog)]
    read = stored_split(method, catalog, tmp_path)
    np.testing.assert_array_equal(read.part, made.part)
    assert (read.name, read.leaky, read.notes) == (made.name, made.leaky, made.notes)
    assert split_hash(Nested(0.2, 0.1, 0.2, seed=2), catalog) != split_hash(method, catalog)
    path = next((tmp_path / "splits").iterdir())
    path.write_bytes(b"damaged")
    np.testing.assert_array_equal(stored_split(method, catalog, tmp_path).part, made.part)


def test_parts_name_rows(large: Catalog) -> None:
    split = Material(0.1, 0.1, seed=1).make(large)
    counts = split.counts()
    assert sum(counts.values()) == len(large)
    assert all(len(split.rows(part)) == counts[part] for part in PARTS)
