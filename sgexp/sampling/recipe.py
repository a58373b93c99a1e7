"""Recipes: what each epoch draws, anew, decided by (seed, epoch) alone; no rank, worker or resume changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Recipe(Protocol):
    """Which of a plan's candidates an epoch draws, and how often."""

    @property
    def mean(self) -> np.ndarray:
        """Draws of each candidate in an epoch of the usual length, (N,), the mean over the training."""
        ...

    @property
    def block(self) -> int:
        """How many draws in a row belong together: a batch holds whole blocks."""
        ...

    @property
    def steps(self) -> int:
        """How finely the way from base to partner is cut where it is drawn anew; 0 where it is the plan's weight."""
        ...

    def order(self, seed: int, epoch: int, length: int) -> np.ndarray:
        """Return the candidates that ``epoch`` draws, (length,) int64, in their order."""
        ...


@dataclass(frozen=True)
class Shares:
    """Draws in proportion to shares that may move from ``first`` to ``last`` in the course of the training.

    With a_e = ``way[e]`` (the last entry for later epochs) epoch e draws candidate d in proportion to
    (1 - a_e) first[d] + a_e last[d]. Its expected number of draws c is met as closely as whole numbers can, floor(c) or
    floor(c) + 1, and so is that of each stratum (systematic sampling of candidates, stratum by stratum, in random order
    within): an even recipe draws each candidate once. ``strata`` (N,): the number of each candidate's class or family.
    """

    first: np.ndarray
    last: np.ndarray
    way: np.ndarray
    strata: np.ndarray
    block: int = 1
    steps: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Draws of each candidate in an epoch, the mean over the training."""
        return (1 - self.way.mean()) * self.first + self.way.mean() * self.last

    def order(self, seed: int, epoch: int, length: int) -> np.ndarray:
        """Return the candidates that ``epoch`` draws, (length,), shuffled."""
        rng = np.random.default_rng([seed, epoch])
        a = self.way[min(epoch, len(self.way) - 1)]
        share = (1 - a) * self.first + a * self.last
        candidates = np.lexsort((rng.random(len(share)), self.strata))
        ends = np.cumsum(share[candidates])
        ends *= length / ends[-1]
        ends[-1] = length
        times = np.diff(np.floor(ends + rng.random()), prepend=0.0).astype(np.int64)
        return rng.permutation(np.repeat(candidates, times))


STEPS = 1 << 20
"""Ways between a sample and its partner that are told apart: finer than half precision stores a pattern."""


def step_numbers(seed: int, epoch: int, length: int) -> np.ndarray:
    """Return for each draw of an epoch which of the ``STEPS`` ways it goes, (length,) int64."""
    return np.random.default_rng([seed, epoch, 1]).integers(STEPS, size=length)


def fresh_pairs(n_samples: int, pairs_P: np.ndarray, number_P: np.ndarray, wanted: dict[int, int]) -> Shares:
    """Return the recipe that draws ``n_samples`` once each and then pairs of rows, with a new step each time.

    The candidates are the samples and after them P pairs. ``number_P``: the class of each; ``pairs_P``: how often each
    is to be drawn as compared with the others of its class; ``wanted``: class -> draws of its pairs in an epoch.
    """
    share = np.ones(n_samples + len(pairs_P))
    for number, n in wanted.items():
        mine = n_samples + np.flatnonzero(number_P == number)
        share[mine] = n * pairs_P[mine - n_samples] / pairs_P[mine - n_samples].sum()
    strata = np.concatenate([np.full(n_samples, -1), number_P])  # the samples come first, one whole draw each
    return Shares(share, share, np.zeros(1), strata, steps=STEPS)


@dataclass(frozen=True)
class Blocks:
    """``block`` samples of one class in a row, then of another: classes in turn, every class's samples in turn.

    ``labels`` (N,). Every pass through the classes, and through the samples of a class, has a random order.
    """

    labels: np.ndarray
    block: int
    steps: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Draws of each candidate in an epoch: every class is drawn equally often."""
        _, number, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        return len(self.labels) / (len(counts) * counts[number])

    def order(self, seed: int, epoch: int, length: int) -> np.ndarray:
        """Return the candidates that ``epoch`` draws, (length,), block after block."""
        rng = np.random.default_rng([seed, epoch])
        _, number = np.unique(self.labels, return_inverse=True)
        rows_K = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
        n_blocks = -(-length // self.block)
        class_of_block = _in_turn(np.arange(len(rows_K)), n_blocks, rng)
        drawn = np.empty((n_blocks, self.block), np.int64)
        for place, rows in enumerate(rows_K):
            mine = np.flatnonzero(class_of_block == place)
            drawn[mine] = _in_turn(rows, len(mine) * self.block, rng).reshape(-1, self.block)
        return drawn.ravel()[:length]


def _in_turn(values: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return all values in random order, then all of them in another, and so on, cut to ``length``."""
    passes = [rng.permutation(values) for _ in range(-(-length // len(values)))]
    return np.concatenate([*passes, values[:0]])[:length]
