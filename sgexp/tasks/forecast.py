"""Before training: how many draws, how many bytes, and how long it will take, from a few measured steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from pytorch_lightning import Trainer

from sgexp.console import console, duration
from sgexp.data.packed import PackedStore
from sgexp.learning.module import SpaceGroupModule
from sgexp.loading.datamodule import PatternDataModule
from sgexp.report.terminal import size
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build
from sgexp.simulation.forecast import forecast

_TIMED_STEPS = 3
LONG = 1800.0  # seconds from which on a way to train for less time is named


def announce(
    trainer: Trainer, module: SpaceGroupModule, datamodule: PatternDataModule, plan: ResamplingPlan, store: PackedStore
) -> float:
    """Print rows, bytes and the time an epoch and the whole training will take; return the latter in seconds."""
    draws, batch = datamodule.epoch_draws, datamodule.batch_size
    steps = max(1, draws // batch)
    limit = trainer.limit_train_batches
    steps = min(steps, limit) if isinstance(limit, int) else max(1, int(steps * limit))
    assert trainer.max_epochs is not None
    train_seconds, eval_seconds = seconds_a_sample(trainer, module, datamodule)
    world = max(1, trainer.world_size)
    validated = len(datamodule.rows["validation"]) / (trainer.check_val_every_n_epoch or 1)
    epoch = (steps * min(batch, draws) * train_seconds + validated * eval_seconds) / world
    if datamodule.stream is not None:
        epoch = with_simulation(epoch, datamodule, world)
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
    if in_all > LONG and draws > 2 * len(plan.rows):
        console.print(
            "  [dim]- shorter: trainer.epoch_draws=0 makes epochs as long as without a sampler, "
            "sampler.balance=sqrt draws less[/dim]"
        )
    return in_all


def with_simulation(epoch: float, datamodule: PatternDataModule, world: int) -> float:
    """Say what simulating for an epoch takes; return the epoch's seconds with it, beside the training or before it."""
    stream, workers = datamodule.stream, datamodule.workers
    assert stream is not None
    found = forecast(list(stream.crystals.values()), stream.variants.config, build(stream.variants.config.engine))
    if found is None:
        return epoch
    made = datamodule.epoch_draws / stream.keep
    seconds = made * found.seconds / (world * max(1, workers))
    where = f"in {workers} loading processes" if workers else "in the training process (trainer.workers=2: beside it)"
    console.print(
        f"[bold]stream[/bold] {made:,.0f} of an epoch's patterns are simulated anew {where}: about "
        f"[bold]{duration(seconds)}[/bold] an epoch{found.aside}"
    )
    return max(epoch, seconds) if workers else epoch + seconds


def seconds_a_sample(trainer: Trainer, module: SpaceGroupModule, datamodule: PatternDataModule) -> tuple[float, float]:
    """Measure loading, training and evaluating one batch, with a copy of the network (no random number is used up)."""
    device = trainer.strategy.root_device
    count = min(datamodule.batch_size // max(1, trainer.world_size) or 1, len(datamodule.draws))
    with torch.random.fork_rng(devices=[]):
        model, loss = copy.deepcopy(module.model).to(device), copy.deepcopy(module.loss).to(device)
        optimizer, _ = module.make_optimizer(model, 1)

        def forward(augment: bool) -> tuple[torch.Tensor, torch.Tensor]:
            batch = {name: part.to(device) for name, part in datamodule.draws.__getitems__(list(range(count))).items()}
            patterns, labels = module.standardise(batch["patterns"]), batch["label"]
            if augment:
                patterns, labels = module.augmented(batch, 0)
                patterns, (labels,) = module.shown(patterns, (labels,), batch["draw"], 0)
            with trainer.precision_plugin.forward_context():
                return model(patterns).float(), labels

        def step() -> None:
            optimizer.zero_grad()
            logits, labels = forward(augment=True)
            # Logits stand in for the features that some losses want.
            loss(logits, labels, *([logits] if getattr(loss, "needs_features", False) else [])).backward()
            optimizer.step()

        training = _timed(step, device) / count
        model.eval()
        with torch.no_grad():
            evaluation = _timed(lambda: forward(augment=False), device) / count
    return training, evaluation


def _timed(step: Callable[[], object], device: torch.device) -> float:
    """Return the shortest of a few calls, after one to warm up: what else the machine does only ever adds."""
    times = []
    for _ in range(_TIMED_STEPS + 1):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
