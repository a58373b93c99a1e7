import copy
import shutil

import pytest
import torch
from torch import nn

from sgexp.composition import Composer
from sgexp.errors import ConfigError
from sgexp.learning.models.defectnet import DefectNetEncoder, DilatedSum
from sgexp.learning.models.heads import FeatureTap, last_layer
from sgexp.learning.models.patterns import parameter_count
from sgexp.learning.models.resnet import ResNet
from sgexp.learning.models.set import GatedAttention
from sgexp.learning.models.timm_model import import_timm
from sgexp.learning.schema import GROUPS, DefectNetConfig, ResNetConfig, SetNetConfig, SmallNetConfig, TimmConfig
from sgexp.learning.views import takes_any_number
from sgexp.schema import build

# Every model of the registry at each depth and way of treating patterns, narrow, so that the tests stay quick.
NARROW = [
    *(ResNetConfig(depth=depth, width=8, variant=variant) for depth in (18, 34, 50, 101) for variant in "bd"),
    ResNetConfig(width=8, patterns="shared", pool="logits", norm="group", dropout=0.1),
    *(SmallNetConfig(width=8, patterns=patterns) for patterns in ("shared", "stacked")),
    SmallNetConfig(width=8, pool="logits", norm="group", blocks=2),
    ResNetConfig(width=8, depth=50, variant="d_bare", patterns="shared", pool="probabilities"),
    SetNetConfig(width=8),
    SetNetConfig(width=8, norm="group", layers=0, dropout=0.1),
    SetNetConfig(width=4, norm="group", layers=2, heads=8),
    *(DefectNetConfig(width=4, norm=norm, patterns=p) for norm, p in (("batch", "shared"), ("group", "stacked"))),
]

# Those that look at each pattern by itself, so that they take any number of them.
SHARED = [
    *(SmallNetConfig(width=8, pool=pool, norm="group") for pool in ("features", "logits", "probabilities")),
    ResNetConfig(width=8, variant="d_bare", patterns="shared", pool="probabilities", norm="group"),
    *(SetNetConfig(width=8, layers=layers, norm="group") for layers in (0, 2)),
    DefectNetConfig(width=4, norm="group"),
]


def names(config):
    return "-".join([type(config).__name__, *(str(value) for value in config.arguments().values())])


def test_every_registered_model_is_tested():
    assert {type(config) for config in NARROW} | {TimmConfig} == set(GROUPS["model"])


@pytest.mark.parametrize("config", [NARROW[0], *NARROW[-7:]], ids=names)
def test_a_batch_of_no_sample_has_no_answers(config):
    """What a device is given when there are more devices than samples to judge."""
    assert build(config, n_classes=5).eval()(torch.empty(0, 3, 32, 32)).shape == (0, 5)


@pytest.mark.slow  # it calls a compiler for C++
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_compiled_network_trains_like_the_plain_one_and_its_weights_keep_their_names(monkeypatch):
    """What ``trainer.compile=true`` does (sgexp/tasks/train.py): in place, so that no checkpoint knows of it."""
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # no further processes beside the other tests
    torch.manual_seed(0)
    plain = build(SmallNetConfig(width=4, blocks=1, norm="group"), n_classes=5).double()
    compiled = copy.deepcopy(plain)
    compiled.compile()
    patterns = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for model in (plain, compiled):
        model(patterns).square().sum().backward()
    assert compiled._compiled_call_impl is not None
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def can_import_timm():
    try:
        import_timm()
    except ConfigError:
        return False
    return True


@pytest.mark.skipif(can_import_timm(), reason="timm can be imported here")
def test_a_network_of_timm_is_refused_in_a_sentence_where_timm_is_missing():
    with pytest.raises(
        ConfigError, match=r"^model=timm needs timm, which cannot be imported here .*choose another model$"
    ):
        build(TimmConfig(), n_classes=5)


@pytest.mark.skipif(not can_import_timm(), reason="timm cannot be imported here")
def test_networks_of_timm_answer_with_as_many_logits_as_classes():
    for name in ("resnet26d", "mobilenetv3_small_100"):
        assert build(TimmConfig(name=name), n_classes=5).eval()(torch.randn(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(ConfigError, match="did you mean 'resnet26d'"):
        build(TimmConfig(name="resnet26dd"), n_classes=5)


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


@pytest.mark.parametrize("config", [ResNetConfig(), SmallNetConfig(), SetNetConfig(), DefectNetConfig()], ids=names)
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


def test_the_narrow_resnet_has_the_parameters_of_the_best_published_entry():
    # counted in the author's code (github.com/jinpan/smc_challenge2, f5f33b2): resnet50, width 20, C and D, 230 classes
    network = build(Composer().check(["model=resnet_d"]).model, n_classes=230)
    assert parameter_count(network) == 2_456_420
    shapes = [tuple(layer.weight.shape) for layer in network.encoder.stem if isinstance(layer, nn.Conv2d)]
    assert shapes == [(10, 1, 3, 3), (10, 10, 3, 3)] and network.encoder.stem[2][0].weight.shape == (20, 10, 3, 3)


def test_averaged_probabilities_are_the_mean_of_each_patterns_softmax():
    network = build(SmallNetConfig(width=8, pool="probabilities", norm="group"), n_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    each = torch.stack([network(x[:, [index]]).softmax(-1) for index in range(3)])
    torch.testing.assert_close(network(x).exp(), each.mean(0))


def test_the_dilated_encoder_has_the_convolutions_of_atomnets_contracting_path():
    # github.com/pycroscopy/AICrystallographer, AtomNet/dcnn.py, 32 filters: (in, out) of its convolutions up to the sum
    pairs = [(1, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
    encoder = DefectNetEncoder(1, width=32)
    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == pairs
    assert [layer.dilation for layer in convolutions[-3:]] == [(2, 2), (4, 4), (6, 6)]
    assert encoder.n_features == 256


def test_dilated_layers_are_added_up_and_keep_the_pictures_size():
    block, x = DilatedSum(4, 8, "group"), torch.randn(2, 4, 9, 11)
    first = block.layers[0](x)
    second = block.layers[1](first)
    torch.testing.assert_close(block(x), first + second + block.layers[2](second))
    assert first.shape == (2, 8, 9, 11)


@pytest.mark.parametrize("config", SHARED, ids=names)
def test_a_network_that_looks_at_each_pattern_takes_any_number_in_any_order(config):
    torch.manual_seed(0)
    network = build(config, n_classes=5).eval()
    assert takes_any_number(network)
    for count in (1, 2, 3, 7):
        x = torch.randn(2, count, 32, 32)
        assert network(x).shape == (2, 5)
        torch.testing.assert_close(network(x), network(x[:, torch.randperm(count)]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [*SHARED, SmallNetConfig(width=8, patterns="stacked")], ids=names)
def test_patterns_may_be_of_any_size_and_need_not_be_square(config):
    network = build(config, n_classes=5).eval()
    for height, width in ((32, 32), (33, 47), (64, 96)):
        assert network(torch.randn(1, 3, height, width)).shape == (1, 5)


def test_gated_attention_is_that_of_the_paper():
    torch.manual_seed(0)
    layer, h = GatedAttention(6, 4), torch.randn(2, 3, 6)
    v, u, w = ((part.weight, part.bias) for part in (layer.V, layer.U, layer.w))
    scores = (torch.tanh(h @ v[0].T + v[1]) * torch.sigmoid(h @ u[0].T + u[1])) @ w[0][0]
    a = scores.exp() / scores.exp().sum(1, keepdim=True)
    torch.testing.assert_close(layer.weights(h), a)
    torch.testing.assert_close(layer(h), torch.einsum("bc,bcf->bf", a, h))


def test_what_one_pattern_shows_changes_how_a_set_reads_another():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 32, 32)
    y = torch.cat([x[:, :2], torch.randn(1, 1, 32, 32)], 1)
    apart, between = (build(SetNetConfig(width=8, layers=n, norm="group"), n_classes=5).eval() for n in (0, 1))
    torch.testing.assert_close(apart.members(x)[:, :2], apart.members(y)[:, :2])
    assert not torch.allclose(between.members(x)[:, :2], between.members(y)[:, :2], atol=1e-3)
    assert between.weights(x).shape == (1, 3) and between.weights(x).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("config", [SetNetConfig(width=8), DefectNetConfig(width=4)], ids=names)
def test_the_last_layer_of_a_network_is_found_with_its_features(config):
    network = build(config, n_classes=5)
    assert last_layer(network, 32)[0].shape == network.head.weight.shape
    tap = FeatureTap(network.eval())
    logits = network(torch.randn(4, 3, 32, 32))
    torch.testing.assert_close(network.head(tap.features(4)), logits)


@pytest.mark.parametrize("config", SHARED, ids=names)
def test_pictures_kept_as_nhwc_give_the_same_answer(config):
    network = build(config, n_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = network(x)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(x), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        ResNetConfig(width=8, variant="d_bare", patterns="shared", pool="probabilities", norm="group"),
        SetNetConfig(width=8, norm="group"),
        DefectNetConfig(width=4, norm="group"),
    ],
    ids=names,
)
def test_one_batch_is_learned_by_heart(config):
    torch.manual_seed(0)
    network = build(config, n_classes=4).train()
    x, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(80):
        loss = nn.functional.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 and (network(x).argmax(-1) == labels).all()


def test_group_normalisation_keeps_samples_apart():
    network = build(SmallNetConfig(width=8, norm="group"), n_classes=5).train()
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(x)[:2], network(x[:2]), atol=1e-5, rtol=1e-4)
