"""A trained network from a checkpoint, ready to answer: the file may come from a stranger.

Nothing in it runs code (``read_checkpoint``), the network is the one that the checked config names, and memory is
taken only after the sizes of both were compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sgexp.errors import ConfigError, DataError
from sgexp.learning.checkpoint import read_checkpoint
from sgexp.learning.schema import TrainerConfig
from sgexp.learning.trainer import PRECISIONS, choose_devices, hush_lightning

BuildNetwork = Callable[[int], nn.Module]
"""n_classes -> network."""


class TrainedNetwork:
    """A network with the weights of a checkpoint, and the space group of each of its answers.

    Attributes
    ----------
    network : standardised patterns (B, C, p, p) -> logits (B, K), in evaluation mode on the CPU.
    classes : (K,) int64, ascending or not, as it was trained.
    epoch : epochs finished when the weights were written, or None where the checkpoint does not say.
    """

    def __init__(self, path: Path, build: BuildNetwork, channels_last: bool = True) -> None:
        checkpoint = read_checkpoint(path)
        state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
        if not isinstance(state, Mapping):
            raise DataError(f"{path} is no checkpoint of sgexp: it holds no weights.")
        self.classes = _classes(state, path)
        weights = {str(name)[6:]: value for name, value in state.items() if str(name).startswith("model.")}
        _refuse_other_sizes(build, len(self.classes), weights, path)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = build(len(self.classes)).to(memory_format=layout)  # type: ignore[call-overload]
        network.load_state_dict(weights)
        self.network: nn.Module = network.eval()
        epoch = checkpoint.get("epoch")
        self.epoch = epoch + 1 if isinstance(epoch, int) else None


def _classes(state: Mapping[str, Any], path: Path) -> NDArray[np.int64]:
    classes = state.get("classes")
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64 or classes.dim() != 1:
        raise DataError(f"{path} is no checkpoint of sgexp: it does not say which space groups its answers mean.")
    numbers = classes.numpy()
    if (
        not 1 <= len(numbers) <= 230
        or len(np.unique(numbers)) != len(numbers)
        or not ((1 <= numbers) & (numbers <= 230)).all()
    ):
        raise DataError(f"{path} is damaged: its answers are not different space groups from 1 to 230.")
    return numbers


def _refuse_other_sizes(build: BuildNetwork, n_classes: int, weights: Mapping[str, Any], path: Path) -> None:
    """Compare names and shapes with those of the network, which is built without memory for it."""
    try:
        with torch.device("meta"):
            sketch = build(n_classes).state_dict()
    except (NotImplementedError, RuntimeError):  # a plugin's network that cannot be built so
        return
    wanted = {name: tuple(value.shape) for name, value in sketch.items()}
    found = {name: tuple(value.shape) if isinstance(value, Tensor) else () for name, value in weights.items()}
    if wanted != found:
        wrong = next(name for name in (*wanted, *found) if wanted.get(name) != found.get(name))
        raise DataError(
            f"{path} does not fit the run's config.yaml: {wrong} has the shape {found.get(wrong, 'missing')} there and "
            f"{wanted.get(wrong, 'missing')} in the network that the config describes; they are of different runs."
        )


class Inference:
    """A network on a device, in a precision: coded patterns in, logits out."""

    def __init__(self, network: nn.Module, standardise: Callable[[Tensor], Tensor], config: TrainerConfig) -> None:
        hush_lightning()
        on_gpu, _ = choose_devices(config)
        if config.precision == "16" and not on_gpu:
            raise ConfigError(
                "the run was trained with trainer.precision=16, which needs a GPU: add trainer.precision=32"
            )
        precision = config.precision if config.precision != "auto" else ("bf16" if on_gpu else "32")
        fabric = lightning_fabric.Fabric(
            accelerator="gpu" if on_gpu else "cpu",
            devices=1,
            precision=PRECISIONS[precision],  # type: ignore[arg-type]
        )
        self.standardise, self.device = standardise, fabric.device
        self.network = fabric.setup_module(network, move_to_device=True)
        self.network.eval()

    @torch.inference_mode()
    def logits(self, coded_BCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (B, K) of coded patterns (B, C, p, p)."""
        patterns = self.standardise(torch.from_numpy(coded_BCHW).to(self.device))
        logits = self.network(patterns).float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise DataError(
                "the network answers with numbers that are not finite: its training diverged; train it again"
            )
        return logits
