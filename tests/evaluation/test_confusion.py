"""Confusion by symmetry level, recall with intervals, and the kinship of errors."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, recall_score

from sgexp.crystallography.groups import POINT_GROUPS, SPACE_GROUPS, space_group
from sgexp.evaluation.confusion import (
    LEVELS,
    RELATIONS,
    class_recall,
    confusion_pairs,
    error_shares,
    recall_by_training_families,
    relation_of,
)
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.shares import shares, wilson

from .examples import confident, random_predictions

CONFIG = EvaluationConfig(resamples=200)


def test_pairs_are_the_entries_of_scikit_learns_confusion_matrix():
    found = random_predictions(1)
    groups = np.arange(1, 231)
    matrix = np.zeros((231, 231), int)
    pairs, counts = confusion_pairs(found)
    matrix[pairs[:, 0], pairs[:, 1]] = counts
    np.testing.assert_array_equal(matrix[1:, 1:], confusion_matrix(found.label, found.predicted, labels=groups))


@pytest.mark.parametrize("level", LEVELS)
def test_recall_is_scikit_learns_at_every_level(level):
    found = random_predictions(2)
    class_of = LEVELS[level]
    told = class_recall(found, level, 0.95)
    expected = recall_score(class_of[found.label], class_of[found.predicted], labels=told.classes, average=None)
    np.testing.assert_allclose(told.recall.share, expected)
    assert told.recall.samples.sum() == len(found)
    assert (told.recall.low <= expected).all() and (expected <= told.recall.high).all()


def test_each_class_lies_within_one_class_of_the_level_above():
    for coarse, fine in zip(list(LEVELS)[:-1], list(LEVELS)[1:], strict=True):
        pairs = {(LEVELS[fine][number], LEVELS[coarse][number]) for number in range(1, 231)}
        assert len(pairs) == len({child for child, _ in pairs})
    assert len(set(LEVELS["point_group"][1:].tolist())) == len(POINT_GROUPS)


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 7), (3, 7), (7, 7), (50, 200)])
def test_the_interval_is_scipys_wilson_interval_where_families_have_one_sample(hits, trials):
    right = np.arange(trials) < hits
    told = shares(np.zeros(trials, int), right, np.arange(trials), 0.95)
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert (told.low[0], told.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert told.effective[0] == trials == told.families[0]


def test_ten_samples_of_one_family_are_worth_one_trial():
    one = shares(np.zeros(10, int), np.ones(10, bool), np.zeros(10, int), 0.95)
    assert one.effective[0] == 1 and one.families[0] == 1 and one.samples[0] == 10
    assert (one.low[0], one.high[0]) == pytest.approx([float(end[0]) for end in wilson(np.ones(1), np.ones(1), 0.95)])
    uneven = shares(np.zeros(4, int), np.ones(4, bool), np.array([0, 0, 0, 1]), 0.95)
    assert uneven.effective[0] == pytest.approx(16 / 10)


def test_an_empty_bin_has_no_share():
    told = shares(np.array([0, 2]), np.array([True, False]), np.arange(2), 0.95, bins=4)
    assert np.isnan(told.share[[1, 3]]).all() and told.samples.tolist() == [1, 0, 1, 0]


def test_relations_follow_the_tables_of_groups():
    for true in SPACE_GROUPS:
        for answer in SPACE_GROUPS:
            found = relation_of[true.number, answer.number]
            if true is answer:
                assert found == -1
                continue
            name = RELATIONS[found]
            sub, above = answer.number in true.maximal_subgroups, true.number in answer.maximal_subgroups
            if true.enantiomorph == answer.number:
                assert name == "the mirror image's group"
            elif sub or above:
                both, one = "both of these", "a maximal subgroup" if sub else "a maximal supergroup"
                assert name == (both if sub and above else one)
            elif true.point_group == answer.point_group:
                assert name == "same point group"
            elif true.laue_class == answer.laue_class:
                assert name == "same Laue class"
            else:
                assert (name == "same crystal system") == (true.crystal_system == answer.crystal_system)


def test_known_pairs_have_the_relation_that_tables_give_them():
    known = {(76, 78): 0, (225, 216): 1, (216, 225): 2, (3, 5): 3, (1, 225): 7}
    for (true, answer), relation in known.items():
        assert relation_of[true, answer] == relation, (space_group(true).symbol, space_group(answer).symbol)


def test_shares_of_errors_add_up_and_leave_right_answers_out():
    found = random_predictions(3)
    told = error_shares(found, 0.95)
    assert [item.relation for item in told] == list(RELATIONS)
    assert sum(item.errors for item in told) == np.count_nonzero(found.label != found.predicted)
    assert sum(item.share.value for item in told) == pytest.approx(1)
    assert sum(item.by_chance for item in told) == pytest.approx(1)
    assert all(item.share.low <= item.share.value <= item.share.high for item in told)
    assert error_shares(confident([1, 2], [1, 2], [1, 2]), 0.95) == []


def test_what_chance_gives_is_what_shuffling_the_answers_gives():
    found = random_predictions(4, n_families=200)
    wrong = found.label != found.predicted
    true, answered = found.label[wrong], found.predicted[wrong]
    rng = np.random.default_rng(0)
    counts = np.zeros(len(RELATIONS))
    for _ in range(300):
        relation = relation_of[true, rng.permutation(answered)]
        counts += np.bincount(relation[relation >= 0], minlength=len(RELATIONS))
    by_chance = [item.by_chance for item in error_shares(found, 0.95)]
    np.testing.assert_allclose(by_chance, counts / counts.sum(), atol=0.01)


def test_recall_by_training_families_is_the_mean_over_the_groups_of_each_bin():
    found = random_predictions(5)
    groups = np.unique(found.label)
    trained = {group: index for index, group in enumerate(groups.tolist())}
    bins = recall_by_training_families(found, trained, CONFIG)
    recall = recall_score(found.label, found.predicted, labels=groups, average=None)
    assert sum(item.groups for item in bins) == len(groups)
    for item in bins:
        last = 999 if item.last is None else item.last
        own = [item.first <= trained[group] <= last for group in groups.tolist()]
        assert item.recall.value == pytest.approx(recall[own].mean())
        assert item.recall.low <= item.recall.value <= item.recall.high
