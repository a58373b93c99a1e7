import numpy as np
import pytest
from sklearn.metrics import f1_score, top_k_accuracy_score

from sgexp.evaluation.monitor import label_rank, macro_f1, top1, top5, top_k


@pytest.mark.parametrize("seed", range(20))
def test_monitored_figures_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(6, 230))
    labels = rng.zipf(1.5, 300) % k
    logits = rng.normal(size=(300, k)).astype(np.float32)
    logits[np.arange(300), labels] += 2
    for n, found in ((1, top1(labels, logits)), (5, top5(labels, logits)), (3, top_k(labels, logits, 3))):
        assert found == pytest.approx(top_k_accuracy_score(labels, logits, k=n, labels=np.arange(k)))
    predicted = logits.argmax(axis=1)
    wanted = f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert macro_f1(labels, predicted) == pytest.approx(wanted, abs=1e-12)


def test_of_equal_logits_the_first_class_comes_first_as_in_argmax():
    assert label_rank(np.array([0, 1, 2]), np.zeros((3, 3))).tolist() == [0, 1, 2]


def test_logits_that_are_not_numbers_are_never_right():
    logits = np.array([[np.nan, np.nan], [np.nan, 5.0], [np.inf, np.nan]])
    assert top1(np.array([0, 1, 0]), logits) == 0
    assert top5(np.array([0, 0, 0]), logits[:2].repeat(2, axis=0)[:3]) == 0


def test_a_label_without_a_column_is_never_right():
    assert top5(np.array([-1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]])) == 0.5
