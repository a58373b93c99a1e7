"""Submissions: every format means the same answers, figures are scikit-learn's, and what does not fit is refused."""

import csv
import pickle

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from sgexp.errors import DataError
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.submission import GROUPS, RANKS, TestSet, read_answers

from .examples import predictions, random_predictions

CONFIG = EvaluationConfig(resamples=100)
ALL = GROUPS.tolist()


@pytest.fixture(scope="module")
def logits():
    """Logits over all 230 groups for 150 samples, right for some."""
    rng = np.random.default_rng(3)
    label = random_predictions(3).label
    found = rng.normal(size=(len(label), 230))
    found[np.arange(len(label)), label - 1] += rng.normal(2, 1, len(label))
    return label, found.astype(np.float32)


@pytest.fixture(scope="module")
def asked(logits):
    label, _ = logits
    nothing = np.zeros((len(label), 0), np.float32)
    samples = predictions(label, nothing, np.zeros(0), family=[f"f{i // 3}" for i in range(len(label))])
    return TestSet(np.array([f"batch_train_{i % 4}.h5/sample_{i}_0" for i in range(len(label))]), samples)


def write_csv(path, ids, values, header=ALL, fingerprint=None, order=None):
    with path.open("w", newline="") as file:
        if fingerprint:
            file.write(f"# fingerprint: {fingerprint}\n# anything else\n")
        rows = csv.writer(file)
        rows.writerow(["id", *header])
        for at in range(len(ids)) if order is None else order:
            rows.writerow([ids[at], *values[at].tolist()])
    return path


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def figures(found, probabilistic=True):
    return evaluate(found, {}, CONFIG, probabilistic).metrics


def test_every_format_gives_scikit_learns_figures(asked, logits, tmp_path):
    label, scores = logits
    order = np.random.default_rng(0).permutation(len(label))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5] + 1
    probabilities = softmax(scores.astype(np.float64), axis=1)
    ids = asked.ids
    files = {
        "logits": write_npz(tmp_path / "a.npz", id=ids[order], logits=scores[order], fingerprint=asked.fingerprint),
        "probabilities": write_npz(tmp_path / "b.npz", id=ids, probabilities=probabilities),
        "ranked": write_npz(tmp_path / "c.npz", id=ids[order], ranked=best[order]),
        "csv logits": write_csv(tmp_path / "d.csv", ids, scores, fingerprint=asked.fingerprint, order=order),
        "csv probabilities": write_csv(tmp_path / "e.csv", ids, probabilities),
        "csv ranked": write_csv(tmp_path / "f.csv", ids, best, header=RANKS),
    }
    top1 = accuracy_score(label, best[:, 0])
    top5 = top_k_accuracy_score(label, scores, k=5, labels=GROUPS)
    macro = f1_score(label, best[:, 0], labels=np.unique(label), average="macro", zero_division=0)
    assert 0.2 < top1 < top5 < 1
    for name, path in files.items():
        answers = read_answers(path)
        assert answers.kind in name
        found = figures(asked.answered(answers), answers.kind != "ranked")
        assert found["top1"].value == pytest.approx(top1), name
        assert found["top5"].value == pytest.approx(top5), name
        assert found["macro_f1"].value == pytest.approx(macro), name
        assert ("ece" in found) == (answers.kind != "ranked")
    with_ece = [figures(asked.answered(read_answers(files[name])))["ece"].value for name in ("logits", "probabilities")]
    assert with_ece[0] == pytest.approx(with_ece[1], abs=1e-5)


def test_columns_may_stand_in_any_order_and_name_fewer_groups(asked, logits, tmp_path):
    label, scores = logits
    mixed = np.random.default_rng(1).permutation(230)
    path = write_csv(tmp_path / "a.csv", asked.ids, scores[:, mixed], header=GROUPS[mixed].tolist())
    np.testing.assert_allclose(asked.answered(read_answers(path)).logits, scores)
    few = np.unique(label)
    path = write_npz(tmp_path / "b.npz", id=asked.ids, logits=scores[:, few - 1], classes=few)
    answered = asked.answered(read_answers(path))
    np.testing.assert_array_equal(answered.classes, few)
    np.testing.assert_array_equal(answered.predicted, few[scores[:, few - 1].argmax(1)])


def test_a_runs_own_predictions_are_a_submission(asked, logits, tmp_path):
    label, scores = logits
    own = predictions(label, scores, GROUPS, family=asked.samples.family)
    own.take(np.random.default_rng(2).permutation(len(own))).save(tmp_path / "predictions_test.npz")
    answered = asked.answered(read_answers(tmp_path / "predictions_test.npz"))
    np.testing.assert_array_equal(answered.logits, scores)
    np.testing.assert_array_equal(answered.label, label)
    material = own.material.copy()
    material[7] = "another"
    predictions(label, scores, GROUPS, material=material).save(tmp_path / "other.npz")
    with pytest.raises(DataError, match="was made for other data: the material of 1 samples differs, first in row 7"):
        asked.answered(read_answers(tmp_path / "other.npz"))
    own.take(np.arange(5)).save(tmp_path / "few.npz")
    with pytest.raises(DataError, match="of the test set are not answered, such as 'batch_train_"):
        asked.answered(read_answers(tmp_path / "few.npz"))


def changed(values, at, to):
    values = np.array(values, dtype=np.float64 if isinstance(to, float) else None)
    values[at] = to
    return values


MISTAKES = {
    "id missing": (lambda i, s: {"id": i[1:], "logits": s[1:]}, "1 samples of the test set are not answered"),
    "id twice": (lambda i, s: {"id": [*i[:-1], i[0]], "logits": s}, "1 samples are answered more than once"),
    "id foreign": (lambda i, s: {"id": [*i[:-1], "x"], "logits": s}, "1 samples are not in this test set, such as 'x'"),
    "fingerprint": (lambda i, s: {"id": i, "logits": s, "fingerprint": "0" * 16}, "answers the test set '0000"),
    "nan": (lambda i, s: {"id": i, "logits": changed(s, (3, 4), np.nan)}, "1 of 1.. samples are not all finite"),
    "huge": (lambda i, s: {"id": i, "logits": changed(s, (3, 4), 1e300)}, "not all finite"),
    "width": (lambda i, s: {"id": i, "logits": s[:, 1:]}, r"must be numbers of shape \(1.., 230\)"),
    "text": (lambda i, s: {"id": i, "logits": s.astype(str)}, "must be numbers of shape"),
    "sum": (lambda i, s: {"id": i, "probabilities": np.full(s.shape, 0.5)}, "no probabilities: negative, or not"),
    "rank twice": (lambda i, s: {"id": i, "ranked": np.ones((len(i), 5), int)}, "not five different space groups"),
    "rank 231": (lambda i, s: {"id": i, "ranked": np.tile(np.arange(227, 232), (len(i), 1))}, "not five different"),
    "two kinds": (
        lambda i, s: {"id": i, "logits": s, "probabilities": s},
        "one of 'logits', 'probabilities', 'ranked'",
    ),
    "no ids": (lambda i, s: {"logits": s}, "must hold the array 'id'"),
    "numbers": (lambda i, s: {"id": np.arange(len(i)), "logits": s}, "'id' must be one row of texts"),
    "class 0": (lambda i, s: {"id": i, "logits": s, "classes": np.arange(230)}, "from 1 to 230"),
    "class twice": (lambda i, s: {"id": i, "logits": s, "classes": np.ones(230, int)}, "different space-group numbers"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_an_npz_that_does_not_fit_is_refused_in_one_sentence(name, asked, logits, tmp_path):
    make, sentence = MISTAKES[name]
    path = write_npz(tmp_path / "a.npz", **make(asked.ids, logits[1]))
    with pytest.raises(DataError, match=sentence) as refused:
        asked.answered(read_answers(path))
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "first column must be called 'id', not ''"),
        ("sample,rank1\n", "first column must be called 'id', not 'sample'"),
        ("id,1,2,3\n", "has 3 columns beside 'id': they must be rank1"),
        ("id,rank1,rank2,rank3,rank4,rank5\na,1,2\n", "the row of 'a' has 3 columns, not 6"),
        ("id,rank1,rank2,rank3,rank4,rank5\na,1,2,3,4,five\n", "the row of 'a' holds something that is no number"),
        ("id,rank1,rank2,rank3,rank4,rank5\na,1,2,3,4,4.5\n", "ranks must be space-group numbers"),
        ("id,rank1,rank2,rank3,rank4,rank5\na,1,2,3,4,nan\n", "ranks must be space-group numbers"),
        ("id,rank1,rank2,rank3,rank4,rank5\n", "of the test set are not answered"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_sentence(text, sentence, asked, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        asked.answered(read_answers(tmp_path / "a.csv"))


class Dangerous:
    def __reduce__(self):
        return (open, ("was_run", "w"))


def test_a_strangers_file_runs_nothing(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", id=asked.ids, logits=np.array([Dangerous()], dtype=object))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Dangerous()))
    (tmp_path / "c.csv").write_bytes(pickle.dumps(Dangerous()))
    for name in ("a.npz", "b.npz", "c.csv"):
        with pytest.raises(DataError):
            read_answers(tmp_path / name)
    assert not (tmp_path / "was_run").exists()


def test_the_fingerprint_names_the_samples_and_not_their_order(asked):
    turned = TestSet(asked.ids[::-1], asked.samples.take(np.arange(len(asked.ids))[::-1]))
    assert turned.fingerprint == asked.fingerprint
    label = asked.samples.label.copy()
    label[0] = label[0] % 230 + 1
    other = predictions(label, asked.samples.logits, np.zeros(0), family=asked.samples.family)
    assert TestSet(asked.ids, other).fingerprint != asked.fingerprint
