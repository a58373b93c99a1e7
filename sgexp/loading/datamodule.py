"""The Lightning data module: a store, labels, a split and a plan in; loaders of batches out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from sgexp.errors import DataError
from sgexp.loading.batches import (
    Batch,
    Blend,
    PatternDraws,
    PatternLoader,
    Plan,
    ResumableLoader,
    Store,
    as_is,
    blend_coded,
)
from sgexp.loading.mixing import Mixing, PairedBatches, PairedDraws
from sgexp.loading.samplers import EvaluationBatches, TrainingBatches, epoch_order
from sgexp.loading.stream import Stream


class PatternDataModule(pl.LightningDataModule):
    """Loaders of training draws and of evaluation rows.

    Parameters
    ----------
    store : anything with ``read(rows) -> (B, 3, p, p) float32``.
    class_of_row : class index of every catalog row, (N,); -1 where its group is not among the classes.
    rows : catalog rows of each part, such as ``{"validation": ..., "test_material": ...}``.
    plan : the training draws, at catalog rows (``base``, ``partner``, ``weight``).
    batch_size : training draws an optimizer step sees before accumulation, over all devices together.
    eval_batch_size : samples in an evaluation batch, over all devices together.
    workers : loading processes a device; 0 reads in the training process, which is fast from a local memory map.
    seed : decides the order of the draws.
    overfit_batches : when not 0, train and validate on the first this many batches only (a check of the plumbing:
        a network that cannot learn them by heart is broken).
    epoch_draws : draws an epoch; None: all of the plan.
    later : (epoch, plan) of a second plan that takes the first one's place from that epoch on, in epochs as long.
    mixing : what mixes the training draws on the device, so that each comes with a partner; None: nothing.
    stream : what simulates new patterns for the training draws; None: all are read from the store.
    blend : what mixes base and partner of a draw as the plan says.
    """

    def __init__(
        self,
        store: Store,
        class_of_row: NDArray[np.integer],
        rows: Mapping[str, NDArray[np.integer]],
        plan: Plan,
        *,
        batch_size: int,
        eval_batch_size: int,
        workers: int = 0,
        seed: int = 0,
        overfit_batches: int = 0,
        epoch_draws: int | None = None,
        later: tuple[int, Plan] | None = None,
        mixing: Mixing | None = None,
        stream: Stream | None = None,
        blend: Blend = blend_coded,
    ) -> None:
        super().__init__()
        self.store, self.seed, self.workers = store, seed, workers
        self.epoch_draws = epoch_draws or plan.draws
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.class_of_row = np.asarray(class_of_row, dtype=np.int64)
        base, partner, weight = np.asarray(plan.base), np.asarray(plan.partner), np.asarray(plan.weight)
        self.recipes = (plan.recipe, None if later is None else later[1].recipe)
        self.rows = {part: np.asarray(part_rows, dtype=np.int64) for part, part_rows in rows.items()}
        if overfit_batches:
            few = self._first_order(plan)[: overfit_batches * batch_size]
            base, partner, weight = base[few], partner[few], weight[few]
            if plan.recipe is not None and plan.recipe.steps:
                weight = weight / 2  # by heart is learned what stays as it is
            self.rows["validation"] = np.unique(base)
            later, self.recipes, self.epoch_draws = None, (None, None), epoch_draws or len(few)
        if len(base) == 0:
            raise DataError("There is nothing to train on: the plan has no draws.")
        self.n_draws, self.later, self.mixing = len(base), None, mixing
        if later is not None:
            second = later[1]
            base, partner = np.append(base, second.base), np.append(partner, second.partner)
            weight, self.later = np.append(weight, second.weight), (later[0], len(second.base))
        if (self.class_of_row[base] < 0).any():
            raise DataError("A training draw has a space group that is not among the classes; make the plan again.")
        self.stream = stream
        steps = max((recipe.steps for recipe in self.recipes if recipe is not None), default=0)
        self.draws = PatternDraws(store, self.class_of_row, base, partner, weight, stream, steps, blend)
        self._training: ResumableLoader | None = None
        self._resume_from: dict[str, int] | None = None

    def _first_order(self, plan: Plan) -> NDArray[np.int64]:
        if plan.recipe is not None:
            return plan.recipe.order(self.seed, 0, self.epoch_draws)
        return epoch_order(len(plan.base), self.seed, 0)

    def _rates(self) -> NDArray[np.float64]:
        """Return how often an epoch draws each of both plans' draws, (D,)."""
        lengths = (self.n_draws, len(self.draws) - self.n_draws)
        both = zip(lengths, self.recipes, strict=True)
        return np.concatenate([np.ones(length) if recipe is None else recipe.mean for length, recipe in both])

    def train_dataloader(self) -> ResumableLoader:
        """Return the loader of the training draws, in the order of (seed, epoch)."""
        rank, world = self._rank_and_world()
        lengths = (self.n_draws, self.batch_size, self.seed, rank, world, self.epoch_draws)
        sampler = TrainingBatches(*lengths, self.later, self.recipes)
        draws: Dataset[Batch] = self.draws
        if self.mixing is not None:
            classes, rates = self.class_of_row[self.draws.base], self._rates()
            sampler = PairedBatches(sampler, classes, self.mixing.rare_power, rates)
            draws = PairedDraws(self.draws)
        self._training = ResumableLoader(draws, sampler, **self._loader_arguments())
        if self._resume_from is not None:
            self._training.load_state_dict(self._resume_from)
            self._resume_from = None
        return self._training

    def state_dict(self) -> dict[str, int]:
        """Return, for the checkpoint, how far the epoch is."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where the checkpoint was.

        (Lightning 2.6 would give a loader its own state back, but not once the learning-rate schedule has asked for
        the number of steps: by then it has made its loaders and looks at the state no more.)
        """
        self._resume_from = state_dict or None
        if self._training is not None and self._resume_from is not None:  # some strategies restore once all is set up
            self._training.load_state_dict(self._resume_from)
            self._resume_from = None

    def val_dataloader(self) -> PatternLoader:
        """Return the loader of the validation rows."""
        return self.evaluation_loader("validation")

    def evaluation_loader(self, part: str) -> PatternLoader:
        """Return a loader of one part's rows in catalog order, each once over all ranks."""
        rank, world = self._rank_and_world()
        dataset = PatternDraws(self.store, self.class_of_row, self.rows[part])
        sampler = EvaluationBatches(len(dataset), self.eval_batch_size, rank, world)
        return PatternLoader(dataset, batch_sampler=sampler, **self._loader_arguments())

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"collate_fn": as_is, "num_workers": self.workers}
        arguments["pin_memory"] = torch.cuda.is_available()
        if self.workers:
            # A forked worker shares the memory map; a spawned one would be sent a copy of every array.
            fork = "fork" in multiprocessing.get_all_start_methods()
            arguments |= {"multiprocessing_context": "fork" if fork else "spawn", "persistent_workers": True}
        return arguments
