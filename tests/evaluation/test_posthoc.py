import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from sgexp.errors import ConfigError
from sgexp.evaluation import posthoc
from sgexp.evaluation.predictions import Predictions
from sgexp.learning.models.heads import last_layer, with_cosine_head, with_scaled_head
from sgexp.learning.models.small import small_net

CLASSES = np.array([2, 14, 62, 225])


def predictions(logits, columns):
    n = len(columns)
    names = np.array([f"m{i}" for i in range(n)])
    return Predictions(np.arange(n), names, names, names, np.full(n, 100.0), CLASSES[columns], logits, CLASSES)


def biased(n=400, seed=0):
    """Answers of a network that learned the frequencies 80, 15, 4, 1 %, judged where every class is as frequent."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 4, n)
    counts = np.array([800, 150, 40, 10])
    signal = rng.normal(size=(n, 4)) + 2.5 * np.eye(4)[columns]
    return counts, predictions(signal + np.log(counts / counts.sum()), columns), columns


def test_logit_adjustment_takes_off_what_the_frequencies_put_on():
    counts, answers, columns = biased()
    adjusted = posthoc.logit_adjustment(counts)(answers, 1.0)
    np.testing.assert_allclose(adjusted.logits, answers.logits - np.log(counts / 1000), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(posthoc.logit_adjustment(counts)(answers, 0.0).logits, answers.logits)
    assert (adjusted.predicted == CLASSES[columns]).mean() > (answers.predicted == CLASSES[columns]).mean() + 0.1


def test_tau_is_the_one_with_scikit_learns_best_macro_f1_on_validation():
    counts, answers, columns = biased()
    correction = posthoc.logit_adjustment(counts)
    chosen = posthoc.choose(correction, answers)
    scores = [
        f1_score(columns, correction(answers, tau).logits.argmax(1), average="macro", zero_division=0)
        for tau in posthoc.TAUS
    ]
    np.testing.assert_allclose(chosen.curve, scores)
    assert chosen.tau == posthoc.TAUS[int(np.argmax(scores))] and 0.5 < chosen.tau < 1.5
    assert chosen.best > chosen.plain and chosen.samples == 400


def test_even_draws_leave_the_smallest_tau():
    _, answers, _ = biased()
    assert posthoc.choose(posthoc.logit_adjustment(np.full(4, 25)), answers).tau == 0


@pytest.mark.parametrize("pool", ["features", "logits"])
def test_tau_normalisation_is_a_last_layer_with_shortened_weights_and_no_bias(pool):
    network = small_net(8, 1, "batch", 0.0, "shared", pool, n_classes=4).eval()
    with torch.no_grad():
        network.head.weight *= torch.tensor([4.0, 2.0, 1.0, 0.5])[:, None]
    patterns = torch.randn(6, 3, 32, 32)
    answers = predictions(network(patterns).detach().numpy(), np.arange(6) % 4)
    corrected = posthoc.tau_normalisation(*last_layer(network, 32))(answers, 0.7)
    with torch.no_grad():
        lengths = network.head.weight.norm(dim=1)
        network.head.weight /= (lengths[:, None] / lengths.log().mean().exp()) ** 0.7
        network.head.bias.zero_()
        expected = network(patterns)
    np.testing.assert_allclose(corrected.logits, expected.numpy(), rtol=1e-3, atol=1e-5)


def test_scales_of_logits_belong_to_the_last_layer():
    network = with_scaled_head(small_net(8, 1, "batch", 0.0, "stacked", "features", n_classes=4), 4)
    before, bias = last_layer(network, 32)
    with torch.no_grad():
        network.head.scales.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    after, bias_after = last_layer(network, 32)
    np.testing.assert_allclose(after, before * np.arange(1, 5)[:, None])
    np.testing.assert_allclose(bias_after, bias * np.arange(1, 5))


def test_networks_without_lengths_to_normalise_are_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 4)

        def forward(self, x):
            return 2 * self.head(x.flatten(1))

    with pytest.raises(ConfigError, match="not those of a last linear layer"):
        last_layer(Twice(), 2)
    with pytest.raises(ConfigError, match="say nothing"):
        last_layer(with_cosine_head(small_net(8, 1, "batch", 0.0, "shared", "features", n_classes=4), 30.0), 32)
