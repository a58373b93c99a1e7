"""Samplers that draw every epoch anew: the shares they are named for, from (seed, epoch) alone."""

import csv
from importlib import resources

import numpy as np
import pytest

from sgexp.sampling import ResamplingPlan, online
from sgexp.sampling.recipe import Blocks, Shares

COUNTS = {2: 400, 14: 200, 62: 50, 148: 3, 225: 1}
LABELS = np.random.default_rng(0).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
SAMPLERS = {
    "instance": online.instance(),
    "sqrt": online.sqrt(),
    "class_balanced": online.class_balanced(),
    "progressive": online.progressive(10),
    "deferred": online.deferred(0.8, 10),
    "repeat_factor": online.repeat_factor(0.1),
    "m_per_class": online.m_per_class(4),
    "family_balanced": online.family_balanced("even"),
}


def plan_of(sampler, labels=LABELS, families=LABELS):
    return sampler.plan(labels, families, None, seed=0)


def shares(plan, epoch, labels=LABELS, length=None):
    """How often each label is drawn in an epoch, and the epoch's order."""
    order = plan.recipe.order(5, epoch, length or plan.draws)
    drawn, counts = np.unique(labels[plan.base[order]], return_counts=True)
    return dict(zip(drawn.tolist(), counts.tolist(), strict=True)), order


def smc19_labels():
    source = resources.files("sgexp.crystallography").joinpath("tables", "smc19_class_counts.csv")
    with source.open() as file:
        counts = [int(row["train"]) for row in csv.DictReader(file)]
    return np.repeat(np.arange(1, 231), counts)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("length", [None, 64, 5000])
def test_seed_and_epoch_alone_decide_what_is_drawn(name, length):
    plan = plan_of(SAMPLERS[name])
    _, first = shares(plan, 3, length=length)
    assert len(first) == (length or plan.draws)
    np.testing.assert_array_equal(first, shares(plan_of(SAMPLERS[name]), 3, length=length)[1])
    assert not np.array_equal(first, shares(plan, 4, length=length)[1])
    assert not np.array_equal(first, plan.recipe.order(6, 3, length or plan.draws))


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_a_loss_is_told_is_what_epochs_draw_in_the_mean(name):
    plan = plan_of(SAMPLERS[name])
    orders = [plan.recipe.order(1, epoch, plan.draws) for epoch in range(10)]
    drawn = np.bincount(np.concatenate(orders), minlength=len(LABELS)) / 10
    number = np.unique(LABELS, return_inverse=True)[1]
    by_class = np.bincount(number, drawn)
    np.testing.assert_allclose(by_class, np.bincount(number, plan.expected), rtol=0.02, atol=0.6)
    np.testing.assert_allclose(plan.counts(number, 5), by_class, rtol=0.02, atol=1.0)
    assert plan.drawn_counts(LABELS) == dict(zip(COUNTS, plan.counts(number, 5).tolist(), strict=True))


def test_instance_draws_every_sample_once_and_part_of_them_in_a_short_epoch():
    plan = plan_of(SAMPLERS["instance"])
    np.testing.assert_array_equal(np.sort(shares(plan, 0)[1]), np.arange(len(LABELS)))
    part = shares(plan, 0, length=100)[1]
    assert len(np.unique(part)) == 100


def test_classes_are_drawn_as_often_as_the_power_of_their_counts():
    n = len(LABELS)
    even, _ = shares(plan_of(SAMPLERS["class_balanced"]), 0)
    assert all(abs(count - n / 5) < 1.5 for count in even.values())
    roots, _ = shares(plan_of(SAMPLERS["sqrt"]), 0)
    total = sum(np.sqrt(list(COUNTS.values())))
    for group, count in COUNTS.items():
        assert abs(roots[group] - n * np.sqrt(count) / total) < 1.5


def test_progressive_goes_from_every_sample_to_every_class_in_equal_steps():
    """Kang et al. 2020, eq. 3: p(t) = (1 - t/T) p_instance + t/T p_class."""
    plan, n = plan_of(SAMPLERS["progressive"]), len(LABELS)
    for epoch in range(10):
        drawn, _ = shares(plan, epoch)
        for group, count in COUNTS.items():
            assert abs(drawn[group] - n * ((1 - epoch / 10) * count / n + epoch / 10 / 5)) < 1.5
    assert "mean over the training" in plan.notes[0]


def test_deferred_draws_samples_first_and_classes_from_the_given_epoch_on():
    plan = plan_of(SAMPLERS["deferred"])
    assert shares(plan, 7)[0] == COUNTS
    assert all(abs(count - len(LABELS) / 5) < 1.5 for count in shares(plan, 8)[0].values())


def test_repeat_factor_follows_the_formula_and_repeats_whole_samples():
    """Gupta et al. 2019: r = max(1, sqrt(t / f)); floor(r) times, and once more with the rest as odds."""
    plan, n = plan_of(SAMPLERS["repeat_factor"]), len(LABELS)
    factor = {group: max(1.0, np.sqrt(0.1 / (count / n))) for group, count in COUNTS.items()}
    assert factor[2] == 1 and factor[225] > 8
    _, order = shares(plan, 0)
    times = np.bincount(order, minlength=n)
    for group in COUNTS:
        mine = times[LABELS == group]
        assert set(mine) <= {int(factor[group]), int(factor[group]) + 1}
    assert plan.draws == round(sum(factor[group] * count for group, count in COUNTS.items()))


def test_m_per_class_draws_blocks_of_a_class_and_every_sample_in_turn():
    plan = plan_of(online.m_per_class(4))
    _, order = shares(plan, 0, length=400)
    blocks = LABELS[order].reshape(-1, 4)
    assert (blocks == blocks[:, :1]).all()
    classes = blocks[:, 0].reshape(-1, 5)
    assert all(set(row) == set(COUNTS) for row in classes)  # every pass through the classes holds each once
    times = np.bincount(order, minlength=len(LABELS))
    for group in COUNTS:
        assert np.ptp(times[LABELS == group]) <= 1


def test_families_of_a_group_are_drawn_equally_often():
    labels = np.repeat([1, 2], [90, 10])
    families = np.concatenate([np.repeat(["a", "b", "c"], [60, 29, 1]), np.repeat(["d"], 10)])
    for groups, wanted in {
        "even": {"a": 100, "b": 100, "c": 100, "d": 300},
        "families": dict.fromkeys("abcd", 150),
    }.items():
        plan = plan_of(online.family_balanced(groups), labels, families)
        order = plan.recipe.order(0, 0, 600)
        names, counts = np.unique(families[order], return_counts=True)
        for name, count in zip(names, counts, strict=True):
            assert abs(count - wanted[name]) < 1.5
    assert online.family_balanced("even").by_family


def test_a_saved_recipe_keeps_what_it_draws_in_the_mean(tmp_path):
    plan = plan_of(SAMPLERS["sqrt"])
    plan.save(tmp_path / "plan.npz")
    back = ResamplingPlan.load(tmp_path / "plan.npz")
    assert back.kind == "recipe" and back.draws == plan.draws
    assert back.drawn_counts(LABELS) == plan.drawn_counts(LABELS)
    moved = plan.at_rows(np.arange(len(LABELS)) + 7)
    assert moved.recipe is plan.recipe and moved.base[0] == 7


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_200_classes_that_smc19_trains_on_are_drawn(name):
    labels = smc19_labels()
    plan = SAMPLERS[name].plan(labels, labels, None, 0)
    _, order = shares(plan, 9, labels)
    assert len(order) == plan.draws
    assert len(np.unique(labels[order])) == 200


def test_systematic_draws_miss_their_expectation_by_less_than_one():
    rng = np.random.default_rng(2)
    share = rng.exponential(size=500) ** 3
    recipe = Shares(share, share, np.zeros(1), np.arange(500) % 7)
    times = np.bincount(recipe.order(0, 0, 3000), minlength=500)
    assert (np.abs(times - share * 3000 / share.sum()) < 1).all()


def test_a_class_smaller_than_a_block_fills_it_by_repetition():
    order = Blocks(np.array([1, 2, 2, 2, 2, 2]), 3).order(0, 0, 12).reshape(-1, 3)
    assert [set(row) for row in order.tolist() if 0 in row] == [{0}, {0}]
