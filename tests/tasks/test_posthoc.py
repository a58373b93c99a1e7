"""What a correction after training takes a run's draws to be."""

from types import SimpleNamespace

import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.evaluation.predictions import Predictions
from sgexp.tasks.posthoc import correction_of

CLASSES = np.array([2, 76, 78])


@pytest.fixture
def trained(tmp_path):
    """A run that drew 2 thirty times an epoch, 76 ten times and 78, its mirror image, twice."""
    (tmp_path / "classes.csv").write_text("space_group,drawn\n2,30\n76,10\n78,2\n")
    return SimpleNamespace(folder=tmp_path, classes=CLASSES)


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ([], [30, 10, 2]),
        (["augment.mirror=true"], [30, 6, 6]),  # half of the mirrored pair is shown as the other one
        (["augment.mirror=true", "stage=crt"], [1, 1, 1]),
    ],
)
def test_logits_are_adjusted_for_how_often_labels_were_shown(words, counts, trained):
    names = np.array(["a", "b"])
    logits = np.random.default_rng(0).normal(size=(2, 3))
    answers = Predictions(np.arange(2), names, names, names, np.full(2, 100.0), CLASSES[:2], logits, CLASSES)
    correction, notes = correction_of("logit_adjustment", Composer().check(words), trained)
    share = np.array(counts) / np.sum(counts)
    np.testing.assert_allclose(correction(answers, 0.7).logits, logits - 0.7 * np.log(share), rtol=1e-5, atol=1e-6)
    assert len(notes) == ("stage=crt" in words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sampler=smote"], None),  # its draws are what is adjusted for
        (["loss=ldam", "stage=drw"], "loss and stage"),
        (["mixing=remix"], "mixing"),
    ],
)
def test_what_treated_the_imbalance_in_training_is_named(words, named, trained):
    _, notes = correction_of("logit_adjustment", Composer().check(words), trained)
    assert [note.split(" treated")[0] for note in notes] == ([f"the run's {named}"] if named else [])
