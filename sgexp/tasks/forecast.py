"""Before training: how many draws, how many bytes, and how long it will take, from a few measured steps."""

from __future__ import annotations

import copy
import time

import torch
from pytorch_lightning import Trainer

from sgexp.console import console
from sgexp.data.packed import PackedStore
from sgexp.learning.module import SpaceGroupModule
from sgexp.loading.datamodule import PatternDataModule
from sgexp.report.terminal import duration, size
from sgexp.sampling.plan import ResamplingPlan

_TIMED_STEPS = 3


def announce(
    trainer: Trainer, module: SpaceGroupModule, datamodule: PatternDataModule, plan: ResamplingPlan, store: PackedStore
) -> float:
    """Print rows, bytes and the time an epoch and the whole training will take; return the latter in seconds."""
    draws, batch = datamodule.epoch_draws or len(datamodule.draws), datamodule.batch_size
    steps = max(1, draws // batch)
    limit = trainer.limit_train_batches
    steps = min(steps, limit) if isinstance(limit, int) else max(1, int(steps * limit))
    assert trainer.max_epochs is not None
    train_seconds, eval_seconds = seconds_a_sample(trainer, module, datamodule)
    world = max(1, trainer.world_size)
    validated = len(datamodule.rows["validation"]) / (trainer.check_val_every_n_epoch or 1)
    epoch = (steps * min(batch, draws) * train_seconds + validated * eval_seconds) / world
    in_all = epoch * trainer.max_epochs
    parameters = sum(parameter.numel() for parameter in module.model.parameters())
    console.print(
        f"[bold]training[/bold] {draws:,} draws an epoch from {len(plan.rows):,} samples "
        f"(plan {size(plan.nbytes)}, patterns {size(store.nbytes)}), {len(module.classes)} groups, "
        f"{parameters / 1e6:.2f} M parameters"
    )
    console.print(
        f"[bold]time[/bold] {trainer.max_epochs} epochs of {steps:,} steps, {duration(epoch)} each: "
        f"about [bold]{duration(in_all)}[/bold] in all"
    )
    return in_all


def seconds_a_sample(trainer: Trainer, module: SpaceGroupModule, datamodule: PatternDataModule) -> tuple[float, float]:
    """Measure training and evaluation on one batch with a copy of the network (no random number is used up)."""
    device = trainer.strategy.root_device
    count = min(datamodule.batch_size // max(1, trainer.world_size) or 1, len(datamodule.draws))
    batch = datamodule.draws.__getitems__(list(range(count)))
    patterns, labels = batch["patterns"].to(device), batch["label"].to(device)
    with torch.random.fork_rng(devices=[]):
        model = copy.deepcopy(module.model).to(device)
        loss = copy.deepcopy(module.loss).to(device)

        def step() -> None:
            data = module.standardise(patterns)
            loss(model(data).float(), labels).backward()

        training = _timed(step, device) / count
        model.eval()
        with torch.no_grad():
            data = module.standardise(patterns)
            evaluation = _timed(lambda: model(data), device) / count
    return training, evaluation


def _timed(step: object, device: torch.device) -> float:
    """Return the shortest of a few calls, after one to warm up: what else the machine does only ever adds."""
    assert callable(step)
    times = []
    for _ in range(_TIMED_STEPS + 1):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
