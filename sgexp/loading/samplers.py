"""Which samples make which batch, the same for any number of ranks and workers.

A batch is first made *globally* and then shared out: rank r takes the r-th part of every global batch. One optimizer
step therefore sees the same samples on one device and on eight, and ``batch_size`` means one thing everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from sgexp.errors import ConfigError
from sgexp.sampling.recipe import step_numbers


def epoch_order(n_draws: int, seed: int, epoch: int, epoch_draws: int | None = None) -> NDArray[np.int64]:
    """Return an epoch's draws in their order, which (seed, epoch) alone decide.

    The plan's draws are shuffled anew for every pass through them; the epochs are consecutive stretches of
    ``epoch_draws`` of these passes. Without ``epoch_draws`` an epoch is a pass: a permutation of ``range(n_draws)``.
    """
    length = epoch_draws or n_draws
    begin, end = epoch * length, (epoch + 1) * length
    passes = range(begin // n_draws, -(-end // n_draws))
    stream = np.concatenate([np.random.default_rng([seed, number]).permutation(n_draws) for number in passes])
    return stream[begin - passes[0] * n_draws : end - passes[0] * n_draws]


class Recipe(Protocol):
    """What each epoch draws of a plan's candidates, decided by (seed, epoch) alone (``sgexp.sampling.recipe``)."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Draws of each candidate in an epoch, (N,), the mean over the training."""

    @property
    def block(self) -> int:
        """How many draws in a row belong together."""

    @property
    def steps(self) -> int:
        """How finely the way from base to partner is cut where an epoch draws it; 0 where the plan says it."""

    def order(self, seed: int, epoch: int, length: int) -> NDArray[np.int64]:
        """Return the candidates that ``epoch`` draws, (length,), in their order."""


def numbered(candidates_D: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return a number of its own for each draw: its candidate, plus ``total`` for every time it was drawn before.

    Augmentation is keyed by this number, so a candidate drawn again in an epoch is not changed in the same way again.
    """
    together = np.argsort(candidates_D, kind="stable")
    firsts = np.flatnonzero(np.diff(candidates_D[together], prepend=-1))
    before = np.arange(len(together)) - np.repeat(firsts, np.diff(firsts, append=len(together)))
    draws = candidates_D.copy()
    draws[together] += total * before
    return draws


class EpochBatch(list[Any]):
    """The draws of a batch, and the epoch that it is of: a worker that loads it is told nothing else."""

    def __init__(self, draws: list[Any], epoch: int) -> None:
        super().__init__(draws)
        self.epoch = epoch


def epoch_of(draws: list[Any]) -> int:
    """Return the epoch of a batch; 0 for a plain list."""
    return draws.epoch if isinstance(draws, EpochBatch) else 0


def stepped(candidates_D: NDArray[np.int64], total: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a number for each draw that also tells its step: its candidate, plus ``total`` times the step's number.

    Workers know of no epoch, so what is new in one must stand in the number (``sgexp.loading.batches``).
    """
    return candidates_D + total * step_numbers(seed, epoch, len(candidates_D))


def check_shares(batch_size: int, world: int) -> None:
    """Refuse a batch that so many devices cannot share evenly."""
    if batch_size % world:
        raise ConfigError(
            f"trainer.batch_size={batch_size} cannot be shared evenly by {world} devices: "
            f"choose a multiple of {world}, such as {max(world, batch_size // world * world)}."
        )


class TrainingBatches(Sampler[list[int]]):
    """Batches of one epoch's draws; every rank has the same number of equally large ones.

    The draws that do not fill a last batch wait for another epoch's order; with fewer draws than ``batch_size`` there
    is one smaller batch. ``start`` skips the batches a resumed epoch has already seen.

    Parameters
    ----------
    n_draws : number of draws in the plan.
    batch_size : draws in one global batch, a multiple of ``world``.
    seed : decides, with the epoch, the order.
    rank, world : which share of each batch is ours, of how many.
    epoch_draws : draws an epoch; None: all of the plan.
    later : (epoch, number of draws) of a second plan, whose draws follow those of the first one in number and take
        their place from that epoch on, in epochs of the same length; None: there is none.
    recipes : of the first plan and of the second one; None where every pass draws all of the plan.
    """

    def __init__(
        self,
        n_draws: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        epoch_draws: int | None = None,
        later: tuple[int, int] | None = None,
        recipes: tuple[Recipe | None, Recipe | None] = (None, None),
    ) -> None:
        check_shares(batch_size, world)
        for recipe in recipes:
            if recipe is not None and batch_size % recipe.block:
                raise ConfigError(
                    f"trainer.batch_size={batch_size} does not hold whole blocks of sampler.m={recipe.block} samples "
                    f"of a group: choose a multiple of {recipe.block}."
                )
        if n_draws < world:
            raise ConfigError(f"{n_draws} training draws cannot feed {world} devices: use fewer devices or more data.")
        self.n_draws, self.seed, self.rank, self.world = n_draws, seed, rank, world
        self.epoch_draws, self.later, self.recipes = epoch_draws or n_draws, later, recipes
        self.batch_size = min(batch_size, max(self.epoch_draws, world) // world * world)
        self.epoch = 0
        self.start = 0
        self.sampler = self  # Lightning calls set_epoch of a batch sampler's ``sampler``, not its own

    def __len__(self) -> int:
        """Return the batches of a whole epoch, whatever ``start`` is."""
        return max(1, self.epoch_draws // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        # A generator expression reads ``start`` now; a generator function would read it only when first asked.
        batches = range(self.start, len(self))
        return (EpochBatch(self._batch(order, number), self.epoch) for number in batches)

    def _batch(self, order: NDArray[np.int64], number: int) -> list[Any]:
        share = self.batch_size // self.world
        begin = number * self.batch_size + self.rank * share
        return order[begin : begin + share].tolist()

    def _order(self) -> NDArray[np.int64]:
        length = max(self.epoch_draws, self.batch_size)
        begins, n_later = self.later or (0, 0)
        second = self.later is not None and self.epoch >= begins
        before, n_draws, begins = (self.n_draws, n_later, begins) if second else (0, self.n_draws, 0)
        recipe = self.recipes[second]
        if recipe is None:
            return before + epoch_order(n_draws, self.seed, self.epoch - begins, length)
        candidates, total = before + recipe.order(self.seed, self.epoch, length), self.n_draws + n_later
        return stepped(candidates, total, self.seed, self.epoch) if recipe.steps else numbered(candidates, total)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next (Lightning calls this)."""
        self.epoch = epoch


class EvaluationBatches(Sampler[list[int]]):
    """Batches of ``range(n_samples)`` in order: no sample twice, none lost, on any number of ranks.

    Every rank has the same number of batches, because ranks that exchange buffers wait for each other; their sizes
    differ by one at most, so a rank's last batch can be empty when there are fewer samples than ranks.
    """

    def __init__(self, n_samples: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.n_samples, self.rank, self.world = n_samples, rank, world
        self.batches = -(-n_samples // max(batch_size, world))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        edges = np.linspace(0, self.n_samples, self.batches * self.world + 1).astype(np.int64)
        for batch in range(self.batches):
            part = batch * self.world + self.rank
            yield list(range(edges[part], edges[part + 1]))
