import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F

from sgexp.learning.losses import CrossEntropy, LogitAdjusted, Weighted

COUNTS = np.array([100, 10, 40, 0])


def batch():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 2, 0, 2])
    return torch.randn(6, 4, generator=generator, requires_grad=True), labels


def test_cross_entropy_is_scikit_learns():
    logits, labels = batch()
    probabilities = logits.detach().double().softmax(1).numpy()
    expected = log_loss(labels.numpy(), probabilities, labels=range(4))
    assert CrossEntropy(0.0)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_weights_are_those_of_scikit_learns_balanced_log_loss():
    logits, labels = batch()
    weights = COUNTS.sum() / (3 * COUNTS[labels.numpy()])  # class_weight="balanced" over the three classes drawn
    losses = F.cross_entropy(logits, labels, reduction="none").detach().numpy()
    expected = (weights * losses).mean()
    assert Weighted(1.0, 0.0, class_counts=COUNTS)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_weights_average_to_one_over_the_draws():
    weights = Weighted(0.5, 0.0, class_counts=COUNTS).weights.numpy()
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1.0)


def test_the_weighted_loss_of_a_batch_is_the_mean_of_its_parts():
    logits, labels = batch()
    loss = Weighted(1.0, 0.0, class_counts=COUNTS)
    halves = (loss(logits[:3], labels[:3]) + loss(logits[3:], labels[3:])) / 2
    torch.testing.assert_close(loss(logits, labels), halves)


def test_power_and_tau_zero_are_plain():
    logits, labels = batch()
    plain = CrossEntropy(0.1)(logits, labels)
    torch.testing.assert_close(LogitAdjusted(0.0, 0.1, class_counts=COUNTS)(logits, labels), plain)
    torch.testing.assert_close(Weighted(0.0, 0.1, class_counts=COUNTS)(logits, labels), plain)


def test_even_draws_are_not_corrected():
    logits, labels = batch()
    even = np.full(4, 25)
    plain = CrossEntropy(0.0)(logits, labels)
    torch.testing.assert_close(LogitAdjusted(1.0, 0.0, class_counts=even)(logits, labels), plain)
    torch.testing.assert_close(Weighted(1.0, 0.0, class_counts=even)(logits, labels), plain)


def test_logit_adjustment_is_the_published_formula():
    logits, labels = batch()
    share = torch.tensor([100, 10, 40, 0.5]) / 150.5
    expected = -(logits + 0.7 * share.log()).log_softmax(1)[range(6), labels].mean()
    torch.testing.assert_close(LogitAdjusted(0.7, 0.0, class_counts=COUNTS)(logits, labels), expected)


def test_logit_adjustment_learns_the_balanced_answer():
    """One feature that says nothing: the plain loss learns the frequencies, the adjusted one learns even odds."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    bias = torch.zeros(2, requires_grad=True)
    loss = LogitAdjusted(1.0, 0.0, class_counts=[90, 10])
    optimizer = torch.optim.SGD([bias], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss(bias.expand(100, 2), labels).backward()
        optimizer.step()
    assert abs(float(bias.detach()[0] - bias.detach()[1])) < 0.01
