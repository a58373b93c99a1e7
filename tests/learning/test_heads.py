import numpy as np
import pytest
import torch
from torch import nn

from sgexp.composition import Composer
from sgexp.errors import ConfigError
from sgexp.learning.losses import InfluenceBalanced
from sgexp.learning.models.heads import CosineHead, FeatureTap, head_of, with_cosine_head
from sgexp.learning.models.small import small_net
from sgexp.learning.schema import CallbacksConfig
from sgexp.learning.trainer import make_trainer
from sgexp.tasks.trained_run import network_builder

from .plumbing import CLASSES, config, make_data, make_module


def test_a_cosine_head_answers_with_scaled_cosines():
    head, features = CosineHead(5, 3, 30.0), torch.randn(4, 5)
    w, x = head.weight.detach().numpy(), features.numpy()
    cosines = x @ w.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(head(features).detach(), 30 * cosines, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", ["features", "logits"])
def test_features_of_a_crystal_are_those_that_its_logits_come_from(pool):
    network = small_net(8, 1, "group", 0.0, "shared", pool, n_classes=4).eval()
    tap = FeatureTap(network)
    logits = network(torch.randn(5, 3, 32, 32))
    torch.testing.assert_close(network.head(tap.features(5)), logits)
    tap.remove()
    assert not head_of(network)._forward_pre_hooks


def test_a_network_without_a_linear_layer_is_refused_by_name():
    with pytest.raises(ConfigError, match="Conv2d has no last linear layer"):
        with_cosine_head(nn.Conv2d(1, 1, 1), 30.0)


def test_ldam_makes_the_last_layer_one_of_cosines_wherever_the_network_is_built():
    checked = Composer().check(["loss=ldam", "loss.scale=20"])
    head = network_builder(checked)(7).head
    assert isinstance(head, CosineHead) and head.scale == 20 and head.weight.shape[0] == 7
    assert isinstance(network_builder(Composer().check([]))(7).head, nn.Linear)


def test_a_loss_that_wants_features_and_its_time_gets_them(tmp_path):
    seen = []

    class Watched(InfluenceBalanced):
        def each(self, logits_BK, labels_B, features_BF=None):
            seen.append((self.progress, tuple(features_BF.shape)))
            return super().each(logits_BK, labels_B, features_BF)

    module = make_module(loss=Watched(1000.0, 0.5, 0.1, class_counts=np.full(len(CLASSES), 12)))
    trainer = make_trainer(config(epochs=4), tmp_path, callbacks=CallbacksConfig(progress=False))
    trainer.fit(module, datamodule=make_data())
    assert sorted({progress for progress, _ in seen}) == [0.0, 0.25, 0.5, 0.75]
    assert {shape for _, shape in seen} == {(16, 64)}
    assert not head_of(module.model)._forward_pre_hooks
