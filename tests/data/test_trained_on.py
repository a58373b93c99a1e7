"""Only crystals that neither training nor validation saw judge a network, in the columns of training."""

import csv

import numpy as np
import pytest

from sgexp.data.catalog import build_catalog
from sgexp.data.split import PARTS, Split
from sgexp.data.trained_on import TrainedOn, notes, unseen
from sgexp.errors import DataError

from .makers import write_samples

COLUMNS = ("row", "path", "key", "material", "family", "space_group", "energy_kev", "split")


@pytest.fixture
def catalog(tmp_path):
    """Twelve materials of two energies, two materials a family, groups 14, 15 and 16 in turn."""
    write_samples(tmp_path / "in" / "batch_train_0.h5", 24)
    return build_catalog(tmp_path / "in", tmp_path / "cache", progress=False)


def trained(tmp_path, *rows):
    """Write a split.csv of (material, family, group, split) and read it."""
    path = tmp_path / "split.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(
            (n, "f", "k", material, family, group, 100.0, part)
            for n, (material, family, group, part) in enumerate(rows)
        )
    return TrainedOn.read(path)


def test_seen_materials_are_left_out_and_known_families_are_told_from_new_ones(catalog, tmp_path):
    on = trained(
        tmp_path,
        ("mp-0", "family 0", 14, "train"),
        ("mp-4", "family 2", 15, "validation"),
        ("mp-6", "family 3", 14, "test_material"),
        ("other", "family 5", 14, "train"),
    )
    found = unseen(catalog, on, np.array([14, 15, 16]))
    part_of = dict(
        zip(catalog.material.tolist(), [PARTS[part] if part >= 0 else None for part in found.split.part], strict=True)
    )
    assert part_of["mp-0"] is None and part_of["mp-4"] is None  # trained on; selected on
    assert part_of["mp-1"] == part_of["mp-5"] == part_of["mp-10"] == "test_material"  # their families were seen
    assert part_of["mp-6"] == part_of["mp-2"] == "test_family"  # only tested, never seen
    assert found.seen == 4 and not found.unknown and not found.stamps
    assert on.families_per_group == {14: 2}


def test_groups_that_the_network_does_not_know_are_left_out_counted_and_named(catalog, tmp_path):
    found = unseen(catalog, trained(tmp_path, ("x", "y", 14, "train")), np.array([14, 15]))
    assert found.unknown == {16: int(np.sum(catalog.space_group == 16))}
    assert "8 samples of 1 groups" in notes(found)[0] and notes(found)[0].endswith("16.")
    assert not (found.split.part[catalog.space_group == 16] >= 0).any()


def test_a_split_named_beside_keeps_its_test_rows_only(catalog, tmp_path):
    part = np.tile(np.array([0, 1, 2, 3], np.int8), 6)
    found = unseen(catalog, trained(tmp_path, ("x", "y", 14, "train")), np.arange(1, 231), Split(part, "mine"))
    assert ((found.split.part >= 0) == (part >= 2)).all() and found.split.name == "unseen of mine"


def test_families_named_in_another_way_are_not_compared_and_that_is_stamped(catalog, tmp_path):
    found = unseen(catalog, trained(tmp_path, ("x", "14|1-2|0,0|90,90,90", 14, "train")), np.arange(1, 231))
    assert (found.split.part == PARTS.index("test_material")).all() and "cannot be told" in found.stamps[0]


def test_nothing_left_to_judge_is_told_with_the_counts(catalog, tmp_path):
    on = trained(tmp_path, *((material, "f", 14, "train") for material in np.unique(catalog.material).tolist()))
    with pytest.raises(DataError, match=r"nothing in .* can judge this network: of 24 samples .* materials of 24"):
        unseen(catalog, on, np.arange(1, 231))


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "material,family,space_group,split\nx,y,fourteen,train\n", "\0" * 50]
)
def test_a_damaged_record_is_told(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match="damaged"):
        TrainedOn.read(tmp_path / "split.csv")
    with pytest.raises(DataError, match="cannot be read"):
        TrainedOn.read(tmp_path / "none.csv")
