import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error, mean_absolute_percentage_error

from sgexp.evaluation.auxiliary import CrystalAnswers, crystal_figures
from sgexp.evaluation.schema import EvaluationConfig

CONFIG = EvaluationConfig(resamples=200)


def made(n=60, seed=0):
    rng = np.random.default_rng(seed)
    system, cell = rng.integers(0, 7, n), np.hstack([rng.uniform(3, 15, (n, 3)), rng.uniform(60, 120, (n, 3))])
    known = rng.random(n) < 0.8
    answered = np.where(rng.random(n) < 0.5, system, 0)
    true = np.where(known[:, None], cell, np.nan)
    return CrystalAnswers(np.arange(n), answered, cell * rng.uniform(0.8, 1.3, (n, 6)), system, true, known)


def test_figures_are_scikit_learns_over_the_samples_whose_cell_is_known():
    answers = made()
    found = {name: told["value"] for name, told in crystal_figures(answers, np.arange(60) // 3, CONFIG).items()}
    known = answers.known
    lengths, angles = (
        (answers.true_cell[known, :3], answers.cell[known, :3]),
        (
            answers.true_cell[known, 3:],
            answers.cell[known, 3:],
        ),
    )
    assert found == {
        "system_top1": pytest.approx(accuracy_score(answers.true_system, answers.system)),
        "length_error": pytest.approx(mean_absolute_error(*lengths)),
        "length_error_percent": pytest.approx(100 * mean_absolute_percentage_error(*lengths)),
        "angle_error": pytest.approx(mean_absolute_error(*angles)),
    }


def test_intervals_hold_the_figure_and_resample_families():
    answers = made()
    wide = crystal_figures(answers, np.arange(60) // 12, CONFIG)  # five families
    narrow = crystal_figures(answers, np.arange(60), CONFIG)
    for name, told in wide.items():
        assert told["low"] <= told["value"] <= told["high"]
        assert told["value"] == pytest.approx(narrow[name]["value"])
    assert narrow["length_error"]["low"] < narrow["length_error"]["value"] < narrow["length_error"]["high"]
    alone = crystal_figures(answers, np.zeros(60, int), CONFIG)
    assert {(told["low"], told["high"]) for told in alone.values()} == {(None, None)}


def test_what_was_not_asked_and_what_no_cell_is_known_for_has_no_figure():
    answers = made()
    assert set(crystal_figures(answers, np.arange(60), CONFIG, ("angles",))) == {"angle_error"}
    unknown = CrystalAnswers(
        *(getattr(answers, name) for name in ("row", "system", "cell", "true_system", "true_cell")), np.zeros(60)
    )
    assert set(crystal_figures(unknown, np.arange(60), CONFIG)) == {"system_top1"}


def test_one_answer_for_all_is_judged_on_the_same_samples():
    answers = made()
    same = crystal_figures(answers.constant(0, np.full(6, 9.0)), np.arange(60), CONFIG)
    assert same["system_top1"]["value"] == pytest.approx((answers.true_system == 0).mean())
    expected = np.abs(answers.true_cell[answers.known, :3] - 9.0).mean()
    assert same["length_error"]["value"] == pytest.approx(expected)
