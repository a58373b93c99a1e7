"""What runs beside training: one progress bar with the time left, and ``metrics.csv``, which survives a resume."""

from __future__ import annotations

import csv
import io
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.progress import Progress, TaskID

from sgexp.console import interrupts_later, progress
from sgexp.learning.loggers.base import RunLogger

COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "lr",
    "train/loss",
    "train/top1",
    "val/loss",
    "val/macro_f1",
    "val/top1",
    "val/top5",
)


class TrainingProgress(pl.Callback):
    """One bar over all optimizer batches of the training: epoch, last scores, elapsed, left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, on the first rank only."""
        if not trainer.is_global_zero:
            return
        assert trainer.max_epochs is not None
        total = trainer.max_epochs * trainer.num_training_batches
        self._progress = progress()
        self._progress.start()
        # ``completed`` at the start keeps the batches done before a resume out of the speed.
        self._task = self._progress.add_task("training", total=total, completed=self._done(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Move the bar."""
        self._update(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        words = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        score = trainer.callback_metrics.get("val/macro_f1")
        if score is not None:  # one score: the bar and the time left must fit in 80 columns too
            words += f"  val F1 {float(score):.3f}"
        stream = getattr(getattr(trainer, "datamodule", None), "stream", None)
        if stream is not None:
            words += f"  {stream.done[0]:,.0f} simulated"
        self._update(trainer, description=words)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the screen."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _done(self, trainer: pl.Trainer) -> int:
        return trainer.fit_loop.epoch_loop.batch_progress.total.completed

    def _update(self, trainer: pl.Trainer, **fields: Any) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done(trainer), **fields)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


class MetricsFile(pl.Callback):
    """Appends one row an epoch to ``metrics.csv``, and hands it to the logger; a resume first cuts the rows that its
    checkpoint has not seen.

    ``seconds`` counts training time, carried on over resumes. A training in stages has a column that says which, and
    one with auxiliary tasks has one of their loss.
    """

    def __init__(self, path: Path, logger: RunLogger) -> None:
        self.path, self.logger = Path(path), logger
        self.columns: tuple[str, ...] = COLUMNS
        self._start: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the file, or cut it back to the checkpoint."""
        if not trainer.is_global_zero:
            return
        self.columns = COLUMNS if getattr(pl_module, "stage", None) is None else (*COLUMNS, "stage")
        if getattr(pl_module, "auxiliary", None) is not None:
            self.columns += ("train/auxiliary",)
        seconds = cut_rows_past(self.path, trainer.global_step, self.columns)
        self._start = time.monotonic() - seconds
        self.logger.earlier_rows(read_rows(self.path))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do so too where a resumed run had nothing left to train."""
        if self._start is None:
            self.on_train_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append a row; it is on the disk before a checkpoint of this epoch is written."""
        if not trainer.is_global_zero:
            return
        values: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        if not validated:
            values = {name: value for name, value in values.items() if not name.startswith("val/")}
        values |= {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - (self._start or 0.0), 2),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "stage": getattr(pl_module, "stage", None),
        }
        with interrupts_later():  # what the file has, the logger has
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="", extrasaction="ignore").writerow(values)
                file.flush()
                os.fsync(file.fileno())
            self.logger.row({name: values[name] for name in self.columns if name in values}, step=trainer.global_step)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a ``metrics.csv`` as numbers, without empty cells; what are no numbers is left out."""
    rows = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            with suppress(TypeError, ValueError):
                rows.append({name: float(cell) for name, cell in row.items() if cell})
    return [row for row in rows if {"epoch", "step"} <= row.keys()]


def cut_rows_past(path: Path, step: int, columns: tuple[str, ...] = COLUMNS) -> float:
    """Keep the rows of ``metrics.csv`` up to an optimizer step; return the seconds of the last one (0 if none)."""
    rows: list[dict[str, str]] = []
    if path.is_file() and step > 0:
        with open(path, newline="") as file:
            found = csv.DictReader(file)
            # A row cut short by a crash has empty cells at its end, and is past the checkpoint anyway.
            rows = [row for row in found if (row["step"] or "").isdigit() and int(row["step"]) <= step]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text.getvalue())
    os.replace(temporary, path)
    try:
        return float(rows[-1]["seconds"]) if rows else 0.0
    except (TypeError, ValueError):  # somebody has edited the file: the time is lost, the training is not
        return 0.0
