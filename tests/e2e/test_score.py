"""task=score: a run's answers score what the run said, a stranger's file is checked, and the seal is opened aloud."""

import csv
import json
import shutil

import numpy as np
import pytest

from sgexp.evaluation.predictions import Predictions

from ..commands import command, result

SCORE = ("task=score", "size=tiny")


def scored(cwd):
    (folder,) = sorted((cwd / "outputs" / "score").glob("*"))
    return folder


def test_a_runs_own_predictions_score_exactly_what_its_result_says(tiny_run, tmp_path):
    run, _ = tiny_run
    before = result(run)
    for given in (f"task.submission={run / 'predictions_test.npz'}", f"run={run}"):
        cwd = tmp_path / given[:3]
        asked = SCORE if given[0] == "t" else SCORE[:1]
        ended = command(*asked, given, cwd=cwd)
        assert ended.code == 0 and ended.err == ""
        assert "test_material" in ended.words and "macro-F1" in ended.words
        found = result(scored(cwd))
        for part in ("test_material", "test_family"):
            assert found["metrics"][part] == before["metrics"][part]
            assert found["counts"][part] == before["counts"][part]
        assert found["data_fingerprint"] == before["data_fingerprint"] and found["status"] == "finished"
        assert found["test_set"]["sealed"] is False and found["sealed_opened"] is None
        again, own = (Predictions.load(at / "predictions_test.npz") for at in (scored(cwd), run))
        np.testing.assert_array_equal(np.sort(again.row), np.sort(own.row))


def test_a_table_made_from_the_template_is_scored_and_one_of_another_test_set_is_refused(tmp_path):
    ended = command(*SCORE, "task.template=ask.csv", cwd=tmp_path)
    assert ended.code == 0 and "samples are to be answered" in ended.words
    lines = (tmp_path / "ask.csv").read_text().splitlines()
    assert lines[0].startswith("# fingerprint: ") and lines[1] == "id" and not (tmp_path / "outputs").exists()
    text = [lines[0], "id,rank1,rank2,rank3,rank4,rank5", *(f"{line},14,2,62,225,12" for line in lines[2:])]
    (tmp_path / "answers.csv").write_text("\n".join(text))
    ended = command(*SCORE, "task.submission=answers.csv", cwd=tmp_path)
    assert ended.code == 0, ended.err
    found = result(scored(tmp_path))
    assert found["submission"]["kind"] == "ranked" and len(found["submission"]["sha256"]) == 64
    assert sum(found["counts"][part]["samples"] for part in found["counts"]) == len(lines) - 2
    label = Predictions.load(scored(tmp_path) / "predictions_test.npz").label
    hits = sum(found["metrics"][part]["top1"]["value"] * found["counts"][part]["samples"] for part in found["counts"])
    assert hits == pytest.approx(np.count_nonzero(label == 14))

    ended = command(*SCORE, "split.seed=2", f"task.submission={tmp_path / 'answers.csv'}", cwd=tmp_path / "other")
    assert ended.code == 1 and f"answers the test set '{lines[0].split()[-1]}'" in ended.sentence
    assert not (tmp_path / "other" / "outputs").exists()


@pytest.fixture(scope="module")
def sealed_run(tmp_path_factory):
    """A short training on the benchmark's split."""
    cwd = tmp_path_factory.mktemp("sealed")
    ended = command("size=tiny", "trainer=debug", "split=sealed", "logger=none", cwd=cwd)
    assert ended.code == 0, ended.err
    (folder,) = (cwd / "outputs" / "train").glob("*")
    return folder


def test_the_sealed_test_is_never_trained_or_tested_and_opened_only_in_so_many_words(sealed_run, tmp_path):
    ended = command("task=score", f"run={sealed_run}", "task.open_sealed=true", cwd=tmp_path)
    assert ended.code == 0 and "SEALED TEST OPENED" in ended.words, ended.err
    found = result(scored(tmp_path))
    assert found["test_set"]["sealed"] is True and found["sealed_opened"] and "SEALED" in found["stamps"][0]
    sealed = Predictions.load(scored(tmp_path) / "predictions_test.npz")
    with (sealed_run / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(sealed) > 0 and not set(sealed.material.tolist()) & {row["material"] for row in rows}
    assert found["data_fingerprint"] != result(sealed_run)["data_fingerprint"]

    (tmp_path / "own.npz").write_bytes((sealed_run / "predictions_test.npz").read_bytes())
    words = ("split=sealed", "task.open_sealed=true", "task.submission=own.npz")
    ended = command(*SCORE, *words, cwd=tmp_path)
    assert ended.code == 1 and "own.npz" in ended.sentence  # answers to the open test are no answers to the sealed one


def test_wrong_questions_are_answered_in_one_sentence(tiny_run, tmp_path):
    ended = command("task=score", cwd=tmp_path)
    assert ended.code == 2 and "give one of them" in ended.sentence
    ended = command("task=score", f"run={tiny_run[0]}", "task.open_sealed=true", cwd=tmp_path)
    assert ended.code == 2 and "has no sealed test: choose split=sealed" in ended.sentence
    other = tmp_path / "run"
    shutil.copytree(tiny_run[0], other)
    (other / "result.json").write_text(json.dumps(result(other) | {"data_fingerprint": "0" * 32}))
    ended = command("task=score", f"run={other}", cwd=tmp_path)
    assert ended.code == 1 and "was trained on data '000000000000'" in ended.sentence
