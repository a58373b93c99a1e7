"""The experiment files that repeat published systems say what their sources say."""

import pytest
import torch

from sgexp.composition import Composer
from sgexp.learning.optimizers import for_batch
from sgexp.schema import build


@pytest.fixture(scope="module")
def stemdl():
    return Composer().check(["experiment=stemdl", "dataset.root=somewhere"])


def test_stemdl_has_the_optimizer_and_the_constant_rate_of_its_code(stemdl):
    # github.com/mlcommons/science, benchmarks/stemdl/ornl/sgcl_runner.py: AdamW, 1e-3 x GPUs, 5e-5
    optimizer, scheduler = build(for_batch(stemdl.optimizer, stemdl.trainer)[0], model=torch.nn.Linear(2, 2), steps=9)
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    published = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters(), lr=1e-3, weight_decay=5e-5).param_groups[0]
    for key in ("lr", "betas", "eps", "weight_decay", "amsgrad"):
        assert group[key] == pytest.approx(published[key])
    assert {scheduler.lr_lambdas[0](step) for step in range(9)} == {1.0}
    assert (stemdl.trainer.batch_size, stemdl.trainer.epochs, stemdl.trainer.clip) == (32, 90, 0.0)
    larger = Composer().check(["experiment=stemdl", "dataset.root=x", "trainer.batch_size=192", "trainer.devices=6"])
    assert for_batch(larger.optimizer, larger.trainer)[0].lr == pytest.approx(6e-3)


def test_stemdl_has_the_network_and_the_input_of_its_code(stemdl):
    # torchvision's ResNet-50 (25,557,032) with one input channel instead of three and 231 outputs instead of 1,000
    network = build(stemdl.model, n_classes=231)
    expected = 25_557_032 - 2 * 64 * 49 - (1000 - 231) * 2049
    assert sum(parameter.numel() for parameter in network.parameters()) == expected == 23_975_079
    assert (stemdl.model.patterns, stemdl.model.pool) == ("shared", "logits")
    assert (stemdl.transform.code, stemdl.transform.pixels, stemdl.augment.erase) == ("log", 128, 0.8)
    assert stemdl.mixing.target.endswith("none") and stemdl.loss.label_smoothing == 0.0
