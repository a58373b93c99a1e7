"""An old run is opened only where it is one, and what its folder lacks is told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from sgexp.config import check
from sgexp.errors import ConfigError, DataError, UserError
from sgexp.evaluation.predictions import Predictions
from sgexp.run_config import read_run_config
from sgexp.tasks.trained_run import TrainedRun


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the tiny run's folder."""
    return shutil.copytree(tiny_run[0], tmp_path / "run")


@pytest.fixture
def config(run):
    return replace(check(OmegaConf.create(read_run_config(str(run), "run"))), run=str(run))


def change(run, **facts):
    record = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(record | facts))


def test_it_knows_its_network_its_scale_and_its_validation(run, config):
    trained = TrainedRun.open(config)
    assert trained.classes.tolist() == Predictions.load(run / "predictions_test.npz").classes.tolist()
    assert trained.any_number and trained.network.epoch in (1, 2)
    assert trained.calibration.q_width == pytest.approx(2.56) and trained.calibration.energy_low >= 100
    assert trained.temperature().samples == len(Predictions.load(run / "predictions_validation.npz"))
    assert trained.notes() == [] and trained.facts()["status"] == "finished"


def test_an_evaluation_is_no_training(run, config):
    change(run, task="evaluate")
    with pytest.raises(ConfigError, match="give a training's"):
        TrainedRun.open(config)


def test_an_interrupted_run_and_last_weights_are_noted(run, config):
    change(run, status="interrupted")
    (run / "checkpoints" / "best.ckpt").unlink()
    first, second = TrainedRun.open(config).notes()
    assert "interrupted" in first and "last ones" in second
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(DataError, match="no checkpoint yet"):
        TrainedRun.open(config)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", '{"status": 3}', '{"schema_version": 999, "status": "finished"}']
)
def test_a_damaged_result_is_told(run, config, text):
    (run / "result.json").write_text(text)
    with pytest.raises(UserError, match=r"result\.json"):
        TrainedRun.open(config)


def test_without_validation_predictions_the_temperature_is_one_with_a_note(run, config):
    path = run / "predictions_validation.npz"
    found = Predictions.load(path)
    replace(found, classes=found.classes[::-1]).save(path)
    with pytest.raises(DataError, match="of different runs"):
        TrainedRun.open(config).temperature()
    path.unlink()
    temperature = TrainedRun.open(config).temperature()
    assert temperature.value == 1.0 and "not calibrated" in temperature.note
    path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(DataError, match="predictions_validation"):
        TrainedRun.open(config).temperature()
    np.savez(path, logits=np.zeros(3))
    with pytest.raises(DataError, match="predictions_validation"):
        TrainedRun.open(config).temperature()
