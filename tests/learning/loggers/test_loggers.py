"""The other loggers, read back with their own readers; and what is said where one is not installed."""

import csv
import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import psutil
import pytest

from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.loggers import tables
from sgexp.learning.loggers.base import About, RunLogger, exit_code, figures
from sgexp.learning.loggers.wandb import WandbLogger, kept_identity

ROWS = [{"epoch": 0.0, "step": 3.0, "train/loss": 2.5}, {"epoch": 1.0, "step": 6.0, "train/loss": 1.25, "lr": 0.01}]
RECORD = {
    "metrics": {"test_family": {"top1": {"value": 0.25, "low": 0.125, "high": None}}},
    "baselines": {"majority": {"test_family": {"top1": {"value": 0.5, "low": None, "high": None}}}},
}
FIGURES = {"test_family/top1": 0.25, "test_family/top1_low": 0.125, "baseline/majority/test_family/top1": 0.5}


def record(logger, folder, wrong=None):
    """Let a logger record a run of two epochs in ``folder``, which ends with the error ``wrong``."""
    (folder / "config.yaml").write_text("seed: 1\n")
    config = {"seed": 1, "output_dir": str(folder.parent), "model": {"width": 8}, "name": "<script>"}
    with pytest.raises(type(wrong)) if wrong else nullcontext(), logger.ending():
        logger.start(About(folder, config=config))
        for row in ROWS:
            logger.row(row, step=int(row["step"]))
        logger.results(RECORD, {})
        if wrong:
            raise wrong
    assert not logger.broken


def test_figures_are_named_flatly_and_undefined_ones_left_out():
    assert figures(RECORD) == FIGURES


def test_tensorboard_reads_the_rows_and_figures_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sgexp.learning.loggers.tensorboard import TensorBoardLogger

    record(TensorBoardLogger(), tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(3, 2.5), (6, 1.25)]
    assert [(event.step, event.value) for event in found.Scalars("lr")] == [(6, pytest.approx(0.01))]
    for name, value in FIGURES.items():
        assert found.Scalars(name)[0].value == pytest.approx(value)
    shown = found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "width: 8" in shown and "<script>" not in shown


@pytest.mark.slow  # MLflow makes its database
def test_mlflow_reads_the_rows_figures_files_and_end_back_and_a_resumed_run_goes_on(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from sgexp.learning.loggers.mlflow import MLflowLogger

    folder = tmp_path / "run"
    folder.mkdir()
    record(MLflowLogger(None, "sgexp", True), folder, wrong=KeyboardInterrupt())
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sgexp")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED" and run.info.run_name == "run"
    assert run.data.params["model/width"] == "8"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")] == [
        (3, 2.5),
        (6, 1.25),
    ]
    assert {name: run.data.metrics[name] for name in FIGURES} == FIGURES
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml"]

    record(MLflowLogger(None, "sgexp", True), folder)
    (again,) = client.search_runs([experiment.experiment_id])
    assert again.info.run_id == run.info.run_id and again.info.status == "FINISHED"


@pytest.mark.parametrize("extra", ["tensorboard", "mlflow"])
def test_a_logger_that_is_not_installed_names_its_extra(extra):
    class Absent(RunLogger):
        packages = ("json", f"no_{extra}")

    Absent.extra = extra
    with pytest.raises(ConfigError) as refused:
        Absent()
    assert f"logger={extra} needs the package no_{extra}" in str(refused.value)
    assert f"pip install 'sgexp[{extra}]'" in str(refused.value)


@pytest.mark.slow
def test_a_logger_that_is_not_installed_is_refused_before_anything_is_made(tmp_path):
    hide = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "mlflow" else real(name, *rest)
sys.argv = ["sgexp", "logger=mlflow", "size=tiny"]
from sgexp.__main__ import main
sys.exit(main())
"""
    ended = subprocess.run([sys.executable, "-c", hide], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("sgexp: logger=mlflow needs the package mlflow, which is not installed")
    assert not list(tmp_path.iterdir())


class Watched(RunLogger):
    """Remembers what it was told."""

    title = "Watched"

    def __init__(self, fails=""):
        super().__init__()
        self.fails, self.told = fails, []

    def _hear(self, what, *values):
        self.told.append((what, *values))
        if what == self.fails:
            raise OSError("no space left")

    def _start(self):
        self._hear("start")

    def _row(self, values, step):
        self._hear("row", step)

    def _end(self, code):
        self._hear("end", code)


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataError("bad"), 1), (ConfigError("wrong"), 2), (KeyboardInterrupt(), 130), (ZeroDivisionError(), 1)],
)
def test_a_logger_hears_the_exit_code_of_the_command(error, code, tmp_path):
    logger = Watched()
    with pytest.raises(type(error)), logger.ending():
        logger.start(About(tmp_path))
        raise error
    assert logger.told == [("start",), ("end", code)] and exit_code(error) == code


@pytest.mark.parametrize("fails", ["start", "row"])
def test_a_broken_logger_is_left_alone_until_it_is_closed(fails, tmp_path, capsys):
    logger = Watched(fails)
    with logger.ending():
        logger.start(About(tmp_path))
        logger.row({}, 1)
        logger.row({}, 2)
    assert logger.told[-1] == ("end", 0) and ("row", 2) not in logger.told
    assert capsys.readouterr().out.count("no space left") == 1


def test_wandb_tells_a_second_service_all_and_is_left_alone_when_that_dies_too(tmp_path, capsys):
    def kill_the_service():
        (service,) = (child for child in psutil.Process().children() if "wandb-core" in child.name())
        service.kill()
        service.wait()

    before = set(psutil.Process().children())  # what earlier tests left, such as multiprocessing's resource tracker
    logger = WandbLogger(None, None, None, [], True)
    with logger.ending():
        logger.start(About(tmp_path))
        logger.row({"step": 1.0}, 1)
        kill_the_service()
        logger.row({"step": 2.0}, 2)
        kill_the_service()
        logger.row({"step": 3.0}, 3)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("W&B records no more of this run") == 1 and "recorded offline" not in said
    left = set(psutil.Process().children()) - before
    assert not psutil.wait_procs(left, timeout=240)[1]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_a_logger_that_was_never_started_does_nothing(tmp_path):
    logger = Watched()
    with logger.ending():
        logger.row({}, 1)
    assert logger.told == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"id": "../../x", "tags": []}', '{"id": 3, "tags": []}', '{"id": "a", "tags": "b"}', "\x00"],
)
def test_a_foreign_identity_is_not_taken_on(text, tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text(text)
    assert kept_identity(tmp_path) == {}


def test_an_identity_that_was_kept_is_read_back(tmp_path):
    kept = {"id": "ab12", "project": "p", "entity": None, "group": "g", "tags": ["one"]}
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text(json.dumps(kept | {"dir": "/etc"}))
    assert kept_identity(tmp_path) == kept


def test_a_confusion_of_many_groups_keeps_its_largest_cells():
    label = np.repeat([1, 2, 230], [5, 3, 2])
    logits = np.zeros((10, 3), np.float32)
    logits[np.arange(10), [0, 0, 0, 0, 1, 2, 2, 2, 2, 2]] = 1
    blank = np.full(10, "")
    predictions = Predictions(
        row=np.arange(10), key=blank, material=blank, family=blank, energy_kev=np.zeros(10), label=label,
        logits=logits, classes=np.array([1, 2, 230]),
    )  # fmt: skip
    cells = tables.confusion_of_groups(predictions, most=2).rows
    assert cells == [("001 P1", "001 P1", 4), ("002 P-1", "230 Ia-3d", 3)]
    systems = {row[:2]: row[2] for row in tables.confusion_of_systems(predictions).rows}
    assert len(systems) == 49 and systems[("1 triclinic", "7 cubic")] == 3 and systems[("7 cubic", "7 cubic")] == 2


def test_the_class_table_names_every_group(tmp_path):
    with (tmp_path / "classes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["space_group", "families", "train"], [14, 2, 7], [225, 1, 3]])
    found = tables.class_counts(tmp_path)
    assert found.columns == ("space_group", "crystal_system", "families", "train")
    assert found.rows == [("014 P2_1/c", "monoclinic", 2, 7), ("225 Fm-3m", "cubic", 1, 3)]
