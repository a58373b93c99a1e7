"""``auxiliary=``: what a training is asked beside the space group, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sgexp.console import console
from sgexp.data.split import Split
from sgexp.evaluation.auxiliary import CrystalAnswers, crystal_figures
from sgexp.evaluation.metrics import resampling_units
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.auxiliary import Auxiliary, CrystalTargets
from sgexp.learning.models.heads import features_of, head_of
from sgexp.learning.schema import NoAuxiliaryConfig
from sgexp.npz import save_npz
from sgexp.schema import build
from sgexp.tasks.prepare import Data

if TYPE_CHECKING:
    from sgexp.config import Config
    from sgexp.runs import RunFolder

SCHEMA_VERSION = 1  # of auxiliary.npz


def make_auxiliary(config: Config, data: Data, split: Split, network: nn.Module) -> Auxiliary | None:
    """Return the auxiliary tasks of the network's features, and say which cells cannot be used."""
    if isinstance(config.auxiliary, NoAuxiliaryConfig):
        return None
    targets = CrystalTargets.of(data.catalog.space_group, data.catalog.cell)
    if said := targets.left_out():
        console.print(said)
    n_features = features_of(head_of(network))
    return build(config.auxiliary, n_features=n_features, targets=targets, train_rows=split.rows("train"))


def score_auxiliary(
    config: Config,
    auxiliary: Auxiliary,
    split: Split,
    answers: Mapping[str, CrystalAnswers],
    predictions: Mapping[str, Predictions],
) -> dict[str, Any]:
    """Return what result.json says: figures of each part beside those of one answer for all, and what they are over.

    That answer is the training samples' most frequent system, and their median lengths and angles.
    """
    targets, rows = auxiliary.targets, split.rows("train")
    known = rows[targets.known[rows]]
    system = int(np.bincount(targets.system[rows]).argmax())
    middle = np.median(targets.cell[known].astype(np.float64), axis=0) if len(known) else np.zeros(6)

    def figures(found: CrystalAnswers, part: str) -> dict[str, Any]:
        units, _ = resampling_units(predictions[part])
        return crystal_figures(found, units, config.evaluation, auxiliary.tasks)

    return {
        "weights": auxiliary.weights,
        "note": targets.left_out(),
        "metrics": {part: figures(item, part) for part, item in answers.items()},
        "constant": {part: figures(item.constant(system, middle), part) for part, item in answers.items()},
        "counts": {
            part: {"samples": len(item.row), "cells": int(np.count_nonzero(item.known))}
            for part, item in answers.items()
        },
    }


def keep_answers(run: RunFolder, answers: Mapping[str, CrystalAnswers]) -> None:
    """Keep every answer of validation and tests, and what is so, in ``auxiliary.npz``."""
    parts = np.repeat(list(answers), [len(item.row) for item in answers.values()])
    names = ("row", "system", "cell", "true_system", "true_cell", "known")
    columns = {name: np.concatenate([getattr(item, name) for item in answers.values()]) for name in names}
    save_npz(run.path("auxiliary.npz"), SCHEMA_VERSION, part=parts, **columns)
