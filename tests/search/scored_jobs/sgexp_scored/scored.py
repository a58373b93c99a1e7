"""A run that can be interrupted and goes on, without a network; validation and test want opposite choices."""

import math
import time
from pathlib import Path

from sgexp_waiting import wait_for_file

from sgexp.runs import RunFolder, config_hash
from sgexp.schema import plain


def score(lr, width):
    """Return what validation says: best at lr=0.01, better with more width."""
    return 1.0 - 0.1 * abs(math.log10(lr) + 2.0) - 1.0 / width


def train(config):
    """Write a row of metrics.csv an epoch; a resumed run begins after those that are there."""
    if config.resume:
        run = RunFolder.reopen(Path(config.resume))
    else:
        run = RunFolder.create(Path(config.output_dir), "train", config.name, plain(config))
        run.describe(plain(config), [])
    number = len(list(run.folder.parent.iterdir()))
    lr, width, epochs = config.optimizer.lr, config.model.width, config.trainer.epochs
    if lr > config.task.fails_above:
        raise RuntimeError("the learning rate [red]is too high")
    value = score(lr, width)
    with run.recording(task="train", seed=config.seed, config_hash=config_hash(plain(config))):
        history = run.path("metrics.csv")
        if not history.exists():
            history.write_text("epoch,seconds,val/macro_f1\n")
        for epoch in range(len(history.read_text().splitlines()) - 1, epochs):
            time.sleep(config.task.seconds)
            if config.task.waits_for and number >= config.task.waits_from and epoch == epochs // 2:
                wait_for_file(config.task.waits_for)
            with history.open("a") as stream:
                stream.write(f"{epoch},{0.5 * width * (epoch + 1)},{value * (epoch + 1) / epochs}\n")
        figures = {"value": value, "low": value - 0.1, "high": value + 0.1}
        run.update(
            metrics={"validation": {"macro_f1": figures}, "test_family": {"macro_f1": {"value": 1.0 - value}}},
            split={"name": "nested", "digest": "d"},
            data_fingerprint="f",
        )
