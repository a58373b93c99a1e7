"""The last layer of a network: found, listened to, or replaced by one of cosines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sgexp.errors import ConfigError


class CosineHead(nn.Module):
    """Logits that are ``scale`` times the cosine between features and each class's weights: lengths say nothing."""

    def __init__(self, n_features: int, n_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(n_classes, n_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as nn.Linear does."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features_NF: Tensor) -> Tensor:
        """Return logits (N, K) of features (N, F)."""
        return self.scale * F.linear(F.normalize(features_NF, dim=-1), F.normalize(self.weight, dim=-1))


class ScaledHead(nn.Module):
    """A last layer and a factor for each of its logits, 1 at first (learnable weight scaling, Kang et al. 2020)."""

    def __init__(self, layer: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.layer = layer
        self.scales = nn.Parameter(torch.ones(n_classes))

    def forward(self, features_NF: Tensor) -> Tensor:
        """Return logits (N, K) of features (N, F)."""
        return self.scales * self.layer(features_NF)


LAST: list[type[nn.Module]] = [nn.Linear, CosineHead, ScaledHead]
"""What a last layer can be; a module that declares another one adds it."""


def name_of_head(network: nn.Module) -> str:
    """Return the name of the last layer: ``head`` where there is one, else the last linear layer."""
    if isinstance(getattr(network, "head", None), tuple(LAST)):
        return "head"
    found = [name for name, module in network.named_modules() if isinstance(module, tuple(LAST))]
    found = [name for name in found if name.rpartition(".")[0] not in found]  # not a layer within a last layer
    if not found:
        raise ConfigError(
            f"{type(network).__name__} has no last linear layer (nn.Linear): this loss or stage needs one, take another"
        )
    return found[-1]


def head_of(network: nn.Module) -> nn.Module:
    """Return the last layer."""
    return network.get_submodule(name_of_head(network))


def features_of(head: nn.Module) -> int:
    """Return how many features a last layer is given."""
    weight = getattr(head, "layer", head).weight
    assert isinstance(weight, torch.Tensor)
    return int(weight.shape[1])


def with_cosine_head(network: nn.Module, scale: float) -> nn.Module:
    """Replace the last layer by one of cosines, in place."""
    name = name_of_head(network)
    old = network.get_submodule(name)
    if not isinstance(old, nn.Linear):
        raise ConfigError(f"the last layer of {type(network).__name__} is no nn.Linear: cosines cannot replace it")
    return _with_head(network, name, CosineHead(old.in_features, old.out_features, scale))


def with_scaled_head(network: nn.Module, n_classes: int) -> nn.Module:
    """Give each logit of the last layer a factor, in place."""
    return _with_head(network, name_of_head(network), ScaledHead(head_of(network), n_classes))


def replace_head(network: nn.Module, new: nn.Module) -> nn.Module:
    """Replace the last layer, in place."""
    return _with_head(network, name_of_head(network), new)


def _with_head(network: nn.Module, name: str, new: nn.Module) -> nn.Module:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, new)
    return network


def last_layer(network: nn.Module, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights (K, F) and bias (K,) of the layer whose output are the logits; refuse a network that has none."""
    head = head_of(network)
    scales = np.ones(1, np.float32)
    if isinstance(head, ScaledHead):
        scales, head = head.scales.data.cpu().numpy(), head.layer
    if isinstance(head, CosineHead):
        raise ConfigError("this run's last layer is one of cosines (loss=ldam): its weights' lengths say nothing")
    if not isinstance(head, nn.Linear) or not _ends_in_its_head(network, pixels):
        raise ConfigError(f"the logits of {type(network).__name__} are not those of a last linear layer")
    weights = head.weight.detach().cpu().numpy()
    bias = np.zeros(len(weights), np.float32) if head.bias is None else head.bias.detach().cpu().numpy()
    return weights * scales[:, None], bias * scales


def _ends_in_its_head(network: nn.Module, pixels: int) -> bool:
    """Try whether the last layer, given a crystal's features, answers as the whole network does."""
    tap, training = FeatureTap(network), network.training
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        logits = network.eval()(torch.randn(2, 3, pixels, pixels, generator=generator).to(device))
        again = head_of(network)(tap.features(2))
    tap.remove()
    network.train(training)
    return torch.allclose(again.float(), logits.float(), atol=1e-4, rtol=1e-3)


class FeatureTap:
    """Keeps what the last layer of a network was given in the latest forward pass."""

    def __init__(self, network: nn.Module) -> None:
        self._latest: Tensor | None = None
        self._handle = head_of(network).register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._latest = inputs[0]

    def features(self, batch: int) -> Tensor:
        """Return the features of each sample, (B, F): the mean over its patterns where the layer saw each by itself."""
        return self.each(batch).mean(1)

    def each(self, batch: int) -> Tensor:
        """Return the features of each sample, (B, C, F); C is 1 where the layer did not see each pattern by itself."""
        assert self._latest is not None
        return self._latest.reshape(batch, -1, self._latest.shape[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Keep what was heard to itself: a copy of the network listens anew."""
        return vars(self) | {"_latest": None}

    def remove(self) -> None:
        """Stop listening."""
        self._handle.remove()
