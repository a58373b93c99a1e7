"""``logger=tensorboard``: event files in ``tensorboard/`` of the run folder (``tensorboard --logdir outputs``)."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import matplotlib.image
import yaml
from pytorch_lightning.loggers import TensorBoardLogger as LightningTensorBoardLogger
from rich.markup import escape

from sgexp.console import console
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.loggers.base import RunLogger, figures


class TensorBoardLogger(RunLogger):
    """Records the config, the curves, the final figures and the pictures. A resumed run adds a second event file."""

    title = "TensorBoard"
    packages = ("tensorboard",)
    extra = "tensorboard"

    def _start(self) -> None:
        self.lightning = LightningTensorBoardLogger(self.about.folder, name="tensorboard", version="")
        self.writer = self.lightning.experiment
        config = html.escape(yaml.safe_dump(dict(self.about.config), sort_keys=False))
        self.writer.add_text("config", f"<pre>{config}</pre>")

    def _row(self, values: Mapping[str, float], step: int) -> None:
        self.last_step = step
        self.lightning.log_metrics(dict(values), step=step)

    def _results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None:
        self.lightning.log_metrics(figures(record), step=self.last_step)
        for name in ("class_distribution", "examples"):
            if (path := self.about.folder / f"{name}.png").is_file():
                self.writer.add_image(name, matplotlib.image.imread(path), dataformats="HWC")

    def _end(self, exit_code: int) -> None:
        self.writer.add_text("exit code", str(exit_code))
        self.lightning.finalize("success")
        if exit_code == 0:
            runs = escape(str(self.about.folder.parent))
            console.print(f"[bold]TensorBoard[/bold] show it with: tensorboard --logdir {runs}", soft_wrap=True)
