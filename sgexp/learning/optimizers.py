"""Optimizers with their learning-rate schedule, which moves at every optimizer step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sgexp.errors import ConfigError
from sgexp.learning.lamb import LAMB
from sgexp.learning.schema import TrainerConfig
from sgexp.schema import Component

START = 1 / 25
"""First learning rate of one_cycle, as a share of the peak (L. Smith & N. Topin 2017, arXiv:1708.07120)."""
END = START / 1e4
"""Last learning rate of one_cycle, as a share of the peak."""


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def learning_rate_factor(schedule: str, warmup: float, steps: int) -> Callable[[int], float]:
    """Return step -> learning rate as a share of its peak, for steps 0 ... steps - 1.

    "one_cycle" rises by a cosine from 1/25 over the first ``warmup`` share of the steps and falls by a cosine to 4e-6;
    "cosine" rises linearly and falls by a cosine to 0; "constant" rises linearly and stays.
    """
    peak = warmup * steps - 1 if schedule == "one_cycle" else warmup * steps
    last = max(steps - 1, 1)

    def one_cycle(step: int) -> float:
        if step <= peak and peak > 0:
            return _cosine(START, 1.0, step / peak)
        return _cosine(1.0, END, min((step - max(peak, 0)) / max(last - max(peak, 0), 1), 1.0))

    def warmed_up(step: int) -> float:
        if step < peak:
            return (step + 1) / (peak + 1)
        if schedule == "constant":
            return 1.0
        return _cosine(1.0, 0.0, min((step - peak) / max(steps - peak, 1), 1.0))

    return one_cycle if schedule == "one_cycle" else warmed_up


def for_batch(optimizer: Component, trainer: TrainerConfig) -> tuple[Component, str]:
    """Return the optimizer with the learning rate for the batch that is asked for, and what to tell of it.

    A step sees batch_size x accumulate samples on any number of devices, so devices alone never change the rate. With
    ``lr_scaling`` it is multiplied by s = batch_size accumulate / lr_batch (linear: Goyal et al. 2017,
    arXiv:1706.02677, for SGD) or by sqrt(s) (Malladi et al. 2022, arXiv:2205.10287, for Adam).
    """
    lr = getattr(optimizer, "lr", None)
    step = trainer.batch_size * trainer.accumulate
    summed = f" ({trainer.batch_size} x {trainer.accumulate} accumulated)" if trainer.accumulate > 1 else ""
    samples = f"{step:,} samples a step{summed}"
    if trainer.lr_scaling == "none":
        return optimizer, f"{'its own' if lr is None else f'{lr:g}'} as given (trainer.lr_scaling=none), for {samples}"
    if lr is None:
        raise ConfigError(
            f"trainer.lr_scaling={trainer.lr_scaling} cannot scale {type(optimizer).target}, which has no lr: "
            "choose trainer.lr_scaling=none"
        )
    factor = step / trainer.lr_batch if trainer.lr_scaling == "linear" else math.sqrt(step / trainer.lr_batch)
    told = f"{lr * factor:g} = {lr:g} x {factor:g} (trainer.lr_scaling={trainer.lr_scaling}: {samples} against "
    return dataclasses.replace(optimizer, lr=lr * factor), f"{told}trainer.lr_batch={trainer.lr_batch})"  # type: ignore[call-arg]


def parameter_groups(model: nn.Module, weight_decay: float, decay_norms: bool) -> list[dict[str, Any]]:
    """Return the parameters in two groups: matrices and kernels decay; biases and norms only with ``decay_norms``."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if decay_norms or parameter.ndim > 1]
    others = [parameter for parameter in parameters if not (decay_norms or parameter.ndim > 1)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _scheduled(optimizer: Optimizer, schedule: str, warmup: float, steps: int) -> tuple[Optimizer, LambdaLR]:
    return optimizer, LambdaLR(optimizer, learning_rate_factor(schedule, warmup, steps))


def sgd(
    lr: float,
    momentum: float,
    weight_decay: float,
    decay_norms: bool,
    schedule: str,
    warmup: float,
    nesterov: bool = True,
    *,
    model: nn.Module,
    steps: int,
) -> tuple[Optimizer, LambdaLR]:
    """Return SGD, whose momentum (where there is any) is Nesterov's or the plain one, and its schedule."""
    groups = parameter_groups(model, weight_decay, decay_norms)
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
    return _scheduled(optimizer, schedule, warmup, steps)


def adamw(
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    decay_norms: bool,
    schedule: str,
    warmup: float,
    *,
    model: nn.Module,
    steps: int,
) -> tuple[Optimizer, LambdaLR]:
    """Return AdamW and its schedule."""
    groups = parameter_groups(model, weight_decay, decay_norms)
    return _scheduled(torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2)), schedule, warmup, steps)


def lamb(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decay_norms: bool,
    debias: bool,
    longest: float,
    schedule: str,
    warmup: float,
    *,
    model: nn.Module,
    steps: int,
) -> tuple[Optimizer, LambdaLR]:
    """Return LAMB and its schedule."""
    optimizer = LAMB(
        parameter_groups(model, weight_decay, decay_norms),
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        debias=debias,
        longest=longest or math.inf,
    )
    return _scheduled(optimizer, schedule, warmup, steps)
