"""Any network of timm (PyTorch Image Models, R. Wightman, github.com/huggingface/pytorch-image-models) as the encoder.

timm is an extra: it needs torchvision, of which there is no build for every torch. Weights start at random; nothing is
downloaded.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import Tensor

from sgexp.errors import ConfigError, did_you_mean
from sgexp.learning.models.patterns import Encoder, PatternClassifier, in_channels


def import_timm() -> ModuleType:
    """Return the module timm, or refuse with a sentence."""
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit the torch raises RuntimeError
        raise ConfigError(
            f"model=timm needs timm, which cannot be imported here ({str(error).splitlines()[0]}): "
            "pip install 'sgexp[timm]' with a torchvision that fits your torch, or choose another model"
        ) from error


class TimmEncoder(Encoder):
    """A network of timm without its last layer, pooled over the picture as its authors do."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        timm = import_timm()
        if not timm.is_model(name):  # nor a name that would be looked up on the web
            raise ConfigError(f"model.name={name!r} is no network of timm{did_you_mean(name, timm.list_models())}")
        self.network = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
        self.n_features = int(getattr(self.network, "head_hidden_size", None) or self.network.num_features)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return features (N, n_features)."""
        return self.network(x_NCHW)


def timm_model(
    name: str, dropout: float, patterns: str, pool: str, *, n_classes: int, n_patterns: int = 3
) -> PatternClassifier:
    """Return a classifier of stacks of patterns with an encoder of timm."""
    encoder = TimmEncoder(name, in_channels(patterns, n_patterns))
    return PatternClassifier(encoder, n_classes, patterns=patterns, pool=pool, dropout=dropout)
