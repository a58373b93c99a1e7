"""The folder of a trained run, opened to answer again: its network, its calibration, its validation predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sgexp.data.calibration import Calibration
from sgexp.data.trained_on import TrainedOn
from sgexp.errors import ConfigError, DataError
from sgexp.evaluation.calibration import Temperature, fit_temperature
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.models.heads import with_cosine_head, with_scaled_head
from sgexp.learning.restoring import TrainedNetwork
from sgexp.learning.schema import LDAMConfig, LearnableScalingConfig
from sgexp.learning.views import takes_any_number
from sgexp.runs import RunResult
from sgexp.schema import build

if TYPE_CHECKING:
    from sgexp.config import Config


@dataclass(frozen=True)
class TrainedRun:
    """A run that ``task=train`` made, opened for reading: nothing in its folder is changed."""

    folder: Path
    result: RunResult
    checkpoint: Path
    network: TrainedNetwork
    labels: int = 230

    @classmethod
    def open(cls, config: Config) -> TrainedRun:
        """Open ``config.run``, whose config ``config`` is based on; what does not fit together is told by name."""
        folder = Path(str(config.run))
        try:
            result = RunResult.read(folder)
        except RecursionError as error:
            raise DataError(f"{folder / 'result.json'} cannot be read as a run's result (too deeply nested)") from error
        if result.record.get("task") != "train":
            raise ConfigError(f"run={folder} is no training but a task={result.record.get('task')}: give a training's")
        paths = [folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
        checkpoint = next((path for path in paths if path.is_file()), None)
        if checkpoint is None:
            raise DataError(f"run={folder} has no checkpoint yet: train it first (it is {result.status})")
        network = TrainedNetwork(checkpoint, network_builder(config), config.trainer.channels_last)
        return cls(folder, result, checkpoint, network, config.labels)

    @property
    def classes(self) -> np.ndarray:
        """The space group of each of the network's answers, (K,) int64."""
        return self.network.classes

    @property
    def any_number(self) -> bool:
        """Whether the network takes any number of patterns, or just as many as it was trained with."""
        return takes_any_number(self.network.network)

    @property
    def calibration(self) -> Calibration:
        """The scale of the patterns it was trained on, as far as its folder says."""
        return Calibration.read(self.result.record.get("calibration"))

    def trained_on(self) -> TrainedOn:
        """Read who trained and validated."""
        return TrainedOn.read(self.folder / "split.csv")

    def facts(self) -> dict[str, Any]:
        """Return what result.json says of the run that answers."""
        record = self.result.record
        return {
            "run": str(self.folder),
            "name": record.get("name"),
            "config_hash": record.get("config_hash"),
            "data_fingerprint": record.get("data_fingerprint"),
            "status": self.result.status,
            "checkpoint": self.checkpoint.name,
            "epochs": self.network.epoch,
        }

    def notes(self) -> list[str]:
        """Return what a reader must know of the run."""
        said = []
        if self.labels == 219:
            said.append("the run's classes are 219: one that has a mirror image (such as 76 with 78) stands for both")
        if self.result.status != "finished":
            said.append(f"the run is {self.result.status}: these are its best weights so far")
        if self.checkpoint.stem != "best":
            said.append("the run kept no best weights (it has no validation): these are its last ones")
        return said

    def temperature(self) -> Temperature:
        """Fit a temperature on the run's validation predictions; 1, with a note, where there are none that fit."""
        path = self.folder / "predictions_validation.npz"
        if not path.is_file():
            return Temperature(1.0, 0, "the run has no validation predictions: probabilities are not calibrated")
        predictions = Predictions.load(path)
        if not np.array_equal(predictions.classes, self.classes):
            raise DataError(f"{path} answers with other groups than {self.checkpoint}: they are of different runs")
        return fit_temperature(predictions)


def network_builder(config: Config) -> Callable[[int], Any]:
    """Return what builds the config's network for a number of classes, with the last layer that loss and stage want."""

    def network(n_classes: int) -> nn.Module:
        model = build(config.head, network=build(config.model, n_classes=n_classes), n_classes=n_classes)
        if isinstance(config.loss, LDAMConfig):
            model = with_cosine_head(model, config.loss.scale)
        model = with_scaled_head(model, n_classes) if isinstance(config.stage, LearnableScalingConfig) else model
        return build(config.stage).network(model, n_classes)

    return network
