"""``task=compare`` on copies of one real run whose answers and configs are changed."""

import csv
import json
import shutil

import numpy as np
import pytest

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.metrics import evaluate
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.run_folders import PARTS, compare_runs, read_predictions, train_families
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.treatments import by_treatment, differences
from sgexp.runs import RunResult
from sgexp.tasks.compare import finished_runs
from sgexp.tasks.schema import CompareTask

from ..commands import command, result


def copy(run, parent, name, seed, boost=0.0, sampler="sgexp.sampling.plain.Plain", **changes):
    """Copy a run folder as if trained by another sampler and seed, its answers better by ``boost``."""
    folder = parent / f"2026-01-01_00-00-0{seed}_{name}"
    shutil.copytree(run, folder)
    path = folder / "predictions_test.npz"
    found = Predictions.load(path)
    logits = found.logits + np.random.default_rng([seed, round(100 * boost)]).normal(0, 1, found.logits.shape)
    logits[np.arange(len(found)), np.searchsorted(found.classes, found.label)] += boost
    found.answered_by(logits.astype(np.float32)).save(path)
    record = result(folder)
    config = record["config"] | {"seed": seed, "sampler": {"_target_": sampler}}
    record |= {"name": name, "seed": seed, "config": config, **changes}
    (folder / "result.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def sweep(tiny_run, tmp_path_factory):
    """A folder of two treatments of three seeds each."""
    parent = tmp_path_factory.mktemp("sweep") / "train"
    for seed in (1, 2, 3):
        copy(tiny_run[0], parent, "none", seed)
        copy(tiny_run[0], parent, "smote", seed, boost=4.0, sampler="sgexp.sampling.smote.Smote")
    return parent


def read(parent):
    return [RunResult.read(folder) for folder in sorted(parent.iterdir())]


def test_the_command_prints_tables_and_verdicts_and_writes_what_is_asked(sweep, tmp_path):
    wanted = ("task.figures=[macro_f1,top1]", "task.csv=table.csv", "task.json=all.json")
    ended = command("task=compare", f"task.runs=[{sweep}]", *wanted, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "smote is better than none in top1" in ended.words
    assert "Holm, 2" in ended.words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.json", "table.csv"]  # and no run folder
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    written = json.loads((tmp_path / "all.json").read_text())["comparisons"]
    assert [row["verdict"] for row in rows] == [item["verdict"] for item in written]
    assert float(rows[1]["value_a"]) == written[1]["value_a"]


def test_what_a_later_version_has_added_is_no_difference_unless_it_is_used(tiny_run, tmp_path):
    for seed in (1, 2, 3):
        path = copy(tiny_run[0], tmp_path, "none", seed) / "result.json"
        record = json.loads(path.read_text())
        if seed == 1:  # as before there were these
            del record["config"]["simulation"]["file_displacement"], record["config"]["head"]
        if seed == 3:
            record["config"]["simulation"]["file_displacement"] = True
        path.write_text(json.dumps(record))
    treatments, _ = by_treatment(read(tmp_path))
    assert sorted(len(runs) for runs in treatments.values()) == [1, 2]


def test_one_treatment_is_not_enough_and_unfinished_runs_are_left_out(sweep, tmp_path):
    ended = command("task=compare", f"task.runs=[{sweep}/*none]", cwd=tmp_path)
    assert ended.code == 2 and "two treatments, but the 3 finished runs found are of 1: seeds of none" in ended.sentence
    assert command("task=compare", "task.runs=[nowhere]", cwd=tmp_path).code == 2


def test_only_trainings_judged_on_the_asked_part_are_compared(sweep, tmp_path):
    shutil.copytree(sweep, tmp_path / "outputs" / "train")
    folders = sorted((tmp_path / "outputs" / "train").iterdir())
    record = result(folders[0])
    audit = tmp_path / "outputs" / "audit" / "one"
    audit.mkdir(parents=True)
    (audit / "result.json").write_text(json.dumps({**record, "task": "audit", "metrics": {}}))
    (folders[0] / "result.json").write_text(json.dumps(record | {"metrics": {"validation": {}}}))
    task = CompareTask()
    runs, left_out = finished_runs(task, tmp_path / "outputs")
    assert [run.folder for run in runs] == folders[1:]
    assert left_out == [f"left out: {folders[0]} was not judged on test_family"]


def test_the_parts_are_kept_apart_and_give_the_runs_own_figures(tiny_run):
    folder, _ = tiny_run
    record = result(folder)
    for part in PARTS:
        own = read_predictions(folder, part)
        assert len(own) == record["counts"][part]["samples"]
        figures = evaluate(own, train_families(folder), EvaluationConfig()).as_dict()
        for name in ("top1", "macro_f1", "few_shot"):
            assert figures[name]["value"] == pytest.approx(record["metrics"][part][name]["value"])


def test_runs_are_seeds_of_one_treatment_when_nothing_but_the_seed_differs(sweep):
    treatments, notes = by_treatment(read(sweep))
    assert {name: [run.record["seed"] for run in runs] for name, runs in treatments.items()} == {
        "none": [1, 2, 3],
        "smote": [1, 2, 3],
    }
    assert notes == ()


def test_a_repeated_seed_counts_once_the_latest(tiny_run, tmp_path):
    copy(tiny_run[0], tmp_path / "a", "none", 1, started="2026-01-01T00:00:00")
    copy(tiny_run[0], tmp_path / "b", "none", 1, started="2026-01-02T00:00:00")
    treatments, notes = by_treatment([*read(tmp_path / "b"), *read(tmp_path / "a")])
    ((_, runs),) = treatments.items()
    assert [run.folder.parent.name for run in runs] == ["b"]
    assert notes == ("1 runs repeat a seed: of those only the latest counts",)


def test_treatments_of_one_name_are_told_apart_by_what_differs(tiny_run, tmp_path):
    copy(tiny_run[0], tmp_path, "default", 1)
    copy(tiny_run[0], tmp_path, "default", 2, sampler="sgexp.sampling.smote.Smote")
    treatments, _ = by_treatment(read(tmp_path))
    assert list(treatments) == ["default (sampler=Plain)", "default (sampler=Smote)"]


def test_differences_name_only_what_differs():
    one, other = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert differences([one, other]) == [{"a.c": 2}, {"a.c": 4, "e": 5}]


@pytest.mark.parametrize(
    ("changes", "stamp"),
    [({"data_fingerprint": "other"}, "DIFFERENT DATA"), ({"split": {"digest": "other"}}, "DIFFERENT SPLITS")],
)
def test_runs_on_other_data_or_splits_are_refused_or_stamped(tiny_run, tmp_path, changes, stamp):
    copy(tiny_run[0], tmp_path, "none", 1)
    copy(tiny_run[0], tmp_path, "smote", 2, sampler="x", **changes)
    treatments, _ = by_treatment(read(tmp_path))
    with pytest.raises(DataError, match=f"{stamp}.*task.allow_different=true"):
        compare_runs(treatments)
    (found,) = compare_runs(treatments, allow_different=True)
    assert found.stamps[0].startswith(stamp)


def test_a_stamp_of_a_run_stays_on_its_comparisons(tiny_run, tmp_path):
    copy(tiny_run[0], tmp_path, "none", 1)
    copy(tiny_run[0], tmp_path, "smote", 2, sampler="x", stamps=["LEAKY SPLIT (sample)"])
    (found,) = compare_runs(by_treatment(read(tmp_path))[0])
    assert found.stamps == ("LEAKY SPLIT (sample)",)


def test_damaged_folders_end_in_a_sentence(tiny_run, tmp_path):
    runs = [copy(tiny_run[0], tmp_path, "none", 1), copy(tiny_run[0], tmp_path, "smote", 2, sampler="x")]
    treatments, _ = by_treatment(read(tmp_path))
    (runs[0] / "split.csv").write_text("row,split\nabc,train\n")
    with pytest.raises(DataError, match=r"split\.csv cannot be read"):
        compare_runs(treatments)
    shutil.copy(runs[1] / "split.csv", runs[0] / "split.csv")
    (runs[1] / "predictions_test.npz").write_bytes(b"no npz")
    with pytest.raises(DataError, match=r"predictions_test\.npz cannot be read"):
        compare_runs(treatments)
    record = result(runs[0])
    (runs[0] / "result.json").write_text(json.dumps(record | {"status": "interrupted"}))
    with pytest.raises(ConfigError, match="interrupted: only finished runs"):
        compare_runs(by_treatment(read(tmp_path))[0])
