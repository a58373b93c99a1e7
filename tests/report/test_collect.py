"""Run folders are found and believed in nothing: what cannot be read is left out with the reason."""

import json
import os

import pytest

from sgexp.errors import ConfigError, UserError
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.report.collect import collect, find_folders, read_run
from sgexp.report.index_page import confidence_of
from sgexp.report.leaderboard import differing_keys, leaderboard, show
from sgexp.report.writing import Report

from .folders import change, folders, other_run, record


@pytest.fixture
def run(tiny_run, tmp_path):
    return other_run(tiny_run[0], tmp_path / "run", 0)


@pytest.fixture
def outputs(tiny_run, tmp_path):
    return folders(tiny_run[0], tmp_path / "outputs")


def names(paths):
    return {path.name for path in paths}


def test_every_run_below_the_output_folder_is_found_and_what_is_none_is_left_out(outputs):
    (outputs / "report").mkdir()
    (outputs / "report" / "index.html").write_text("ours")
    found = collect(find_folders(None, outputs, outputs / "report"))
    runs = {"none-1", "none-2", "smote-1", "smote-2", "random_over-1", "random_over-2", "hostile", "leaky", "running"}
    assert names(run.folder for run in found.runs) == runs
    reasons = {path.name: reason for path, reason in found.left_out}
    assert set(reasons) == {"cut", "list", "no_figures", "foreign"}
    assert reasons["foreign"] == "it has no result.json"
    assert all(str(outputs) not in reason for reason in reasons.values())


def test_folders_and_patterns_choose_runs(outputs):
    own = outputs / "report"
    assert names(find_folders([f"{outputs}/train/smote-*"], outputs, own)) == {"smote-1", "smote-2"}
    both = find_folders([str(outputs / "train" / "smote-1"), f"{outputs}/train/smote*"], outputs, own)
    assert [path.name for path in both] == ["smote-1", "smote-2"]
    with pytest.raises(ConfigError, match="nowhere names no folder"):
        find_folders([str(outputs / "nowhere")], outputs, own)
    with pytest.raises(ConfigError, match="there is no such folder"):
        find_folders(None, outputs / "nowhere", own)


def test_a_link_does_not_lead_out_of_the_folder(outputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (outputs / "train" / "none-1").rename(tmp_path / "elsewhere" / "none-1")
    (outputs / "train" / "link").symlink_to(tmp_path / "elsewhere")
    assert "none-1" not in names(find_folders(None, outputs, outputs / "report"))


def test_a_link_that_is_named_is_followed_and_one_that_a_pattern_finds_is_not(outputs, tmp_path):
    (tmp_path / "link").symlink_to(outputs / "train" / "none-1")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "all").symlink_to(outputs / "train")
    assert find_folders([str(tmp_path / "link")], outputs) == [tmp_path / "link"]
    assert names(find_folders([f"{tmp_path}/links/all/smote-*"], outputs)) == {"smote-1", "smote-2"}
    for pattern in (f"{tmp_path}/lin[k]", f"{tmp_path}/links/*", f"{tmp_path}/links/*/smote-1"):
        with pytest.raises(ConfigError, match="names no folder"):
            find_folders([pattern], outputs)


@pytest.mark.parametrize("seconds", [1e14, 1e300, -1.0, float("inf"), float("nan")])
def test_a_time_that_no_run_can_take_is_not_shown_and_stops_no_report(run, tmp_path, seconds):
    change(run, wall_seconds=seconds)
    found = collect([run])
    assert found.runs[0].seconds is None
    Report(tmp_path, tmp_path, found, leaderboard(found.runs), EvaluationConfig(), []).write_tables()
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"metrics": []}, "its metrics is no mapping"),
        ({"metrics": {"test_family": {"top1": 0.5}}}, "its metrics.test_family.top1 is no mapping"),
        ({"metrics": {"test_family": {"top1": {"value": "0.5"}}}}, "top1.value is no number"),
        ({"metrics": {}}, "it is finished, but has no figures"),
        ({"name": ["x"]}, "its name is no text"),
        ({"stamps": "LEAKY"}, "its stamps is no list"),
        ({"seed": "1"}, "its seed is no whole number"),
        ({"status": "<b>"}, "its status is none that sgexp writes"),
        ({"schema_version": 99}, "written by a newer sgexp"),
        ({"status": "running", "host": "elsewhere", "heartbeat": "now"}, "cannot be read (ValueError)"),
        ({"counts": {"test_family": {"samples": None}}}, "cannot be read (TypeError)"),
    ],
)
def test_a_record_that_is_not_as_ours_is_left_out_with_the_reason(run, facts, reason):
    change(run, **facts)
    with pytest.raises(UserError) as refused:
        read_run(run)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 5 + '"a":' * 3, "\x00", "NaN", '"' + "x" * 5_000_000 + '"'])
def test_no_file_stops_the_report(run, text):
    (run / "result.json").write_text(text)
    with pytest.raises(UserError):
        read_run(run)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(run):
    (run / "result.json").unlink()
    os.mkfifo(run / "result.json")
    with pytest.raises(UserError, match="is no file"):
        read_run(run)


def test_settings_of_any_kind_are_shown(run):
    config = record(run)["config"] | {"evaluation": {"confidence": "much"}, "trainer": None, "more": [1, {"a": 2}]}
    change(run, config=config | {"long": "x" * 10_000}, name="")
    found = read_run(run)
    assert found.name == "run" and confidence_of([found]) == "95 %"
    assert found.config["more"] == '[1, {"a": 2}]' and len(show(found.config["long"])) < 400


def test_figures_that_are_no_numbers_are_not_shown(run):
    told = record(run)["metrics"]
    told["test_family"]["top1"]["value"] = None
    told["test_family"]["top5"] |= {"low": None, "high": float("inf")}
    (run / "result.json").write_text(json.dumps(record(run) | {"metrics": told}))
    found = read_run(run)
    assert found.figure("test_family", "top1") is None
    assert found.figure("test_family", "top5")[1:] == (None, None)


def test_test_sets_are_never_mixed_and_the_leaky_one_comes_last(outputs):
    sets = leaderboard(collect(find_folders(None, outputs, outputs / "report")).runs)
    assert [(item.letter, len(item.rows), item.leaky) for item in sets] == [("A", 7, False), ("B", 1, True)]
    assert sets[1].stamps and not sets[0].stamps


def test_seeds_of_one_experiment_share_a_row_with_mean_and_spread(outputs):
    (first, _) = leaderboard(collect(find_folders(None, outputs, outputs / "report")).runs)
    row = next(row for row in first.experiments if row.runs[0].name == "smote")
    assert row.seeds == (1, 2)
    values = [run.figure("validation", "macro_f1")[0] for run in row.runs]
    told = row.cell("validation", "macro_f1")
    assert told.value == pytest.approx(sum(values) / 2)
    assert told.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert told.low <= told.value <= told.high
    places = [item.cell("validation", "macro_f1").value for item in first.rows]
    assert places == sorted(places, reverse=True)


def test_a_run_from_before_a_field_was_added_is_a_seed_of_the_same_experiment(tiny_run, tmp_path):
    old = other_run(tiny_run[0], tmp_path / "run1", 0, seed=1)
    other_run(tiny_run[0], tmp_path / "run2", 0, seed=2)
    config = record(old)["config"]
    del config["simulation"]["file_displacement"], config["head"]
    change(old, config=config)
    (item,) = leaderboard(collect(sorted(tmp_path.glob("run*"))).runs)
    assert [row.seeds for row in item.experiments] == [(1, 2)]


def test_a_repeated_seed_is_no_second_seed(tiny_run, tmp_path):
    for number in (1, 2, 3):
        other_run(tiny_run[0], tmp_path / f"run{number}", 0, started=f"2026-01-0{number}")
    (item,) = leaderboard(collect(sorted(tmp_path.glob("run*"))).runs)
    (row,) = item.experiments
    assert [run.folder.name for run in row.runs] == ["run3"] and row.repeats == 2 and len(item.rows) == 3


def test_only_settings_that_differ_are_told_and_only_once(outputs):
    runs = [run for run in collect(find_folders(None, outputs, outputs / "report")).runs if run.name != "leaky"]
    assert differing_keys(runs) == ["model.norm"]  # the sampler has a column, the seed is not the experiment
