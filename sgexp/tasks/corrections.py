"""What treats the imbalance between groups in a run: its second stage, and whether something is corrected twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sgexp.data.split import Split
from sgexp.errors import ConfigError
from sgexp.learning.losses.base import Loss
from sgexp.learning.stages import Stages
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.tasks.prepare import Data


@dataclass(frozen=True)
class SecondStage:
    """A training's second stage: its settings, its first epoch, and what is drawn in it."""

    stages: Stages
    begins: int
    plan: ResamplingPlan


def second_stage(config: Config, data: Data, split: Split, plan: ResamplingPlan) -> SecondStage | None:
    """Return the second stage that was asked for; it draws as ``plan`` does, or every training class equally often."""
    stages: Stages = build(config.stage)
    begins = stages.begins(config.trainer.epochs)
    if begins is None:
        return None
    if (stages.trains != "all" or stages.answers) and getattr(config.trainer, "strategy", "ddp") == "fsdp":
        raise ConfigError(f"stage={stages.name} keeps weights still, which trainer.strategy=fsdp cannot: take ddp")
    if stages.draws_evenly:
        from sgexp.sampling.random_selection import RandomOver  # imbalanced-learn takes a second to import

        rows = np.append(split.rows("train"), np.arange(len(split.part), len(data.catalog)))  # and those made for it
        evenly = RandomOver("majority", 1, {})
        plan = evenly.plan(data.catalog.space_group[rows], np.empty(len(rows)), None, config.seed).at_rows(rows)
    return SecondStage(stages, begins, plan)


def counts_shown(plan: ResamplingPlan, class_of_row: np.ndarray, n_classes: int, augment: object) -> np.ndarray:
    """Return how often an epoch shows each class to the loss, (K,): as it is drawn, and mirrored."""
    counts_K = plan.counts(class_of_row, n_classes)
    shown = getattr(augment, "counts_shown", None)
    return counts_K if shown is None else shown(counts_K)


def corrected_twice(config: Config) -> tuple[str, ...]:
    """Return a sentence for each two choices that both treat the imbalance."""
    sampler, loss, stage = (choice.treats_imbalance for choice in (config.sampler, config.loss, config.stage))
    said = []
    if sampler and loss:
        said.append(
            "sampler and loss both treat the imbalance: the loss corrects what the sampler left, by drawn frequencies."
        )
    if sampler and stage:
        said.append("sampler and stage both treat the imbalance: the first stage already draws as the sampler says.")
    if loss and stage and getattr(config.stage, "beta", None) is not None:
        said.append("loss and stage both treat the imbalance: the stage's weights come on top of what the loss does.")
    if config.mixing.treats_imbalance and (sampler or loss or stage):
        others = [name for name, treats in (("sampler", sampler), ("loss", loss), ("stage", stage)) if treats]
        said.append(f"mixing treats the imbalance on top of {' and '.join(others)}: mixtures favour rare groups too.")
    return tuple(said)


def refuse_to_mix(mixing: object, loss: object) -> None:
    """Refuse to mix labels where the loss cannot take two of them."""
    if mixing is not None and not isinstance(loss, Loss):
        raise ConfigError(
            f"mixing needs the loss of each sample, but {type(loss).__name__} gives only their mean: derive it from "
            "sgexp.learning.losses.Loss, or choose mixing=none"
        )
