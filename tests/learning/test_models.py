import pytest
import torch
from torch import nn

from sgexp.learning.models.patterns import parameter_count
from sgexp.learning.models.resnet import ResNet
from sgexp.learning.schema import GROUPS, ResNetConfig, SmallNetConfig
from sgexp.schema import build

# Every model of the registry at each depth and way of treating patterns, narrow, so that the tests stay quick.
NARROW = [
    *(ResNetConfig(depth=depth, width=8, variant=variant) for depth in (18, 34, 50, 101) for variant in "bd"),
    ResNetConfig(width=8, patterns="shared", pool="logits", norm="group", dropout=0.1),
    *(SmallNetConfig(width=8, patterns=patterns) for patterns in ("shared", "stacked")),
    SmallNetConfig(width=8, pool="logits", norm="group", blocks=2),
]


def names(config):
    return "-".join([type(config).__name__, *(str(value) for value in config.arguments().values())])


def test_every_registered_model_is_tested():
    assert {type(config) for config in NARROW} == set(GROUPS["model"])


@pytest.mark.parametrize("config", NARROW, ids=names)
def test_each_parameter_gets_a_gradient(config):
    torch.manual_seed(0)
    network = build(config, n_classes=7)
    for module in network.modules():  # residual branches start at zero, where their convolutions have no gradient yet
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(module.weight)
    logits = network(torch.randn(4, 3, 64, 64))
    assert logits.shape == (4, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3, 5, 6])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("config", [ResNetConfig(), SmallNetConfig()], ids=names)
def test_a_fresh_network_answers_for_one_sample_and_for_none(config):
    network = build(config, n_classes=5).eval()
    assert network(torch.randn(1, 3, 32, 32)).isfinite().all()
    assert network(torch.randn(0, 3, 32, 32)).shape == (0, 5)


# torchvision 0.2x, https://pytorch.org/vision/stable/models.html: number of parameters of each ResNet
PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}


@pytest.mark.parametrize("depth", PUBLISHED)
def test_resnets_have_their_published_number_of_parameters(depth):
    with torch.device("meta"):
        network = nn.Sequential(encoder := ResNet(depth, channels=3), nn.Linear(encoder.n_features, 1000))
    assert parameter_count(network) == PUBLISHED[depth]


@pytest.mark.parametrize("pool", ["features", "logits"])
def test_a_shared_encoder_does_not_care_about_the_order_of_the_patterns(pool):
    network = build(SmallNetConfig(width=8, pool=pool, norm="group"), n_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(x), network(x[:, [2, 0, 1]]), atol=1e-5, rtol=1e-4)


def test_group_normalisation_keeps_samples_apart():
    network = build(SmallNetConfig(width=8, norm="group"), n_classes=5).train()
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(x)[:2], network(x[:2]), atol=1e-5, rtol=1e-4)
