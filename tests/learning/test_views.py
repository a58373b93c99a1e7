"""Averaged views are geometric means of probabilities; which views a network allows is told."""

import numpy as np
import pytest
import torch
from torch import nn

from sgexp.errors import ConfigError
from sgexp.learning.models.small import small_net
from sgexp.learning.views import MOST_VIEWS, AveragedViews, picks_of, windows

SHARED = small_net(4, 1, "group", 0.0, "shared", "features", n_classes=5).eval()
STACKED = small_net(4, 1, "group", 0.0, "stacked", "features", n_classes=5).eval()
PATTERNS = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def probabilities(network, patterns):
    return network(patterns).double().softmax(-1).numpy()


def test_the_answer_is_the_geometric_mean_over_quarter_turns():
    views = [probabilities(STACKED, torch.rot90(PATTERNS, turns, (-2, -1))) for turns in range(4)]
    expected = np.prod(views, axis=0) ** 0.25
    expected /= expected.sum(-1, keepdims=True)
    found = probabilities(AveragedViews(STACKED, (0, 1, 2, 3)), PATTERNS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_turning_the_input_changes_nothing_once_all_turns_are_averaged():
    averaged = AveragedViews(SHARED, (0, 1, 2, 3))
    turned = probabilities(averaged, torch.rot90(PATTERNS, 1, (-2, -1)))
    np.testing.assert_allclose(turned, probabilities(averaged, PATTERNS), rtol=1e-5)
    assert not np.allclose(probabilities(SHARED, torch.rot90(PATTERNS, 1, (-2, -1))), probabilities(SHARED, PATTERNS))


def test_reordering_the_input_changes_nothing_once_all_orders_are_averaged():
    averaged = AveragedViews(STACKED, picks=picks_of("orders", STACKED, 3))
    reordered = probabilities(averaged, PATTERNS[:, [2, 0, 1]])
    np.testing.assert_allclose(reordered, probabilities(averaged, PATTERNS), rtol=1e-5)


def test_subsets_are_all_choices_of_patterns():
    assert picks_of("subsets", SHARED, 3) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    assert picks_of("all", SHARED, 3) is None


def test_a_network_refuses_views_that_it_cannot_have_or_that_change_nothing():
    with pytest.raises(ConfigError, match="orders"):
        picks_of("subsets", STACKED, 3)
    with pytest.raises(ConfigError, match="subsets"):
        picks_of("orders", SHARED, 3)


def test_many_patterns_for_a_network_that_takes_three_are_seen_in_spread_subsets():
    assert windows(3, 4) == ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))
    many = windows(3, 64)
    assert len(many) == MOST_VIEWS and many[0] == (0, 1, 2) and many[-1] == (61, 62, 63)


def test_an_answer_is_logits_so_that_any_network_takes_its_place():
    class Sure(nn.Module):
        def forward(self, patterns):
            return torch.tensor([[0.0, 3.0]]).expand(len(patterns), 2)

    np.testing.assert_allclose(
        probabilities(AveragedViews(Sure()), PATTERNS), probabilities(Sure(), PATTERNS), rtol=1e-6
    )
