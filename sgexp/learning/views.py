"""Test-time augmentation: one crystal looked at in several ways, the answers averaged as log-probabilities.

Which views leave the answer alone follows from symmetry (``sgexp.loading.augment``): a pattern's in-plane orientation
is a convention of the experiment. The mean of log-probabilities is the logarithm of the geometric mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgexp.errors import ConfigError

MOST_VIEWS = 24  # of patterns; from more subsets or orders than this a fixed draw is taken

Picks = tuple[tuple[int, ...], ...]
"""Views of a crystal's patterns: which of them are looked at, in which order."""


class AveragedViews(nn.Module):
    """A network that answers with the mean log-probability over views: log-probabilities (B, K), which are logits too.

    Parameters
    ----------
    network : patterns (B, C, H, W) -> logits (B, K).
    quarter_turns : how many times 90 degrees all patterns are turned, a view each: (0,) or (0, 1, 2, 3).
    picks : which patterns are looked at, a view each; None: all as they come.
    """

    def __init__(self, network: nn.Module, quarter_turns: Sequence[int] = (0,), picks: Picks | None = None) -> None:
        super().__init__()
        self.network, self.quarter_turns, self.picks = network, tuple(quarter_turns), picks

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return the averaged log-probabilities, float32."""
        picks = self.picks or (tuple(range(patterns_BCHW.shape[1])),)
        total: Tensor | None = None
        for turns, pick in itertools.product(self.quarter_turns, picks):
            view = torch.rot90(patterns_BCHW[:, list(pick)], turns, (-2, -1))
            answer = self.network(view).float().log_softmax(-1)
            total = answer if total is None else total + answer
        assert total is not None
        return (total / (len(self.quarter_turns) * len(picks))).log_softmax(-1)


def takes_any_number(network: nn.Module) -> bool:
    """Say whether a network looks at each pattern by itself, so that it takes any number of them in any order."""
    return getattr(network, "patterns", "stacked") == "shared"


def picks_of(how: str, network: nn.Module, n_patterns: int) -> Picks | None:
    """Return the views of ``n_patterns`` patterns that ``how`` (all, subsets, orders) names, as the network allows."""
    if how == "all":
        return None
    if how == "subsets":
        if not takes_any_number(network):
            raise ConfigError(
                "task.patterns=subsets needs a network that looks at each pattern by itself (model.patterns=shared); "
                "this run's takes its patterns stacked: choose task.patterns=orders"
            )
        every = range(n_patterns)
        return thinned([pick for size in every for pick in itertools.combinations(every, size + 1)])
    if takes_any_number(network):
        raise ConfigError(
            "task.patterns=orders changes nothing for this run's network, which looks at each pattern by itself: "
            "choose task.patterns=subsets"
        )
    return thinned(list(itertools.permutations(range(n_patterns))))


def windows(taken: int, n_patterns: int) -> Picks:
    """Return the subsets of ``taken`` of ``n_patterns`` patterns, in order: for a network that takes just so many."""
    return thinned(list(itertools.combinations(range(n_patterns), taken)))


def thinned(picks: list[tuple[int, ...]]) -> Picks:
    """Return at most ``MOST_VIEWS`` of the picks, evenly spread over the list."""
    if len(picks) <= MOST_VIEWS:
        return tuple(picks)
    return tuple(picks[round(index * (len(picks) - 1) / (MOST_VIEWS - 1))] for index in range(MOST_VIEWS))
