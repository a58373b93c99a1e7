import numpy as np
import pytest

from sgexp.errors import DataError
from sgexp.evaluation.predictions import Predictions
from sgexp.npz import save_npz

from .examples import predictions, random_predictions


def test_saved_predictions_come_back_without_pickle(tmp_path):
    made = random_predictions(0)
    made.save(tmp_path / "predictions_test.npz")
    with np.load(tmp_path / "predictions_test.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {
            *("row", "key", "material", "family", "label", "logits", "classes"),
            *("energy_kev", "schema_version"),
        }
        assert arrays["logits"].dtype == np.float32
        assert arrays["label"].dtype == arrays["row"].dtype == arrays["classes"].dtype == np.int64
    back = Predictions.load(tmp_path / "predictions_test.npz")
    for name in ("row", "key", "material", "family", "energy_kev", "label", "logits", "classes"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))


def test_predictions_of_a_newer_schema_are_refused(tmp_path):
    np.savez(tmp_path / "p.npz", schema_version=7)
    with pytest.raises(DataError, match="schema_version 7"):
        Predictions.load(tmp_path / "p.npz")


def test_probabilities_are_the_softmax_of_the_logits_even_of_large_ones():
    made = predictions([1, 1], np.array([[1000.0, 1000.0], [0.0, np.log(3)]]), [1, 2])
    np.testing.assert_allclose(made.probabilities, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)
    assert made.predicted.tolist() == [1, 2]


def test_take_selects_by_mask_or_position():
    made = random_predictions(1)
    mask = made.label == made.label[0]
    np.testing.assert_array_equal(made.take(mask).row, np.flatnonzero(mask))
    np.testing.assert_array_equal(made.take(np.flatnonzero(mask)).logits, made.logits[mask])


def test_columns_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="logits"):
        predictions([1, 2, 3], np.zeros((2, 2)), [1, 2])
    with pytest.raises(ValueError, match="logits"):
        predictions([1, 2], np.zeros((2, 3)), [1, 2])
    with pytest.raises(ValueError, match="twice"):
        predictions([1, 2], np.zeros((2, 2)), [2, 2])


def test_parts_over_the_same_classes_are_joined_in_order():
    made = random_predictions(2)
    parts = [made.take(np.arange(5)), made.take(np.arange(5, len(made)))]
    joined = Predictions.concatenate(parts)
    np.testing.assert_array_equal(joined.logits, made.logits)
    np.testing.assert_array_equal(joined.key, made.key)
    with pytest.raises(ValueError, match="classes"):
        Predictions.concatenate([predictions([1], [[0.0]], [1]), predictions([1], [[0.0]], [2])])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("row", lambda column: column[:, None]),
        ("label", lambda column: column + 500),
        ("classes", lambda column: column - column.min()),
        ("family", lambda column: column[:1]),
        ("classes", lambda column: column[:, None]),
        ("label", lambda column: np.int64(3)),
    ],
)
def test_files_of_strangers_are_refused_in_a_sentence(name, damage, tmp_path):
    columns = vars(random_predictions(3))
    save_npz(tmp_path / "p.npz", 1, **{**columns, name: damage(columns[name])})
    with pytest.raises(DataError, match=r"p\.npz holds no predictions"):
        Predictions.load(tmp_path / "p.npz")
