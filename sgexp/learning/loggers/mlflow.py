"""``logger=mlflow``: the run in MLflow, on a server or in one local database that all runs of ``output_dir`` share."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.loggers import MLFlowLogger as LightningMLFlowLogger
from rich.markup import escape

from sgexp.console import console
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.loggers.base import INTERRUPTED, RunLogger, figures

FILES = (
    *("config.yaml", "overrides.yaml", "provenance.json", "split.csv", "classes.csv", "set_aside.csv", "plan.npz"),
    *("metrics.csv", "predictions_validation.npz", "predictions_test.npz", "class_distribution.png", "examples.png"),
)


class MLflowLogger(RunLogger):
    """Records the config, the curves, the final figures, the files and how the run ended.

    Parameters
    ----------
    tracking_uri : of MLflow; None: MLFLOW_TRACKING_URI, else ``mlflow/mlflow.db`` in the folder of all runs.
    experiment : name of the MLflow experiment.
    artifacts : also the files that say who trained and tested, what was drawn and predicted.
    """

    title = "MLflow"
    packages = ("mlflow", "sqlalchemy", "alembic")
    extra = "mlflow"

    def __init__(self, tracking_uri: str | None, experiment: str, artifacts: bool) -> None:
        super().__init__()
        self.tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.experiment, self.artifacts = experiment, artifacts

    def _start(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody is called who was not asked for
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        logging.getLogger(LightningMLFlowLogger.__module__).setLevel(logging.ERROR)  # it warns of a new experiment
        local = Path(self.about.config.get("output_dir", self.about.folder)).resolve() / "mlflow"
        local.mkdir(parents=True, exist_ok=True)
        with FileLock(local / "start.lock"):  # several jobs at once would each make the database
            self._open(local)

    def _open(self, local: Path) -> None:
        kept = self.about.folder / "mlflow_run_id"
        found = kept.read_text().strip() if kept.is_file() else ""
        self.uri = self.tracking_uri or f"sqlite:///{local / 'mlflow.db'}"
        self.lightning = LightningMLFlowLogger(
            experiment_name=self.experiment,
            run_name=self.about.folder.name,
            tracking_uri=self.uri,
            artifact_location=None if self.tracking_uri else (local / "artifacts").as_uri(),
            run_id=found if re.fullmatch("[0-9a-f]{32}", found) else None,
        )
        self.client = self.lightning.experiment
        self.run_id = self.lightning.run_id
        assert self.run_id is not None
        if self.run_id == found:
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            kept.write_text(f"{self.run_id}\n")
            self.lightning.log_hyperparams(dict(self.about.config))

    def _row(self, values: Mapping[str, float], step: int) -> None:
        self.last_step = step
        self.lightning.log_metrics(dict(values), step=step)

    def _results(self, record: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> None:
        self.lightning.log_metrics(figures(record), step=self.last_step)
        for name in FILES if self.artifacts else ():
            if (path := self.about.folder / name).is_file():
                self.client.log_artifact(self.run_id, str(path))

    def _end(self, exit_code: int) -> None:
        ends = {0: "FINISHED", INTERRUPTED: "KILLED"}
        self.client.set_terminated(self.run_id, ends.get(exit_code, "FAILED"))
        if exit_code == 0 and self.tracking_uri is None:
            show = f"mlflow ui --backend-store-uri {escape(self.uri)}"
            console.print(f"[bold]MLflow[/bold] show it with: {show}", soft_wrap=True)
