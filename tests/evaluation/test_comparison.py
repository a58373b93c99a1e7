"""Comparisons of treatments: known cases against statsmodels and SciPy, what is refused, how often nothing is found."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.comparison import compare, compare_all
from sgexp.evaluation.schema import EvaluationConfig

from .examples import confident, random_predictions

QUICK = EvaluationConfig(resamples=200)


def network(base, seed, boost=0.0):
    """The same samples as answered by another network, better by ``boost``."""
    logits = base.logits + np.random.default_rng(seed).normal(0, 1, base.logits.shape)
    logits[np.arange(len(base)), np.searchsorted(base.classes, base.label)] += boost
    return base.answered_by(logits)


@pytest.fixture(scope="module")
def base():
    return random_predictions(0, n_families=120)


@pytest.fixture(scope="module")
def sweep(base):
    return {
        "none": [network(base, seed) for seed in range(3)],
        "smote": [network(base, seed, 0.6) for seed in range(10, 13)],
        "over": [network(base, seed, 0.0) for seed in range(20, 23)],
    }


def right_or_wrong(right_N, classes=(1, 2)):
    """Predictions of samples that are each their own family, all of group 1."""
    n = len(right_N)
    return confident(np.ones(n, int), np.where(right_N, 1, 2), classes)


def test_top1_of_two_networks_on_single_samples_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.55, rng.random(300) < 0.45
    found = compare([right_or_wrong(a)], [right_or_wrong(b)], "top1")
    theirs = stats.ttest_rel(a.astype(float), b.astype(float))
    assert found.difference.value == pytest.approx(a.mean() - b.mean())
    low, high = theirs.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), rel=1e-2)
    assert found.p == pytest.approx(theirs.pvalue, rel=0.05)


def test_the_difference_of_figures_is_the_difference_of_means_over_seeds(sweep):
    found = compare(sweep["smote"], sweep["none"], "top1", config=QUICK)
    top1 = {name: np.mean([np.mean(run.predicted == run.label) for run in runs]) for name, runs in sweep.items()}
    assert found.difference.value == pytest.approx(top1["smote"] - top1["none"])
    assert (found.value_a, found.value_b) == pytest.approx((top1["smote"], top1["none"]))
    assert found.ratio.value == pytest.approx(top1["smote"] / top1["none"])
    assert found.ratio.low < found.ratio.value < found.ratio.high


def test_where_families_do_not_matter_it_is_the_t_test_over_seeds():
    """2,000 families answered alike, and seeds that differ much: only their spread is left."""
    rng = np.random.default_rng(5)

    def seeds(shares):
        return [right_or_wrong(rng.permutation(2000) < 2000 * share) for share in shares]

    a, b = [0.50, 0.62, 0.55], [0.40, 0.47, 0.51]
    found = compare(seeds(a), seeds(b), "top1", config=QUICK)
    theirs = stats.ttest_ind(a, b)
    assert found.p == pytest.approx(theirs.pvalue, rel=0.1)
    low, high = theirs.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=0.01)
    assert found.df == pytest.approx(4, abs=0.5)


def test_a_better_treatment_is_shown_and_an_equal_one_is_not(sweep):
    better, equal = compare_all(sweep, "none", ("top1",), QUICK)
    assert better.shown and better.better == "smote"
    assert better.verdict.startswith("smote is better than none in top1")
    assert not equal.shown
    assert equal.verdict.startswith("no difference shown between over and none")
    assert "would be found with 80% probability" in equal.verdict


def test_exchanging_a_and_b_only_changes_the_sign(sweep):
    one = compare(sweep["smote"], sweep["none"], config=QUICK)
    other = compare(sweep["none"], sweep["smote"], config=QUICK)
    assert one.p == pytest.approx(other.p)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.better == "A" and other.better == "B"


def test_all_pairs_are_corrected_together_as_statsmodels_does(sweep):
    found = compare_all(sweep, figures=("top1", "macro_f1"), config=QUICK)
    assert [(item.figure, item.a, item.b) for item in found] == [
        (figure, *pair)
        for figure in ("top1", "macro_f1")
        for pair in (("none", "smote"), ("none", "over"), ("smote", "over"))
    ]
    assert [item.p_holm for item in found] == pytest.approx(multipletests([item.p for item in found], method="holm")[1])
    assert {item.comparisons for item in found} == {6}


def test_one_seed_each_says_nothing_of_treatments(sweep):
    found = compare(sweep["smote"][:1], sweep["none"][:1], "top1", ("smote", "none"), QUICK)
    assert found.networks_differ and not found.shown and not found.covers_seeds
    assert "cannot be told from one seed each" in found.verdict
    assert any("not training again" in note for note in found.notes)
    assert found.mcnemar is not None and found.mcnemar.exact is None  # several samples a family
    assert found.mcnemar.by_family < 0.01
    assert compare(sweep["smote"], sweep["none"], "top1", config=QUICK).mcnemar is None


def test_one_seed_borrows_the_spread_of_the_others_and_says_so(sweep):
    found = compare(sweep["smote"][:1], sweep["none"], "top1", config=QUICK)
    assert found.covers_seeds
    assert any("stands in for its own" in note for note in found.notes)


def test_the_same_answers_show_no_difference(sweep):
    found = compare(sweep["none"], list(sweep["none"]), config=QUICK)
    assert found.difference.value == 0 and found.p == 1 and not found.shown


def test_a_difference_made_by_few_families_is_not_trusted():
    wrong, right = np.ones(400, bool), np.ones(400, bool)
    wrong[:3] = False
    found = compare([right_or_wrong(right)], [right_or_wrong(wrong)], "top1")
    assert found.p >= 2 ** (1 - 3) - 1e-9


def test_a_single_family_shows_nothing():
    one = confident([1, 1, 2], [1, 2, 2], [1, 2], family=["f"] * 3)
    found = compare([one], [one.answered_by(9 * np.eye(2, dtype=np.float32)[[0, 0, 1]])], "top1")
    assert found.p == 1 and (found.difference.low, found.difference.high) == (-1, 1)
    assert found.detectable is None


def test_of_a_calibration_error_less_is_better(base):
    sure = [network(base, seed) for seed in range(3)]
    calm = [run.answered_by(run.logits * 0.6) for run in sure]
    found = compare(sure, calm, "ece", ("sure", "calm"), QUICK)
    assert (found.difference.value > 0) == (found.better == "calm")


def test_figures_that_cannot_be_compared_are_named(sweep):
    with pytest.raises(ConfigError, match="did you mean 'macro_f1'"):
        compare_all(sweep, figures=("macrof1",))
    with pytest.raises(ConfigError, match="worst10_recall cannot be compared"):
        compare_all(sweep, figures=("worst10_recall",))
    with pytest.raises(ConfigError, match="did you mean 'smote'"):
        compare_all(sweep, "smoet")
    with pytest.raises(ConfigError, match="two treatments"):
        compare_all({"none": sweep["none"]})


def test_shot_figures_follow_the_training_families(sweep, base):
    families = {int(group): 1 + index % 12 for index, group in enumerate(base.classes)}
    found = compare_all(sweep, "none", ("few_shot",), QUICK, families)
    assert [item.figure for item in found] == ["few_shot"] * 2
    with pytest.raises(ConfigError, match="few_shot needs"):
        compare_all(sweep, "none", ("few_shot",), QUICK)


def test_other_test_samples_are_refused_by_name_or_compared_in_common_with_a_stamp(sweep):
    none, smote = sweep["none"], [run.take(np.arange(len(run)) > 10) for run in sweep["smote"]]
    with pytest.raises(DataError, match=r"different test sets: .* rows in common"):
        compare(none, smote, config=QUICK)
    found = compare(none, smote, "top1", config=QUICK, allow_different=True)
    assert found.stamps[0].startswith("DIFFERENT TEST SETS")
    common = [np.mean((run.predicted == run.label)[11:]) for run in none]
    assert found.value_a == pytest.approx(np.mean(common))


def test_other_labels_of_the_same_samples_are_refused(sweep):
    run = sweep["none"][0]
    label = run.label.copy()
    label[3] = run.classes[run.classes != label[3]][0]
    other = type(run)(**{**vars(run), "label": label})
    with pytest.raises(DataError, match=r"the label of 1 of .* samples differs"):
        compare([run], [other])
    found = compare([run], [other], allow_different=True)
    assert found.samples == len(run) - 1


def test_other_output_classes_are_refused_or_stamped(sweep):
    run = sweep["none"][0]
    fewer = type(run)(**{**vars(run), "logits": run.logits[:, 1:], "classes": run.classes[1:]})
    with pytest.raises(DataError, match="choose between different space groups"):
        compare([run], [fewer])
    assert compare([run], [fewer], allow_different=True).stamps[0].startswith("DIFFERENT CLASSES")


def test_the_order_of_samples_does_not_matter(sweep):
    shuffled = [run.take(np.random.default_rng(1).permutation(len(run))) for run in sweep["none"]]
    one = compare(sweep["smote"], sweep["none"], config=QUICK)
    assert compare(sweep["smote"], shuffled, config=QUICK).p == pytest.approx(one.p)


def test_everything_of_a_comparison_can_be_written_as_json(sweep):
    import json

    found = compare(sweep["smote"][:1], sweep["none"][:1], "top1", config=QUICK)
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert read["verdict"] == found.verdict and read["covers_seeds"] is False


def test_true_null_hypotheses_are_rejected_about_as_often_as_promised():
    """A small form of benchmarks/false_positives.py: 3 seeds, seeds and families both matter; 5 % are promised."""
    rejected = []
    for sweep in range(100):
        rng = np.random.default_rng([7, sweep])
        family = np.repeat(np.arange(60), 3)
        hard = rng.normal(0, 1, 60)
        label = 1 + np.arange(60)[family] % 6

        def run(rng=rng, hard=hard, family=family, label=label):
            right = (hard + rng.normal(0, 0.2) + rng.normal(0, 0.7, 60))[family] + rng.normal(0, 1, len(family)) > 0.5
            return confident(label, np.where(right, label, 1 + label % 6), np.arange(1, 7), family=family.astype(str))

        treatments = {"a": [run() for _ in range(3)], "b": [run() for _ in range(3)]}
        rejected += [item.p < 0.05 for item in compare_all(treatments, figures=("top1", "macro_f1"), config=QUICK)]
    assert np.mean(rejected) < 0.09
