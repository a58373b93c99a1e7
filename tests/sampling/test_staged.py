"""Staged balancing: one count for every class, chosen among its samples as SCUT or otherwise, no sample made twice."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import RandomUnderSampler

from sgexp.errors import ConfigError
from sgexp.sampling.staged import Staged, share_evenly

COUNTS = {2: 60, 14: 41, 62: 20, 148: 7, 225: 2}


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
    families = labels * 10 + rng.choice(3, len(labels), p=[0.8, 0.15, 0.05])
    return labels, families, (rng.normal(size=(226, 6))[labels] + rng.normal(size=(len(labels), 6))).astype(np.float32)


@pytest.mark.parametrize("lower", ["clusters", "random", "families"])
@pytest.mark.parametrize(("balance", "count"), [("mean", 26), ("median", 20), ("cap", 9)])
def test_every_class_has_the_same_count(samples, lower, balance, count):
    labels, _, _ = samples
    plan = Staged(balance, 9, {}, lower, 5).plan(*samples, 0)
    assert plan.drawn_counts(labels) == dict.fromkeys(COUNTS, count)
    np.testing.assert_array_equal(labels[plan.base], labels[plan.partner])
    kept = plan.base[plan.weight == 0]
    assert len(np.unique(kept)) == len(kept)  # a point of weight 0 is one in a million
    for group, n in COUNTS.items():
        assert (labels[kept] == group).sum() == min(n, count)


def test_it_is_random_under_sampling_then_smote_of_imbalanced_learn_where_both_run(samples):
    labels, families, features = samples
    table = {2: 30, 14: 30, 62: 30, 148: 30, 225: 2}
    plan = Staged("table", 1, table, "random", 5).plan(labels, families, features, 3)
    under = RandomUnderSampler(random_state=3, sampling_strategy={2: 30, 14: 30})
    x, y = under.fit_resample(features, labels)
    theirs, their_labels = SMOTE(random_state=3, sampling_strategy={62: 30, 148: 30}).fit_resample(x, y)
    np.testing.assert_array_equal(plan.mix(features), theirs)
    np.testing.assert_array_equal(labels[plan.base], their_labels)


def test_families_stay_as_evenly_as_they_can(samples):
    labels, families, _ = samples
    plan = Staged("cap", 12, {}, "families", 5).plan(*samples, 0)
    for group in (2, 14, 62):
        before = np.unique(families[labels == group], return_counts=True)[1]
        kept = plan.base[(plan.weight == 0) & (labels[plan.base] == group)]
        after = np.unique(families[kept], return_counts=True)[1]
        assert after.sum() == 12 and len(after) == len(before)
        full = after < before  # a family that still has samples to give has no fewer than any other
        assert not full.any() or after[full].min() >= after.max() - 1


def test_shares_of_families_by_hand():
    assert sorted(share_evenly(np.array(["a", "a", "a", "a", "b", "c"]), 4)) == [0, 1, 4, 5]


def test_a_table_that_empties_a_class_is_refused(samples):
    with pytest.raises(ConfigError, match="no class may be emptied"):
        Staged("table", 1, {2: 0}, "random", 5).plan(*samples, 0)
