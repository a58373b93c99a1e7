"""LAMB against the formula of its paper, written out in NumPy, and against Adam, whose direction it takes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sgexp.learning.lamb import LAMB
from sgexp.learning.optimizers import lamb

GRADIENTS = [np.random.default_rng(step).normal(size=(2, 3)) for step in range(6)]
START = np.random.default_rng(9).normal(size=(2, 3))


def published(debias, longest, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-6, decay=0.05):
    """Algorithm 2 of arXiv:1904.00962 for one layer."""
    x, m, v = START.copy(), 0.0, 0.0
    for t, g in enumerate(GRADIENTS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = (m / (1 - beta1**t), v / (1 - beta2**t)) if debias else (m, v)
        u = m_hat / (np.sqrt(v_hat) + eps) + decay * x
        x = x - lr * min(np.linalg.norm(x), longest) / np.linalg.norm(u) * u
    return x


@pytest.mark.parametrize(("debias", "longest"), [(True, np.inf), (False, np.inf), (False, 1.5)])
def test_steps_are_those_of_the_published_algorithm(debias, longest):
    layer = nn.Parameter(torch.from_numpy(START.copy()))
    ours = LAMB([layer], 0.1, (0.9, 0.99), weight_decay=0.05, debias=debias, longest=longest)
    for gradient in GRADIENTS:
        layer.grad = torch.from_numpy(gradient)
        ours.step()
    np.testing.assert_allclose(layer.detach().numpy(), published(debias, longest), rtol=1e-12)


def test_a_step_has_adams_direction_and_a_share_of_the_layers_length():
    one, other = (nn.Parameter(torch.from_numpy(START.copy())) for _ in range(2))
    one.grad = other.grad = torch.from_numpy(GRADIENTS[0])
    LAMB([one], 0.1, eps=1e-8).step()
    torch.optim.Adam([other], 0.1).step()
    ours, adams = (parameter.detach() - torch.from_numpy(START) for parameter in (one, other))
    torch.testing.assert_close(ours / ours.norm(), adams / adams.norm())
    assert ours.norm() == pytest.approx(0.1 * np.linalg.norm(START))


def test_what_is_zero_moves_and_what_has_no_gradient_does_not():
    zero, still = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    zero.grad = torch.ones(3)
    LAMB([zero, still], 0.1, weight_decay=0.5).step()
    torch.testing.assert_close(zero.detach(), torch.full((3,), -0.1), atol=1e-5, rtol=0)
    assert torch.equal(still, torch.ones(3))


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped():
    model = nn.Linear(3, 2)
    whole, part = copy.deepcopy(model), copy.deepcopy(model)

    def steps(network, first, last, state=None):
        optimizer, _ = lamb(0.1, 0.9, 0.99, 1e-6, 0.1, True, True, 10.0, "constant", 0.0, model=network, steps=9)
        assert optimizer.defaults["longest"] == 10.0 and len(optimizer.param_groups) == 1
        if state is not None:
            optimizer.load_state_dict(state)
        for gradient in GRADIENTS[first:last]:
            network.weight.grad = torch.from_numpy(gradient).float()
            network.bias.grad = torch.ones(2)
            optimizer.step()
        return optimizer.state_dict()

    steps(whole, 0, 6)
    steps(part, 3, 6, steps(part, 0, 3))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))
