"""Every figure against scikit-learn on the same predictions."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)

from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.errors import DataError
from sgexp.evaluation.metrics import evaluate, figures, resampling_units, shot_masks
from sgexp.evaluation.schema import EvaluationConfig

from .examples import confident, predictions, random_predictions

CONFIG = EvaluationConfig(resamples=100)


def train_families(seed):
    return dict(enumerate(np.random.default_rng(seed).integers(0, 25, 231).tolist()))


def by_scikit_learn(made, families):
    """The same figures from scikit-learn; groupings from the symbols of the space groups."""
    label, predicted = made.label, made.predicted
    present = np.unique(label)
    recalls = recall_score(label, predicted, labels=present, average=None, zero_division=0)
    shots = {
        "many_shot": [g for g in present.tolist() if families[g] >= 10],
        "medium_shot": [g for g in present.tolist() if 3 < families[g] < 10],
        "few_shot": [g for g in present.tolist() if families[g] <= 3],
    }
    wanted = {
        "top1": accuracy_score(label, predicted),
        "top5": top_k_accuracy_score(label, made.logits, k=5, labels=made.classes),
        "balanced_accuracy": balanced_accuracy_score(label, predicted),
        "macro_f1": f1_score(label, predicted, labels=present, average="macro", zero_division=0),
        "worst10_recall": np.sort(recalls)[: -(-len(present) // 10)].mean(),
    }
    for name, groups in shots.items():
        if groups:
            wanted[name] = recall_score(label, predicted, labels=groups, average="macro", zero_division=0)
    for name in ("crystal_system", "laue_class", "point_group"):
        of = np.array(["", *(getattr(group, name) for group in SPACE_GROUPS)])
        wanted[name] = accuracy_score(of[label], of[predicted])
    mirror = np.array([0, *(min(g.number, g.enantiomorph or 999) for g in SPACE_GROUPS)])
    wanted["merged_219"] = accuracy_score(mirror[label], mirror[predicted])
    return wanted


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(20))
def test_figures_equal_scikit_learn_on_random_predictions(seed):
    rng = np.random.default_rng(seed)
    made = random_predictions(seed, int(rng.integers(2, 80)), int(rng.integers(6, 60)), skill=rng.uniform(0, 4))
    found = evaluate(made, train_families(seed), CONFIG)
    wanted = by_scikit_learn(made, train_families(seed))
    assert set(found.metrics) == {*wanted, "ece"}
    for name, value in wanted.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-12), name
    for figure in found.metrics.values():
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


@pytest.mark.parametrize("seed", range(5))
def test_weighted_figures_equal_the_figures_of_resampled_samples(seed):
    made = random_predictions(seed, n_families=20)
    units, _ = resampling_units(made)
    weights = np.random.default_rng(seed).multinomial(20, np.full(20, 1 / 20))
    drawn = made.take(np.repeat(np.arange(len(made)), weights[units]))
    families = train_families(seed)
    shots = shot_masks(np.unique(made.label), families, CONFIG)
    wanted = evaluate(drawn, families, CONFIG).metrics
    for name, figure in figures(made, units, shots, CONFIG.calibration_bins).items():
        value = figure(weights[np.newaxis].astype(float))[0]
        if name in wanted:
            assert value == pytest.approx(wanted[name].value, abs=1e-12), name
        else:
            assert np.isnan(value), name


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_equals_torchmetrics(seed):
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    made = random_predictions(seed, n_families=200, skill=3)
    column = np.searchsorted(made.classes, made.label)
    theirs = classification.multiclass_calibration_error(
        torch.from_numpy(made.probabilities), torch.from_numpy(column), len(made.classes), n_bins=15, norm="l1"
    )
    assert evaluate(made, {}, CONFIG).metrics["ece"].value == pytest.approx(float(theirs), abs=1e-6)


def test_a_class_that_is_predicted_but_absent_is_not_averaged_over():
    made = confident([14, 14, 62, 62], [14, 225, 62, 62], [14, 62, 225])
    found = evaluate(made, {}, CONFIG).metrics
    assert found["balanced_accuracy"].value == pytest.approx((0.5 + 1) / 2)
    assert found["macro_f1"].value == pytest.approx((2 / 3 + 1) / 2)


def test_a_wrong_hand_is_wrong_among_230_and_right_among_219():
    made = confident([76, 78, 152, 75], [78, 78, 154, 76], [75, 76, 78, 152, 154])
    found = evaluate(made, {}, CONFIG).metrics
    assert found["top1"].value == 0.25
    assert found["merged_219"].value == 0.75
    assert found["point_group"].value == found["crystal_system"].value == 1


def test_a_label_that_no_column_stands_for_is_a_miss():
    made = confident([14, 2], [14, 14], [14, 62])
    found = evaluate(made, {}, CONFIG)
    assert found.metrics["top1"].value == found.metrics["top5"].value == 0.5
    assert found.counts["classes"] == 2


def test_shots_are_counted_in_training_families_and_empty_ones_are_left_out():
    made = confident([14, 62, 225], [14, 62, 14], [14, 62, 225])
    found = evaluate(made, {14: 10, 62: 9}, CONFIG)
    assert {name: found.counts[name] for name in ("many_shot", "medium_shot", "few_shot")} == {
        "many_shot": 1,
        "medium_shot": 1,
        "few_shot": 1,
    }
    assert [found.metrics[name].value for name in ("many_shot", "medium_shot", "few_shot")] == [1, 1, 0]
    assert "medium_shot" not in evaluate(made, {14: 10, 62: 10}, CONFIG).metrics


def test_counts_say_what_the_figures_are_over():
    made = confident([14, 14, 14, 62], [14] * 4, [14, 62], family=["a", "a", "b", "c"], material=["m", "m", "n", "o"])
    counts = evaluate(made, {}, CONFIG).counts
    assert (counts["samples"], counts["materials"], counts["families"], counts["classes"]) == (4, 3, 3, 2)


def test_unknown_families_fall_back_on_materials_and_say_so():
    made = confident([14, 14, 62, 62], [14, 62, 62, 62], [14, 62], family=[""] * 4, material=["m", "m", "n", "n"])
    found = evaluate(made, {}, CONFIG)
    assert "unknown" in found.notes[0]
    assert found.counts["families"] == 0
    as_families = confident([14, 14, 62, 62], [14, 62, 62, 62], [14, 62], family=["m", "m", "n", "n"])
    assert found.metrics == evaluate(as_families, {}, CONFIG).metrics


def test_one_family_gives_no_interval_and_no_sample_no_figure():
    one = evaluate(confident([14, 14], [14, 62], [14, 62], family=["a", "a"]), {}, CONFIG)
    assert (one.metrics["top1"].value, one.metrics["top1"].low, one.metrics["top1"].high) == (0.5, 0, 1)
    assert "one family" in one.notes[0]
    none = evaluate(random_predictions(0).take(np.zeros(0, int)), {}, CONFIG)
    assert none.metrics == {} and none.counts["samples"] == 0


def test_logits_of_a_diverged_network_are_refused():
    made = predictions([14, 62], [[1.0, np.nan], [1.0, 0.0]], [14, 62])
    with pytest.raises(DataError, match="1 of 2 samples are not finite"):
        evaluate(made, {}, CONFIG)


def test_the_seed_decides_the_interval_and_not_the_value():
    made = random_predictions(3)
    first, again = (evaluate(made, {}, EvaluationConfig(resamples=100, seed=1)) for _ in range(2))
    other = evaluate(made, {}, EvaluationConfig(resamples=100, seed=2))
    assert first.as_dict() == again.as_dict()
    assert first.metrics["top1"].value == other.metrics["top1"].value
    assert first.metrics["top1"] != other.metrics["top1"]


def test_more_confidence_gives_a_wider_interval():
    made = random_predictions(3)
    narrow, wide = (evaluate(made, {}, EvaluationConfig(confidence=c)).metrics["top1"] for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
