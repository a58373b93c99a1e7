"""A run that can be interrupted and goes on, without a network."""

import time
from pathlib import Path

from sgexp_waiting import wait_for_file

from sgexp.runs import RunFolder, config_hash
from sgexp.schema import plain


def train(config):
    """Write a row of metrics.csv an epoch; a resumed run begins after those that are there."""
    if config.resume:
        run = RunFolder.reopen(Path(config.resume))
    else:
        run = RunFolder.create(Path(config.output_dir), "train", config.name, plain(config))
        run.describe(plain(config), [])
    with run.recording(task="train", seed=config.seed, config_hash=config_hash(plain(config))):
        history = run.path("metrics.csv")
        if not history.exists():
            history.write_text("epoch\n")
        print(f"seed {config.seed} goes on after {len(history.read_text().splitlines()) - 1} epochs")
        for epoch in range(len(history.read_text().splitlines()) - 1, config.trainer.epochs):
            time.sleep(config.task.seconds)
            if config.task.waits_for and epoch == config.trainer.epochs // 2:
                wait_for_file(config.task.waits_for)
            with history.open("a") as stream:
                stream.write(f"{epoch}\n")
        if config.seed == config.task.fails_with:
            raise RuntimeError("the seed [red]is wrong")
        run.update(metrics={"test_family": {"top1": {"value": config.seed / 10}}})
