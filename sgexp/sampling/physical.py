"""Over-sampling by new crystals: how many of which class, and whose turn it is. What makes them stands above.

The new samples come behind the training samples, as rows like any others; the plan then draws every row once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sgexp.sampling.features import FeatureRows
from sgexp.sampling.plan import ResamplingPlan
from sgexp.sampling.targets import class_counts, counts_to_add

PATIENCE = 10
"""Numbers in a row of which no sample can be made, after which a class is given up."""

Make = Callable[[int, int], tuple[bool, float]]
"""(class, number) -> whether there is such a sample, and what it has cost, in seconds."""


@dataclass(frozen=True)
class Served:
    """What came of the wish: (class, number) of each sample in the order of making, and what it cost in seconds.

    ``given_up``: classes of which no more could be made. ``spent``: whether the budget ended it.
    """

    made: tuple[tuple[int, int], ...]
    wanted: Mapping[int, int]
    seconds: float
    given_up: tuple[int, ...]
    spent: bool


class Physical:
    """Every training sample once, and as many new ones of each class as ``targets.counts_to_add`` says.

    ``balance``, ``cap`` and ``table`` as there; ``budget``: seconds of simulation after which none is begun.
    """

    needs_features = False

    def __init__(self, balance: str, cap: int, table: Mapping[int, int], budget: float) -> None:
        self.balance, self.cap, self.table, self.budget = balance, cap, dict(table), budget

    def wanted(self, labels_N: np.ndarray) -> tuple[dict[int, int], tuple[str, ...]]:
        """Return class -> new samples wanted, and notes."""
        return counts_to_add(class_counts(labels_N), self.balance, self.cap, self.table)

    def serve(self, labels_N: np.ndarray, make: Make) -> Served:
        """Make one sample after another, always of the class that has the fewest, until all are made or paid for.

        Equal classes come in the order of their numbers, so that rare ones rise together. A sample is begun while the
        costs of those before it, failed ones too, are below the budget: the last one may go beyond it.
        """
        counts, (wanted, _) = class_counts(labels_N), self.wanted(labels_N)
        turn = [(counts[group], group) for group in wanted]
        heapq.heapify(turn)
        number, failures = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
        made: list[tuple[int, int]] = []
        given_up: list[int] = []
        seconds = 0.0
        while turn and seconds < self.budget:
            count, group = heapq.heappop(turn)
            found, cost = make(group, number[group])
            seconds += cost
            if found:
                made.append((group, number[group]))
                count, failures[group] = count + 1, 0
            else:
                failures[group] += 1
            number[group] += 1
            if failures[group] == PATIENCE:
                given_up.append(group)
            elif count < counts[group] + wanted[group]:
                heapq.heappush(turn, (count, group))
        return Served(tuple(made), wanted, seconds, tuple(sorted(given_up)), bool(turn))

    def plan(
        self, labels_N: np.ndarray, groups_N: np.ndarray, features_NF: FeatureRows | None, seed: int
    ) -> ResamplingPlan:
        """Return the plan that draws each row once: the training samples, and those made behind them."""
        return ResamplingPlan.selection(np.arange(len(labels_N)))
