"""Training in two stages: first as without them, then, from some epoch on, with classes on an even footing.

The second stage draws classes evenly (crt, lws, drs, probability_flow) or weighs them (drw), and trains the whole
network (drw, drs), a fresh last layer (crt), nothing but a factor of each class's logit (lws), or what answers in the
network's place from then on (probability_flow, trickle_down). Which stage an epoch belongs to follows from its number,
so a resumed run and every process of a distributed one agree.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from sgexp.errors import ConfigError
from sgexp.learning.losses.base import Loss, effective_number_weights
from sgexp.learning.models.heads import ScaledHead, features_of, head_of
from sgexp.learning.models.second_answer import PairFlow, PairLoss, Second, SecondAnswer, TrickleDown
from sgexp.learning.module import MakeOptimizer, SpaceGroupModule


@dataclass(frozen=True)
class Stages:
    """What changes at ``start`` (a share of the epochs).

    Attributes
    ----------
    name : the choice, for the record.
    start : share of the epochs before the second stage; None: there is none.
    draws_evenly : every class is drawn equally often in the second stage.
    beta : weigh classes by their effective number with this beta; None: not at all.
    trains : what the second stage trains: "all", a fresh "classifier", the "scales" of the classes' logits, or the
        "second" answer.
    lr : peak learning rate of the second stage as a share of the first one's; it falls by a cosine to 0, and the first
        schedule ends with the first stage. None: one schedule for both.
    answers : (features, classes) -> what answers in the second stage in the network's place; None: the network.
    """

    name: str = "none"
    start: float | None = None
    draws_evenly: bool = False
    beta: float | None = None
    trains: str = "all"
    lr: float | None = None
    answers: Callable[[int, int], Second] | None = None

    def begins(self, epochs: int) -> int | None:
        """Return the second stage's first epoch, between 1 and ``epochs`` - 1; None where there is none."""
        return None if self.start is None else min(max(round(self.start * epochs), 1), epochs - 1)

    def record(self, epochs: int) -> list[dict[str, Any]]:
        """Return what result.json says: each stage with its first and last epoch (counted from 0, as metrics.csv)."""
        begins = self.begins(epochs)
        if begins is None:
            return []
        second = {"trains": self.trains, "draws_evenly": self.draws_evenly, "beta": self.beta, "lr": self.lr}
        return [
            {"stage": 1, "name": "first", "first_epoch": 0, "last_epoch": begins - 1},
            {"stage": 2, "name": self.name, "first_epoch": begins, "last_epoch": epochs - 1} | second,
        ]

    def network(self, network: nn.Module, n_classes: int) -> nn.Module:
        """Return the network with what answers in the second stage."""
        if self.answers is None:
            return network
        return SecondAnswer(network, self.answers(features_of(head_of(network)), n_classes))

    def loss(self, loss: nn.Module, class_counts: ArrayLike, network: nn.Module | None = None) -> nn.Module:
        """Return the second stage's loss from one that was built for its draws."""
        if isinstance(network, SecondAnswer) and isinstance(network.second, PairFlow):
            return PairLoss(network)
        return loss if self.beta is None else Reweighted(loss, effective_number_weights(class_counts, self.beta))

    def optimizer(self, make: MakeOptimizer, epochs: int) -> MakeOptimizer:
        """Return ``make`` with a schedule for each stage, where the second one has its own."""
        begins, lr = self.begins(epochs), self.lr
        return make if begins is None or lr is None else _two_schedules(make, begins / epochs, lr)


def none() -> Stages:
    """Return a training in one piece."""
    return Stages()


def crt(start: float, lr: float) -> Stages:
    """Return classifier re-training: B. Kang et al. 2020, arXiv:1910.09217, sect. 4.2."""
    return Stages("crt", start, draws_evenly=True, trains="classifier", lr=lr)


def lws(start: float, lr: float) -> Stages:
    """Return learnable weight scaling: B. Kang et al. 2020, arXiv:1910.09217, sect. 4.2."""
    return Stages("lws", start, draws_evenly=True, trains="scales", lr=lr)


def drw(start: float, beta: float) -> Stages:
    """Return deferred re-weighting: K. Cao et al. 2019, arXiv:1906.07413, sect. 3.3, with Cui et al.'s weights."""
    return Stages("drw", start, beta=beta)


def drs(start: float) -> Stages:
    """Return deferred re-sampling, which Cao et al. 2019 compare with deferred re-weighting."""
    return Stages("drs", start, draws_evenly=True)


def probability_flow(start: float, lr: float, top: int, flow: float, rounds: int) -> Stages:
    """Return two-class answers for every pair, recombined with the network's (see ``PairFlow``)."""
    answers = partial(PairFlow, top=top, flow=flow, rounds=rounds)
    return Stages("probability_flow", start, draws_evenly=True, trains="second", lr=lr, answers=answers)


def trickle_down(start: float, lr: float, per_level: int, whole: bool) -> Stages:
    """Return levels of classes (see ``TrickleDown``), with the encoder or without."""
    answers = partial(TrickleDown, per_level=per_level)
    return Stages("trickle_down", start, trains="all" if whole else "second", lr=lr, answers=answers)


class Reweighted(Loss):
    """A loss whose samples are weighted by their class."""

    def __init__(self, loss: nn.Module, weights_K: Tensor) -> None:
        super().__init__()
        if not isinstance(loss, Loss):
            raise ConfigError(
                f"stage=drw weighs samples, but {type(loss).__name__} gives only their mean: derive it from "
                "sgexp.learning.losses.Loss, or choose another stage"
            )
        self.loss, self.needs_features = loss, loss.needs_features
        self.weights: Tensor
        self.register_buffer("weights", weights_K, persistent=False)

    def each(self, logits_BK: Tensor, labels_B: Tensor, features_BF: Tensor | None = None) -> Tensor:
        """Return the weighted loss of each sample, (B,)."""
        self.loss.progress = self.progress
        return self.weights[labels_B] * self.loss.each(logits_BK, labels_B, features_BF)


class StageSwitch(pl.Callback):
    """Enters the second stage at its first epoch, and keeps still what a stage does not train.

    What is kept still loses its gradients before each step, so that clipping and optimizer never see them; in a single
    process they are not even computed. (A distributed one would wait for those that it knows of.) Normalisation keeps
    its statistics too. A fresh layer is drawn from the seed and forgets its moments in the optimizer. What mixes
    patterns by class frequency is told ``class_counts``, how often the second stage draws each class.
    """

    def __init__(
        self, stages: Stages, epochs: int, loss: nn.Module, seed: int, class_counts: ArrayLike | None = None
    ) -> None:
        self.stages, self.loss, self.seed, self.class_counts = stages, loss, seed, class_counts
        self.begins = stages.begins(epochs)
        self.entered = False

    def state_dict(self) -> dict[str, Any]:
        """Return, for the checkpoint, whether the second stage has begun."""
        return {"entered": self.entered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.entered = bool(state_dict.get("entered", False))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Be in the stage that the epoch belongs to, also right after a resume."""
        assert isinstance(pl_module, SpaceGroupModule)
        second = self._second(trainer)
        pl_module.stage = 2 if second else 1
        pl_module.auxiliary_rests = second and self.stages.trains != "all"
        if not second:
            return
        if not self.entered:
            self.entered = True
            if self.stages.trains == "classifier":
                _draw_anew(head_of(pl_module.model), trainer.optimizers[0], self.seed)
            if isinstance(pl_module.model, SecondAnswer):
                pl_module.model.begin()
        pl_module.loss = self.loss.to(pl_module.device)
        if pl_module.mixing is not None and self.class_counts is not None:
            pl_module.mixing.draw_classes(self.class_counts)
        if self.stages.trains != "all":
            pl_module.model.eval()
            for parameter in self._still(trainer, pl_module.model):
                parameter.requires_grad_(trainer.world_size > 1)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Take away the gradients of what is not trained (before they are clipped)."""
        assert isinstance(pl_module, SpaceGroupModule)
        for parameter in self._still(trainer, pl_module.model):
            parameter.grad = None
        if pl_module.auxiliary is not None and pl_module.auxiliary_rests:
            pl_module.auxiliary.zero_grad()

    def _second(self, trainer: pl.Trainer) -> bool:
        return self.begins is not None and trainer.current_epoch >= self.begins

    def _still(self, trainer: pl.Trainer, model: nn.Module) -> Iterator[nn.Parameter]:
        """Yield the parameters that the stage of the present epoch does not train."""
        head, second = head_of(model), self._second(trainer)
        own = {id(item) for item in head.parameters()}
        later = {id(head.scales)} if isinstance(head, ScaledHead) else set()
        if isinstance(model, SecondAnswer):
            later = {id(item) for item in model.second.parameters()}
        for parameter in model.parameters():
            trained = id(parameter) not in later
            if second and self.stages.trains == "all":
                # The network's own last layer has no say where another answers.
                trained = not (isinstance(model, SecondAnswer) and id(parameter) in own)
            elif second:
                trained = id(parameter) in (own if self.stages.trains == "classifier" else later)
            if not trained:
                yield parameter


def _draw_anew(head: nn.Module, optimizer: Optimizer, seed: int) -> None:
    """Initialise a layer from the seed, equally on every device and process, and forget its past in the optimizer."""
    fresh = copy.deepcopy(head).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    head.load_state_dict(fresh.state_dict())
    for parameter in head.parameters():
        optimizer.state.pop(parameter, None)


def _two_schedules(make: MakeOptimizer, share: float, lr: float) -> MakeOptimizer:
    def made(model: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler]:
        first = max(1, round(steps * share))
        optimizer, scheduler = make(model, first)
        if not isinstance(scheduler, LambdaLR):
            raise ConfigError(
                f"a stage with a schedule of its own cannot follow a {type(scheduler).__name__}: take optimizer=adamw"
            )
        factors = list(scheduler.lr_lambdas)

        def both(before: Any) -> Any:
            def factor(step: int) -> float:
                done = (step - first) / max(1, steps - first)
                return before(step) if step < first else lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2

            return factor

        scheduler.lr_lambdas = [both(factor) for factor in factors]
        return optimizer, scheduler

    return made
