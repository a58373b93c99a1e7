import numpy as np
import pytest

from sgexp.errors import DataError
from sgexp.sampling import ResamplingPlan


@pytest.fixture
def plan():
    return ResamplingPlan(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]), np.array([0, 0, 0, 0.25]), notes=("said",))


def test_a_draw_lies_between_base_and_partner_at_the_weight(plan):
    x = np.array([[0.0, 0.0], [4.0, 8.0], [8.0, 16.0]], np.float32)
    mixed = plan.mix(x)
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed, [[0, 0], [4, 8], [8, 16], [7, 14]])


def test_drawn_counts_follow_the_label_of_the_base(plan):
    assert plan.drawn_counts(np.array([7, 9, 9])) == {7: 1, 9: 3}


def test_at_rows_renames_rows_and_keeps_weights(plan):
    moved = plan.at_rows(np.array([10, 20, 30]))
    assert moved.base.tolist() == [10, 20, 30, 30]
    assert moved.partner.tolist() == [10, 20, 30, 20]
    assert moved.weight is plan.weight
    assert moved.rows.tolist() == [10, 20, 30]
    assert moved.notes == ("said",)


def test_a_draw_costs_24_bytes(plan):
    assert plan.nbytes == 24 * len(plan)


def test_a_saved_plan_comes_back_without_pickle(plan, tmp_path):
    plan.save(tmp_path / "plan.npz")
    with np.load(tmp_path / "plan.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"base", "partner", "weight", "kind", "schema_version"}
        assert [arrays[name].dtype.str for name in ("base", "partner", "weight")] == ["<i8", "<i8", "<f8"]
    back = ResamplingPlan.load(tmp_path / "plan.npz")
    for name in ("base", "partner", "weight"):
        np.testing.assert_array_equal(getattr(back, name), getattr(plan, name))
    assert back.kind == plan.kind == "static"


def test_a_plan_of_a_newer_schema_is_refused(plan, tmp_path):
    np.savez(
        tmp_path / "plan.npz", base=plan.base, partner=plan.partner, weight=plan.weight, kind="x", schema_version=9
    )
    with pytest.raises(DataError, match="schema_version 9"):
        ResamplingPlan.load(tmp_path / "plan.npz")


@pytest.mark.parametrize(
    ("base", "partner", "weight"),
    [([0, 1], [0], [0.0]), ([-1], [0], [0.0]), ([0], [0], [np.nan]), ([[0]], [[0]], [[0.0]])],
)
def test_arrays_that_cannot_be_drawn_from_are_refused(base, partner, weight):
    with pytest.raises(ValueError, match=r"base|rows"):
        ResamplingPlan(np.array(base), np.array(partner), np.array(weight))
