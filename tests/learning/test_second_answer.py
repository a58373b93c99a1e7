"""Probability flow and trickle-down against closed forms, and as parts of a network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sgexp.composition import Composer
from sgexp.learning.models.second_answer import PairFlow, PairLoss, SecondAnswer, TrickleDown, flowed
from sgexp.schema import build

K, F = 6, 4


def units(top=0, flow=1.0, rounds=1, n_classes=K):
    torch.manual_seed(1)
    return PairFlow(F, n_classes, top=top, flow=flow, rounds=rounds)


def features(n=7, patterns=3, seed=2):
    return torch.randn(n, patterns, F, generator=torch.Generator().manual_seed(seed))


def over(scores_KK):
    """P(i over j) of antisymmetric scores."""
    return torch.sigmoid(scores_KK - scores_KK.T)[None]


def test_230_groups_have_26335_pairs_each_with_a_unit_of_its_own():
    flow = PairFlow(8, 230, top=5, flow=0.5, rounds=1)
    assert flow.units.weight.shape == (26_335, 8)
    assert flow.units.out_features == 230 * 229 // 2
    assert flow.pair[3, 7] == flow.pair[7, 3] and flow.sign[3, 7] == -flow.sign[7, 3] == 1
    off = flow.pair[~torch.eye(230, dtype=torch.bool)]
    assert torch.bincount(off).eq(2).all(), "every pair stands at two places"


def test_pairs_that_agree_with_the_probabilities_change_nothing():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    agreeing = (p[:, :, None] / (p[:, :, None] + p[:, None, :])).double()
    torch.testing.assert_close(flowed(p, agreeing, 1.0), p)
    torch.testing.assert_close(flowed(p, agreeing, 0.3), p)


def test_of_two_classes_all_probability_flows_as_the_pair_says():
    p = torch.tensor([[0.9, 0.06]])  # the two likeliest of some more
    says = torch.tensor([[[0.5, 0.2], [0.8, 0.5]]])
    torch.testing.assert_close(flowed(p, says, 1.0), 0.96 * torch.tensor([[0.2, 0.8]]))
    torch.testing.assert_close(flowed(p, says, 0.25), 0.75 * p + 0.25 * 0.96 * torch.tensor([[0.2, 0.8]]))


def test_many_rounds_end_at_what_the_pairs_agree_on():
    # Bradley-Terry pairs, P(i over j) = w_i / (w_i + w_j), are in detailed balance with w, whatever p was.
    w = torch.tensor([0.4, 0.3, 0.2, 0.1])
    says = over(w.log()[:, None].expand(4, 4).clone())
    p = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    for _ in range(200):
        p = flowed(p, says, 1.0)
    torch.testing.assert_close(p[0], w, atol=1e-5, rtol=0)


def test_three_classes_by_hand():
    p, says = [0.5, 0.3, 0.2], [[0.5, 0.6, 0.9], [0.4, 0.5, 0.7], [0.1, 0.3, 0.5]]
    expected = [0.0, 0.0, 0.0]
    for i in range(3):
        for j in range(3):
            if i != j:
                expected[j] += p[i] * says[j][i] / 2
        expected[i] += p[i] * (1 - sum(says[j][i] / 2 for j in range(3) if j != i))
    np.testing.assert_allclose(flowed(torch.tensor([p]), torch.tensor([says]), 1.0)[0], expected, rtol=1e-6)
    assert sum(expected) == pytest.approx(1.0)


def test_units_begin_as_differences_of_the_last_layer_and_then_change_no_answer():
    flow, head = units(), nn.Linear(F, K)
    flow.begin(head)
    h = features(patterns=1)
    logits = head(h[:, 0])
    torch.testing.assert_close(flow(logits, h).exp(), logits.softmax(1), atol=1e-6, rtol=1e-4)


def test_all_classes_and_as_many_as_there_are_give_the_same_whichever_way_it_is_computed():
    logits, h = torch.randn(7, K), features()
    everything, fewer = units(flow=0.7), units(top=K - 1, flow=0.7)
    top_KK = torch.arange(K).expand(7, K)
    fewer.top = K - 1
    torch.testing.assert_close(
        everything._over(h, top_KK)[:, : K - 1, : K - 1], fewer._over(h, top_KK[:, : K - 1]), atol=1e-6, rtol=1e-5
    )
    for flow in (everything, fewer):
        torch.testing.assert_close(flow(logits, h).exp().sum(1), torch.ones(7))
    least = logits.argmin(1, keepdim=True)
    kept = fewer(logits, h).exp().gather(1, least)
    torch.testing.assert_close(kept, logits.softmax(1).gather(1, least)), "what is not on top stays"


def test_a_pair_is_trained_by_its_two_classes_and_by_no_other():
    flow, labels = units(), torch.tensor([1, 1, 4])
    flow.each(features(3), labels).sum().backward()
    touched = {int(flow.pair[y, other]) for y in (1, 4) for other in range(K) if other != y}
    moved = flow.units.weight.grad.abs().sum(1)
    assert {p for p in range(15) if moved[p] > 0} == touched


def test_the_loss_of_pairs_is_the_mean_of_two_class_cross_entropies():
    flow, h, labels = units(), features(4), torch.tensor([0, 5, 2, 2])
    scores = flow.units(h)
    for row, y in enumerate(labels.tolist()):
        expected = []
        for other in range(K):
            if other != y:
                two = flow.sign[y, other] * scores[row, :, flow.pair[y, other]]
                logits = torch.stack([two, torch.zeros_like(two)], -1)
                expected.append(nn.functional.cross_entropy(logits, torch.zeros(3, dtype=torch.int64)))
        torch.testing.assert_close(flow.each(h, labels)[row], torch.stack(expected).mean())


def levels(per_level=2, n_classes=5):
    torch.manual_seed(1)
    return TrickleDown(F, n_classes, per_level=per_level)


def test_what_trickles_down_adds_up_to_one_and_is_the_product_of_the_levels():
    down, h = levels(), features(3, patterns=1)
    down.sort_by([3, 50, 7, 7, 1])  # order 1, 2 | 3, 0 | 4
    assert down.sizes == [2, 2, 1] and down.levels.out_features == 7
    log_p = down(torch.zeros(3, 5), h)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(3))
    first, second = down.levels(h[:, 0])[:, :3].softmax(1), down.levels(h[:, 0])[:, 3:6].softmax(1)
    torch.testing.assert_close(log_p.exp()[:, 1], first[:, 0])
    torch.testing.assert_close(log_p.exp()[:, 3], first[:, 2] * second[:, 0])
    torch.testing.assert_close(log_p.exp()[:, 4], first[:, 2] * second[:, 2])


def test_a_single_level_is_a_softmax_and_a_level_learns_from_what_reaches_it():
    down, h = levels(per_level=9), features(3, patterns=1)
    torch.testing.assert_close(down(torch.zeros(3, 5), h), down.levels(h[:, 0]).log_softmax(1))
    down = levels()
    down.sort_by([9, 8, 7, 6, 5])
    nn.functional.nll_loss(down(torch.zeros(1, 5), h[:1]), torch.tensor([0])).backward()
    moved = down.levels.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [True] * 3 + [False] * 4, "a frequent class trains the first level alone"


@pytest.mark.parametrize("stage", ["probability_flow", "trickle_down"])
@pytest.mark.parametrize("pool", ["features", "logits", "probabilities"])
def test_the_second_answer_counts_once_it_has_begun_and_comes_back_from_its_weights(stage, pool):
    config = Composer().check([f"stage={stage}", "model.width=4", f"model.pool={pool}"])
    stages = build(config.stage)

    def made(seed):
        torch.manual_seed(seed)
        return stages.network(build(config.model, n_classes=K), K).eval()

    network, patterns = made(0), torch.randn(2, 3, 16, 16)
    own = network.network(patterns)
    assert isinstance(network, SecondAnswer) and torch.equal(network(patterns), own)
    network.begin()
    answer = network(patterns)
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(2))
    assert network.features(2).shape[1] == (1 if pool == "features" else 3)
    if stage == "trickle_down":
        assert not torch.allclose(answer, own.log_softmax(1), atol=1e-3)
    elif pool == "features":
        torch.testing.assert_close(answer, own.log_softmax(1), atol=1e-4, rtol=1e-4)
    fresh = made(1)
    fresh.load_state_dict(network.state_dict())
    assert fresh.begun and torch.equal(fresh(patterns), answer)
    again = copy.deepcopy(fresh)
    assert torch.equal(again(patterns), answer)


def test_the_loss_of_pairs_belongs_to_no_parameter_list_twice():
    network = SecondAnswer(nn.Sequential(nn.Flatten(), nn.Linear(12, K)), PairFlow(12, K, top=0, flow=1.0, rounds=1))
    loss = PairLoss(network)
    assert not list(loss.parameters())
    logits = network(torch.randn(5, 3, 2, 2))
    assert loss(logits, torch.tensor([0, 1, 2, 3, 4])).shape == ()
