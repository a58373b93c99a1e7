import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F

from sgexp.learning.losses import (
    LDAM,
    BalancedSoftmax,
    ClassBalanced,
    CrossEntropy,
    Focal,
    InfluenceBalanced,
    LogitAdjusted,
    Seesaw,
    Weighted,
)
from sgexp.learning.losses.base import effective_number_weights
from sgexp.learning.schema import GROUPS
from sgexp.learning.stages import drw
from sgexp.schema import build

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


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def numbers(logits):
    return logits.detach().double().numpy()


def test_focal_loss_is_the_published_formula():
    logits, labels = batch()
    p = softmax(numbers(logits))[range(6), labels.numpy()]
    expected = np.mean(-((1 - p) ** 1.5) * np.log(p))
    assert Focal(1.5, 0.0)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_a_smoothed_focal_loss_is_the_mean_over_its_target():
    logits, labels = batch()
    by_label = torch.stack([Focal(2.0, 0.0).each(logits, torch.full((6,), k)) for k in range(4)], 1)
    target = torch.full((6, 4), 0.2 / 4).scatter(1, labels[:, None], 0.8 + 0.2 / 4)
    torch.testing.assert_close(Focal(2.0, 0.2).each(logits, labels), (target * by_label).sum(1))


def test_the_focal_loss_has_a_finite_slope_where_the_answer_is_known():
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    Focal(0.5, 0.0)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_class_balanced_loss_is_the_published_formula():
    logits, labels = batch()
    counts, beta = np.array([100, 10, 40, 2]), 0.9
    weights = (1 - beta) / (1 - beta**counts)
    weights *= 4 / weights.sum()
    p = softmax(numbers(logits))[range(6), labels.numpy()]
    plain = np.mean(weights[labels.numpy()] * -np.log(p))
    focal = np.mean(weights[labels.numpy()] * -((1 - p) ** 2) * np.log(p))
    assert ClassBalanced(beta, 0.0, 0.0, class_counts=counts)(logits, labels).item() == pytest.approx(plain, rel=1e-5)
    assert ClassBalanced(beta, 2.0, 0.0, class_counts=counts)(logits, labels).item() == pytest.approx(focal, rel=1e-5)


def test_effective_numbers_go_from_plain_to_inverse_frequency():
    torch.testing.assert_close(effective_number_weights(COUNTS, 0.0), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    inverse = 1 / COUNTS[:3] / (1 / COUNTS[:3]).sum() * 3
    np.testing.assert_allclose(effective_number_weights(COUNTS, 1 - 1e-9)[:3], inverse, rtol=1e-6)


def test_balanced_softmax_is_the_published_formula():
    logits, labels = batch()
    counts = np.array([100, 10, 40, 2])
    weighted = counts * np.exp(numbers(logits))
    expected = np.mean(-np.log(weighted[range(6), labels.numpy()] / weighted.sum(1)))
    assert BalancedSoftmax(0.0, class_counts=counts)(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_ldam_is_the_published_formula():
    """s cos with a margin taken off the label's cosine, as the authors compute it: s * (cos - margin)."""
    counts, labels = np.array([256, 16, 81, 1]), batch()[1]
    cosines = np.random.default_rng(0).uniform(-1, 1, (6, 4))
    margins = 0.5 * counts**-0.25  # the rarest class has one sample, so the constant is 0.5
    moved = cosines.copy()
    moved[range(6), labels.numpy()] -= margins[labels.numpy()]
    expected = -np.log(softmax(30 * moved)[range(6), labels.numpy()]).mean()
    loss = LDAM(0.5, 30.0, 0.0, class_counts=counts)
    assert loss(torch.from_numpy(30 * cosines), labels).item() == pytest.approx(expected, rel=1e-5)
    margins_of_drawn = LDAM(0.5, 30.0, 0.0, class_counts=COUNTS).margins / 30
    np.testing.assert_allclose(margins_of_drawn[:3], 0.5 * (10 / COUNTS[:3]) ** 0.25, rtol=1e-6)


def moved_by_the_papers(name, z, labels, n):
    """Each paper's change of the logits (6, 4), in NumPy: what the softmax is then taken of."""
    if name == "LogitAdjusted":
        return z + 0.7 * np.log(n / n.sum())  # Menon et al., eq. 10
    if name == "BalancedSoftmax":
        return z + np.log(n)  # Ren et al., eq. 3
    if name == "LDAM":  # Cao et al., eq. 13, on s cos
        margin = 0.5 * (n / n.min()) ** -0.25
        return z - 30 * margin[labels][:, None] * np.eye(4)[labels]
    if name == "Seesaw":  # Wang et al., eqs. 3-7
        s = softmax(z)
        mitigation = np.minimum(1, (n[None] / n[labels][:, None]) ** 0.8)
        compensation = np.maximum(1, (s / s[range(6), labels][:, None]) ** 2.0)
        return z + np.log(mitigation * compensation)
    return z


SMOOTHED = {
    "CrossEntropy": lambda share, n: CrossEntropy(share),
    "Weighted": lambda share, n: Weighted(1.0, share, class_counts=n),
    "ClassBalanced": lambda share, n: ClassBalanced(0.9, 0.0, share, class_counts=n),
    "LogitAdjusted": lambda share, n: LogitAdjusted(0.7, share, class_counts=n),
    "BalancedSoftmax": lambda share, n: BalancedSoftmax(share, class_counts=n),
    "LDAM": lambda share, n: LDAM(0.5, 30.0, share, class_counts=n),
    "Seesaw": lambda share, n: Seesaw(0.8, 2.0, share, class_counts=n),
}


@pytest.mark.parametrize("name", SMOOTHED)
def test_a_smoothed_label_is_szegedys_in_every_loss(name):
    """-sum_k q_k log softmax_k of what the paper takes the softmax of, with q = 1 - 0.3 at the label + 0.3 / K."""
    logits, labels = batch()
    n, y = np.array([100.0, 10.0, 40.0, 2.0]), labels.numpy()
    target = 0.7 * np.eye(4)[y] + 0.3 / 4
    losses = -(target * np.log(softmax(moved_by_the_papers(name, numbers(logits), y, n)))).sum(1)
    weights = {"Weighted": n.sum() / (4 * n), "ClassBalanced": 0.1 / (1 - 0.9**n)}.get(name, np.ones(4))
    weights = weights * 4 / weights.sum() if name == "ClassBalanced" else weights
    found = SMOOTHED[name](0.3, n).each(logits, labels).detach()
    np.testing.assert_allclose(found, weights[y] * losses, rtol=1e-4)


def test_ldam_with_deferred_reweighting_is_the_published_pair():
    """Cao et al., sect. 3.3: from the second stage on LDAM times (1 - beta) / (1 - beta^n), mean 1 over the classes."""
    n, labels, beta = np.array([256, 16, 81, 4]), batch()[1], 0.9999
    cosines = np.random.default_rng(0).uniform(-1, 1, (6, 4))
    moved = moved_by_the_papers("LDAM", 30 * cosines, labels.numpy(), n)
    weights = (1 - beta) / (1 - beta**n)
    weights *= 4 / weights.sum()
    losses = -np.log(softmax(moved)[range(6), labels.numpy()])
    second = drw(0.8, beta).loss(LDAM(0.5, 30.0, 0.0, class_counts=n), n)
    assert second(torch.from_numpy(30 * cosines), labels).item() == pytest.approx((weights[labels] * losses).mean())


def test_influence_is_equations_8_to_10_with_the_authors_class_weights():
    """Park et al.: lambda_k / (||p - y||_1 ||h||_1), lambda_k proportional to 1 / n_k and K in all, 0.001 below."""
    logits, labels = batch()
    n, y = np.array([100.0, 10.0, 40.0, 2.0]), labels.numpy()
    h = np.random.default_rng(1).uniform(0, 2, (6, 5))
    p = softmax(numbers(logits))
    influence = np.abs(p - np.eye(4)[y]).sum(1) * np.abs(h).sum(1)
    class_weight = (1 / n) / (1 / n).sum() * 4
    expected = class_weight[y] * 1000 / (influence + 1e-3) * -np.log(p[range(6), y])
    loss = InfluenceBalanced(1000.0, 0.0, 0.0, class_counts=n)
    np.testing.assert_allclose(loss.each(logits, labels, torch.from_numpy(h)).detach(), expected, rtol=1e-4)


def test_seesaw_is_the_published_formula():
    logits, labels = batch()
    counts, p, q = np.array([100, 10, 40, 2]), 0.8, 2.0
    z, sigma = numbers(logits), softmax(numbers(logits))
    losses = []
    for row, label in enumerate(labels.tolist()):
        below = 0.0
        for other in range(4):
            mitigation = 1.0 if counts[label] <= counts[other] else (counts[other] / counts[label]) ** p
            ahead = sigma[row, other] > sigma[row, label]
            compensation = (sigma[row, other] / sigma[row, label]) ** q if ahead else 1.0
            factor = 1.0 if other == label else mitigation * compensation
            below += factor * np.exp(z[row, other])
        losses.append(-np.log(np.exp(z[row, label]) / below))
    assert Seesaw(p, q, 0.0, class_counts=counts)(logits, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_factors_of_seesaw_carry_no_gradient():
    """By the paper's gradient: S_yj exp z_j over the sum of all, minus 1 at the label."""
    logits, labels = batch()
    counts = np.array([100, 10, 40, 2])
    loss = Seesaw(0.8, 2.0, 0.0, class_counts=counts)
    loss.each(logits, labels).sum().backward()
    ahead = (logits - logits.gather(1, labels[:, None])).detach().clamp(min=0)
    moved = (logits.detach() + loss.log_mitigation[labels] + 2.0 * ahead).softmax(1)
    torch.testing.assert_close(logits.grad, moved - F.one_hot(labels, 4))


def test_influence_is_the_norm_of_the_last_layers_gradient():
    _, labels = batch()
    generator = torch.Generator().manual_seed(1)
    features, layer = torch.rand(6, 5, generator=generator), torch.nn.Linear(5, 4)
    logits = layer(features)
    counts = np.array([100, 10, 40, 2])
    class_weight = (1 / counts) / (1 / counts).sum() * 4
    expected = []
    for row in range(6):
        term = F.cross_entropy(logits[row : row + 1], labels[row : row + 1], label_smoothing=0.1)
        (gradient,) = torch.autograd.grad(term, layer.weight, retain_graph=True)
        influence = float(gradient.abs().sum())
        expected.append(class_weight[labels[row]] * 1000 / (influence + 1e-3) * float(term.detach()))
    loss = InfluenceBalanced(1000.0, 0.5, 0.1, class_counts=counts)
    loss.progress = 0.5
    np.testing.assert_allclose(loss.each(logits, labels, features).detach(), expected, rtol=1e-4)


def test_influence_counts_from_its_start_on():
    logits, labels = batch()
    loss = InfluenceBalanced(1000.0, 0.5, 0.1, class_counts=[100, 10, 40, 2])
    torch.testing.assert_close(loss(logits, labels), CrossEntropy(0.1)(logits, labels))
    loss.progress = 0.5
    assert not torch.allclose(loss(logits, labels, torch.ones(6, 5)), CrossEntropy(0.1)(logits, labels))


CHOICES = {schema.target: schema for schema in GROUPS["loss"]}


@pytest.mark.parametrize("target", CHOICES)
def test_every_loss_is_the_mean_of_its_samples_and_knows_label_smoothing(target):
    logits, labels = batch()
    counts = np.array([100, 10, 40, 2])
    losses = [build(CHOICES[target](label_smoothing=share), class_counts=counts) for share in (0.0, 0.3)]
    values = [loss(logits, labels, torch.ones(6, 5)) for loss in losses]
    assert all(torch.isfinite(value) for value in values) and not torch.allclose(values[0], values[1])
    torch.testing.assert_close(values[1], losses[1].each(logits, labels, torch.ones(6, 5)).mean())


@pytest.mark.parametrize("target", [target for target, schema in CHOICES.items() if schema.treats_imbalance])
def test_what_treats_the_imbalance_favours_the_rare_class_and_leaves_even_draws_alike(target):
    """Two mirrored samples, one frequent and one rare: the rare one weighs more, or its logit is pushed down less."""
    logits = torch.tensor([[0.4, 0.0], [0.0, 0.4]], requires_grad=True)
    for counts, even in (([80, 5], False), ([20, 20], True)):
        loss = build(CHOICES[target](), class_counts=counts)
        loss.progress = 1.0
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0, 1]), torch.ones(2, 3)), logits)
        pull = gradient.sum(0)  # what moves the classes' biases
        torch.testing.assert_close(pull.sum(), torch.tensor(0.0), atol=1e-3, rtol=1e-3)
        if even:
            assert abs(float(pull[1])) < 1e-3 * float(gradient.abs().max())
        else:
            assert float(pull[1]) < 0, "the rare class's logit goes up"
