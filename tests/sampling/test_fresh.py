"""Fresh draws: every epoch other pairs and other steps, the same classes as often, from (seed, epoch) alone."""

import dataclasses

import numpy as np
import pytest

from sgexp.sampling import ResamplingPlan
from sgexp.sampling.random_selection import RandomOver, RandomUnder
from sgexp.sampling.schema import GROUPS, FreshSampler
from sgexp.sampling.smote import Smote
from sgexp.sampling.staged import Staged, even_shares
from sgexp.schema import build

FRESH = [cls for cls in GROUPS["sampler"] if issubclass(cls, FreshSampler)]
COUNTS = {2: 90, 14: 60, 62: 41, 148: 22, 225: 30}


def samples(seed=0, n_features=4, energies=3):
    """Shuffled labels, materials and features of classes that overlap."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list(COUNTS), list(COUNTS.values()))
    materials = np.concatenate([np.arange(n) // energies for n in COUNTS.values()]) + 1000 * labels
    _, number = np.unique(materials, return_inverse=True)
    centre = rng.normal(size=(231, n_features))[labels] + rng.normal(size=(number.max() + 1, n_features))[number]
    features = (centre + 0.7 * rng.normal(size=(len(labels), n_features))).astype(np.float32)
    order = rng.permutation(len(labels))
    return labels[order], materials[order], features[order]


@pytest.mark.parametrize("cls", FRESH, ids=lambda cls: cls.__name__)
def test_every_epoch_draws_each_sample_once_and_as_many_new_points_as_one_plan_would(cls):
    labels, materials, features = samples()
    static = build(cls()).plan(labels, materials, features, seed=0)
    plan = build(cls(fresh=True)).plan(labels, materials, features, seed=0)
    assert plan.kind == "recipe" and plan.recipe.steps and plan.notes == static.notes
    epochs = [plan.epoch(5, epoch) for epoch in range(3)]
    for epoch in epochs:
        old = epoch.base[epoch.base == epoch.partner]
        assert np.bincount(old, minlength=len(labels)).min() >= 1
        np.testing.assert_array_equal(labels[epoch.base], labels[epoch.partner])
        wanted = static.drawn_counts(labels)
        drawn = epoch.drawn_counts(labels)
        # Some methods round where they share out and miss the target by a few in one plan; here they meet it.
        assert drawn == {group: 90 if n > COUNTS[group] else n for group, n in wanted.items()}
    assert not np.array_equal(np.sort(epochs[0].partner), np.sort(epochs[1].partner))
    assert plan.counts(np.unique(labels, return_inverse=True)[1], 5).tolist() == list(
        epochs[0].drawn_counts(labels).values()
    )
    again = build(cls(fresh=True)).plan(labels, materials, features, seed=0).epoch(5, 2)
    np.testing.assert_array_equal(again.weight, epochs[2].weight)
    np.testing.assert_array_equal(again.base, epochs[2].base)


def test_fresh_smote_draws_what_smote_draws_base_and_partner_evenly_and_steps_uniform():
    labels, materials, features = samples()
    plan = Smote("majority", 1, {}, 5, "any", fresh=True).plan(labels, materials, features, seed=0)
    seen = {
        (base, partner)
        for seed in range(30)
        for base, partner in zip(*_new(Smote("majority", 1, {}, 5, "any"), seed), strict=True)
    }
    new = np.arange(len(plan)) >= len(labels)
    pairs = set(zip(plan.base[new].tolist(), plan.partner[new].tolist(), strict=True))
    assert seen <= pairs and len(seen) > 0.9 * len(pairs)
    share = plan.expected[new]
    for group in (14, 62, 148, 225):
        mine = labels[plan.base[new]] == group
        np.testing.assert_allclose(share[mine], (90 - COUNTS[group]) / mine.sum())
    steps = np.concatenate([plan.epoch(0, epoch).weight for epoch in range(20)])
    steps = steps[steps > 0]
    np.testing.assert_allclose(np.quantile(steps, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def _new(sampler, seed):
    labels, materials, features = samples()
    plan = sampler.plan(labels, materials, features, seed)
    return plan.base[len(labels) :].tolist(), plan.partner[len(labels) :].tolist()


def drawn_by_class(epoch, labels):
    return [np.bincount(epoch.base[labels[epoch.base] == group], minlength=len(labels)) for group in COUNTS]


@pytest.mark.parametrize("balance", ["majority", "sqrt", "median", "cap"])
def test_fresh_random_over_repeats_other_samples_every_epoch_each_as_often_or_once_more(balance):
    labels, materials, _ = samples()
    static = RandomOver(balance, 50, {}).plan(labels, materials, None, 0)
    plan = RandomOver(balance, 50, {}, fresh=True).plan(labels, materials, None, 0)
    assert plan.draws == len(static) and plan.drawn_counts(labels) == static.drawn_counts(labels)
    epochs = [plan.epoch(5, epoch) for epoch in range(2)]
    for epoch in epochs:
        assert not epoch.weight.any() and epoch.drawn_counts(labels) == static.drawn_counts(labels)
        for group, times in zip(COUNTS, drawn_by_class(epoch, labels), strict=True):
            assert set(times[labels == group]) <= {times.sum() // COUNTS[group], times.sum() // COUNTS[group] + 1}
    assert not np.array_equal(np.sort(epochs[0].base), np.sort(epochs[1].base))


@pytest.mark.parametrize("balance", ["minority", "sqrt", "median", "cap"])
def test_fresh_random_under_draws_no_sample_twice_in_an_epoch_and_all_in_the_course_of_the_training(balance):
    labels, materials, _ = samples()
    static = RandomUnder(balance, 25, {}).plan(labels, materials, None, 0)
    plan = RandomUnder(balance, 25, {}, fresh=True).plan(labels, materials, None, 0)
    epochs = [plan.epoch(5, epoch) for epoch in range(40)]
    for epoch in epochs:
        assert len(np.unique(epoch.base)) == len(epoch) == len(static) == plan.draws
        assert epoch.drawn_counts(labels) == static.drawn_counts(labels)
    times = np.bincount(np.concatenate([epoch.base for epoch in epochs]), minlength=len(labels))
    for group, count in COUNTS.items():
        mean = 40 * static.drawn_counts(labels)[group] / count
        assert abs(times[labels == group] - mean).max() < 5 * np.sqrt(mean), "evenly, but for chance"


@pytest.mark.parametrize("lower", ["clusters", "random", "families"])
@pytest.mark.parametrize(("balance", "count"), [("mean", 49), ("cap", 25)])
def test_fresh_staged_keeps_every_class_at_one_count_and_draws_what_may_change_anew(lower, balance, count):
    labels, families, features = samples()
    static = Staged(balance, 25, {}, lower, 5).plan(labels, families, features, 0)
    plan = Staged(balance, 25, {}, lower, 5, fresh=True).plan(labels, families, features, 0)
    assert plan.notes == static.notes and plan.drawn_counts(labels) == static.drawn_counts(labels)
    epochs = [plan.epoch(5, epoch) for epoch in range(3)]
    kept = np.unique(static.base[static.base == static.partner])
    for epoch in epochs:
        assert epoch.drawn_counts(labels) == dict.fromkeys(COUNTS, count)
        np.testing.assert_array_equal(labels[epoch.base], labels[epoch.partner])
        own = epoch.base[epoch.base == epoch.partner]
        assert len(np.unique(own)) == len(own)
        if lower == "clusters":
            np.testing.assert_array_equal(np.sort(own), kept)
        if lower == "families":
            for group in COUNTS:
                sizes = np.unique(families[labels == group], return_counts=True)[1]
                drawn = [np.count_nonzero(families[own] == f) for f in np.unique(families[labels == group])]
                most = max(drawn)  # a family that still has samples to give has one less at most
                assert all(times in (most, most - 1, size) for times, size in zip(drawn, sizes, strict=True))
        for group, n in COUNTS.items():
            assert (labels[own] == group).sum() == min(n, count)
    assert (lower == "clusters") == np.array_equal(
        *(np.sort(epoch.base[epoch.base == epoch.partner]) for epoch in epochs[:2])
    )
    assert not np.array_equal(*(np.sort(epoch.weight) for epoch in epochs[:2]))
    seen = np.unique(np.concatenate([plan.epoch(5, epoch).base for epoch in range(60)]))
    assert len(seen) == len(np.unique(static.base)) if lower == "clusters" else len(seen) == len(labels)


def test_even_shares_by_hand():
    np.testing.assert_allclose(even_shares(np.array([0, 0, 0, 0, 1, 2, 2]), 5), [0.5, 0.5, 0.5, 0.5, 1, 1, 1])
    np.testing.assert_allclose(even_shares(np.array([0, 0, 1, 2]), 2), [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(even_shares(np.array([0, 0, 1, 2]), 4), 1)


def test_svm_smote_goes_either_way_every_epoch():
    (cls,) = [cls for cls in FRESH if cls.__name__ == "SvmSmoteSampler"]
    plan = build(cls(fresh=True, out_step=0.3)).plan(*samples(), seed=0)
    weights = np.concatenate([plan.epoch(0, epoch).weight for epoch in range(10)])
    assert -0.3 < weights.min() < -0.25 and 0.9 < weights.max() < 1


def test_a_fresh_plan_is_kept_with_what_it_draws_in_the_mean(tmp_path):
    plan = Smote("majority", 1, {}, 5, "any", fresh=True).plan(*samples(), seed=0)
    plan = dataclasses.replace(plan, mix_in="intensity")
    plan.save(tmp_path / "plan.npz")
    loaded = ResamplingPlan.load(tmp_path / "plan.npz")
    assert (loaded.kind, loaded.mix_in, loaded.draws) == ("recipe", "intensity", plan.draws)
    np.testing.assert_array_equal(loaded.expected, plan.expected)
