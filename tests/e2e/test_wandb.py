"""What W&B would be told of a run, read from its offline record: all of it, ended as the run ended."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import psutil
import pytest
import yaml
from sklearn.metrics import confusion_matrix, recall_score

from ..commands import caught, command, end, held, only_run, result, runs, start, wait_for
from ..wandb_record import segments

TINY = ("size=tiny", "trainer.epochs=3")


def rows(folder):
    """Return the rows of metrics.csv as numbers, without the empty cells."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


def logged(segment):
    """Return the rows of a record that came from metrics.csv, without what wandb adds."""
    found = [row for row in segment.history if "epoch" in row]
    assert all(row["trainer/global_step"] == row["step"] for row in found)
    return [
        {name: value for name, value in row.items() if not name.startswith("_") and name != "trainer/global_step"}
        for row in found
    ]


def table(segment, key):
    """Return (columns, rows) of a table that was logged under ``key``."""
    (path,) = segment.path.parent.glob(f"files/media/table/{key}_*.table.json")
    found = json.loads(path.read_text())
    return found["columns"], found["data"]


def test_every_value_of_metrics_csv_is_in_the_record_at_its_step(wandb_run):
    folder, _ = wandb_run
    (segment,) = segments(folder)
    assert len(rows(folder)) == 3 and "val/macro_f1" in rows(folder)[0]
    assert logged(segment) == rows(folder)


def test_the_record_says_how_the_run_ended_and_what_it_was(wandb_run):
    folder, _ = wandb_run
    (segment,) = segments(folder)
    assert segment.exit_code == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert segment.config == json.loads(json.dumps(config))
    run = segment.run
    assert (run.project, run.display_name, run.job_type) == ("sgexp", folder.name, "train")
    assert run.run_id == json.loads((folder / "wandb" / "run.json").read_text())["id"]
    assert run.run_group.startswith("tiny-")
    choices = {"dataset:crystals", "split:nested", "sampler:none", "model:small", "loss:cross_entropy", "size:tiny"}
    assert set(run.tags) == choices


def test_the_summary_holds_every_figure_of_the_result_with_its_interval_and_the_baselines(wandb_run):
    folder, _ = wandb_run
    summary, record = segments(folder)[0].summary, result(folder)
    scored = {"": record["metrics"]} | {f"baseline/{name}/": parts for name, parts in record["baselines"].items()}
    count = 0
    for prefix, parts in scored.items():
        for part, figures in parts.items():
            for name, figure in figures.items():
                for ending, key in (("", "value"), ("_low", "low"), ("_high", "high")):
                    if figure[key] is not None:
                        assert summary[f"{prefix}{part}/{name}{ending}"] == figure[key]
                        count += 1
    assert count > 100
    assert summary["config_hash"] == record["config_hash"]


def test_tables_show_the_classes_and_what_scikit_learn_says_of_the_predictions(wandb_run):
    folder, _ = wandb_run
    (segment,) = segments(folder)
    columns, shown = table(segment, "class_distribution")
    with (folder / "classes.csv").open(newline="") as stream:
        for row, found in zip(shown, csv.DictReader(stream), strict=True):
            cells = dict(zip(columns, row, strict=True))
            assert int(cells["space_group"].split()[0]) == int(found["space_group"])
            assert all(cells[name] == int(value) for name, value in found.items() if name != "space_group")

    with np.load(folder / "predictions_test.npz", allow_pickle=False) as arrays:
        row, label, logits, classes = (arrays[name] for name in ("row", "label", "logits", "classes"))
    with (folder / "split.csv").open(newline="") as stream:
        split = [line["split"] for line in csv.DictReader(stream)]
    for part in ("test_family", "test_material"):
        mine = np.array([split[place] == part for place in row])
        true, predicted = label[mine], classes[logits[mine].argmax(1)]
        _, recall = table(segment, f"recall/{part}_table")
        expected = recall_score(true, predicted, labels=np.unique(true), average=None, zero_division=0)
        assert {int(line[0].split()[0]): line[1] for line in recall} == pytest.approx(
            dict(zip(np.unique(true).tolist(), expected.tolist(), strict=True))
        )
        _, cells = table(segment, f"confusion/space_group/{part}_table")
        matrix = confusion_matrix(true, predicted, labels=range(1, 231))
        assert {(int(a.split()[0]), int(b.split()[0])): count for a, b, count in cells} == {
            (a + 1, b + 1): matrix[a, b] for a, b in np.argwhere(matrix).tolist()
        }
        _, cells = table(segment, f"confusion/crystal_system/{part}_table")
        assert len(cells) == 49 and sum(cell[2] for cell in cells) == len(true)
        assert segment.charts[f"recall/{part}"] == "wandb/bar/v0"
        assert segment.charts[f"confusion/space_group/{part}"] == "wandb/confusion_matrix/v1"


def test_artifacts_and_pictures_are_files_of_the_run(wandb_run):
    folder, _ = wandb_run
    (segment,) = segments(folder)
    kept = {kind: files for kind, files in segment.artifacts.items() if kind != "run_table"}
    assert {kind: set(files) for kind, files in kept.items()} == {
        "config": {"config.yaml", "overrides.yaml", "provenance.json"},
        "split": {"split.csv", "classes.csv", "set_aside.csv"},
        "plan": {"plan.npz"},
        "predictions": {"predictions_validation.npz", "predictions_test.npz"},
    }
    for files in segment.artifacts.values():
        for path in files.values():
            assert os.path.realpath(path).startswith(os.path.realpath(folder)) and os.path.getsize(path)
    pictures = {path.name.rpartition("_")[0].rpartition("_")[0] for path in segment.path.parent.rglob("*.png")}
    assert pictures == {"class_distribution", "examples"}
    kinds = {key: segment.summary[f"{key}/_type"] for key in ("pictures/examples", "class_distribution")}
    assert kinds == {"pictures/examples": "image-file", "class_distribution": "table-file"}


def test_the_terminal_hears_of_it_in_one_line(wandb_run):
    _, ended = wandb_run
    assert ended.err == ""
    lines = [line for line in ended.out.splitlines() if "wandb" in line.lower() or "W&B" in line]
    assert lines[1:] == ["W&B recorded offline; upload with: python -m sgexp task=sync"]
    assert lines[0].strip() == "├── logger WandbLogger"


def test_nothing_is_written_outside_the_run_folder(wandb_run):
    folder, _ = wandb_run
    cwd = folder.parents[2]
    home = {path.relative_to(cwd / "home").parts[1] for path in (cwd / "home").glob("*/*")}
    assert home <= {"matplotlib", "fontconfig"} and {path.name for path in cwd.iterdir()} <= {"home", "outputs"}
    links = [path for path in (folder / "wandb").rglob("*") if path.is_symlink()]
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in links)


def again(wandb_run, tmp_path):
    """Return a copy of the finished run that says that it was interrupted."""
    copy = shutil.copytree(wandb_run[0], tmp_path / "copy", symlinks=True)
    record = result(copy) | {"status": "interrupted"}
    (copy / "result.json").write_text(json.dumps(record))
    return copy


def test_a_resumed_run_goes_on_under_its_id_and_its_last_record_tells_all(wandb_run, tmp_path):
    folder = again(wandb_run, tmp_path)
    ended = command(f"resume={folder}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    first, second = segments(folder)
    assert second.run.run_id == first.run.run_id
    assert (second.run.run_group, list(second.run.tags)) == (first.run.run_group, list(first.run.tags))
    assert logged(second) == rows(folder) == logged(first)
    assert second.summary["test_family/top1"] == result(folder)["metrics"]["test_family"]["top1"]["value"]


@pytest.mark.slow
def test_ctrl_c_and_what_follows_are_told_as_they_were(tmp_path):
    def interrupt(cwd):
        process = start("size=tiny", "trainer.epochs=40", "callbacks.progress=false", cwd=cwd)
        history = cwd / "outputs" / "train"
        wait_for(lambda: any(len(path.read_text().splitlines()) > 3 for path in history.glob("*/metrics.csv")), process)
        os.killpg(process.pid, signal.SIGINT)
        ended = end(process)
        if len(rows(only_run(cwd))) == 40:
            return None
        assert ended.code == 130, ended.err
        return only_run(cwd)

    folder = caught(interrupt, tmp_path)
    assert segments(folder)[0].exit_code == 130
    before = logged(segments(folder)[0])
    assert len(before) >= 3 and before == rows(folder)
    assert command(f"resume={folder}", cwd=tmp_path).code == 0
    last = segments(folder)[-1]
    assert last.exit_code == 0 and len(rows(folder)) == 40
    assert logged(last) == rows(folder)


@pytest.mark.slow
def test_jobs_in_one_process_have_a_run_each_and_fail_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    broken = f"dataset.cifs={tmp_path / 'empty'},null"
    ended = command("-m", "hydra/launcher=basic", *TINY, broken, "evaluation.baselines=[]", cwd=tmp_path)
    assert ended.code == 1
    first, second = (segments(folder) for folder in runs(tmp_path))
    assert [segment.exit_code for segment in (*first, *second)] == [1, 0]
    assert first[0].run.run_id != second[0].run.run_id
    assert logged(first[0]) == [] and logged(second[0]) == rows(runs(tmp_path)[1])


@pytest.mark.slow
def test_a_run_outlives_the_service_that_records_it_and_tells_the_next_one_all(tmp_path):
    def lose_the_service(cwd):
        process = start("size=tiny", "trainer.epochs=40", "callbacks.progress=false", cwd=cwd)
        history = cwd / "outputs" / "train"
        wait_for(lambda: any(len(path.read_text().splitlines()) > 1 for path in history.glob("*/metrics.csv")), process)
        with held(process.pid):
            services = [child for child in psutil.Process(process.pid).children() if "wandb-core" in child.name()]
            for service in services:
                service.kill()
            missed = len(services) != 1 or len(rows(only_run(cwd))) == 40
        ended = end(process)
        return None if missed else (only_run(cwd), ended)

    folder, ended = caught(lose_the_service, tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.words.count("W&B recorded offline") == 1 and "records no more" not in ended.words
    first, second = segments(folder)
    assert first.exit_code is None and second.exit_code == 0
    assert len(rows(folder)) == 40 and logged(second) == rows(folder)
    assert second.summary["test_family/top1"] == result(folder)["metrics"]["test_family"]["top1"]["value"]


@pytest.mark.slow
def test_where_nobody_is_logged_in_an_online_run_is_recorded_offline(tmp_path):
    online = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path / "home")}
    ended = command(*TINY, cwd=tmp_path, env=online)
    assert ended.code == 0, ended.err
    assert "recorded offline (no account is set up here: `wandb login` does that)" in ended.words
    assert segments(only_run(tmp_path))[0].exit_code == 0


def test_a_mode_that_wandb_does_not_have_is_refused_before_anything_is_made(tmp_path):
    ended = command(*TINY, cwd=tmp_path, env={"WANDB_MODE": "onlin"})
    assert ended.code == 2
    assert ended.sentence.startswith("sgexp: WANDB_MODE=onlin is none of online, offline")
    assert not list(tmp_path.iterdir())
