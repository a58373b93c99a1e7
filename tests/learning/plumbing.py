"""A tiny network, data and module for tests of the plumbing."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sgexp.learning.auxiliary import Auxiliary, CrystalTargets
from sgexp.learning.losses import CrossEntropy
from sgexp.learning.models.heads import with_scaled_head
from sgexp.learning.module import SpaceGroupModule
from sgexp.learning.optimizers import adamw
from sgexp.learning.schema import TrainerConfig
from sgexp.learning.stages import StageSwitch, crt, probability_flow, trickle_down
from sgexp.loading.augment import Augment
from sgexp.loading.datamodule import PatternDataModule
from sgexp.loading.mixing import mixup
from sgexp.sampling.plan import ResamplingPlan

CLASSES = (2, 14, 76, 78, 225)


class ArrayStore:
    """Patterns whose class can be seen: a bright row in a place of its own."""

    def __init__(self, n: int = 80, pixels: int = 8) -> None:
        self.labels = np.arange(n) % len(CLASSES)
        self.patterns = np.random.default_rng(0).normal(size=(n, 3, pixels, pixels)).astype(np.float32)
        self.patterns[np.arange(n), :, self.labels] += 2.0

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.patterns[rows]


class TinyNet(nn.Module):
    """Two layers, group normalisation (the same on any number of ranks) and dropout."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * 8, len(CLASSES))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(torch.relu(self.norm(self.conv(x_BCHW))).mean(3).flatten(1)))


def make_optimizer(model, steps):
    return adamw(0.01, 0.9, 0.99, 0.01, False, "one_cycle", 0.25, model=model, steps=steps)


def make_module(*, dropout=0.2, classes=CLASSES, seed=5, loss=None):
    torch.manual_seed(seed)
    return SpaceGroupModule(
        TinyNet(dropout),
        loss or CrossEntropy(0.0, class_counts=None),
        make_optimizer,
        classes,
        standardise=lambda coded: coded - coded.mean((-2, -1), keepdim=True),
        augment=Augment("none", False, 0.0, 0.1, 0.0, 0.2, classes=classes, seed=seed),
        seed=seed,
        hyperparameters={"model": "tiny", "lr": 0.01, "decay_norms": False},
    )


def targets(n=80):
    """The cells of made-up crystals that the rows of ArrayStore are, two rows a crystal; every tenth has none."""
    rng = np.random.default_rng(4)
    groups = np.array(CLASSES)[np.arange(n) % len(CLASSES)]
    cell = np.hstack([np.repeat(rng.uniform(3, 15, (n // 2, 1)), 2, 0).repeat(3, 1), np.full((n, 3), 90.0)])
    cell[:, 3:] += np.where(groups == 2, rng.uniform(-9, 9, n), 0.0)[:, None]
    cell[::10] = np.nan
    return CrystalTargets.of(groups, cell.astype(np.float32))


def with_auxiliary(module, seed=7, train=60, **weights):
    """Give a module auxiliary tasks, drawn from a seed of their own."""
    torch.manual_seed(seed)
    weights = {"system": 0.3, "lengths": 0.5, "angles": 0.2} | weights
    module.auxiliary = Auxiliary(8 * 8, targets(), np.arange(train), weights)
    return module


def make_data(*, batch_size=16, n_train=60, plan=None, **options):
    store = ArrayStore()
    plan = plan or ResamplingPlan.selection(np.arange(n_train))
    rows = {"validation": np.arange(60, 80)}
    return PatternDataModule(
        store, store.labels, rows, plan, batch_size=batch_size, eval_batch_size=7, seed=2, **options
    )


def in_stages(stages, epochs, *, dropout=0.2, loss=None):
    """Return a module, its data and the callback that enters the second stage, where 20 draws of each class follow."""
    module = make_module(dropout=dropout, loss=loss)
    module.make_optimizer, module.stage = stages.optimizer(make_optimizer, epochs), 1
    module.model = stages.network(module.model, len(CLASSES))
    if stages.trains == "scales":
        with_scaled_head(module.model, len(CLASSES))
    base = np.concatenate([np.resize(np.flatnonzero(ArrayStore().labels[:60] == k), 20) for k in range(len(CLASSES))])
    evenly = ResamplingPlan.selection(base)
    data = make_data(later=(stages.begins(epochs), evenly) if stages.draws_evenly else None)
    second = stages.loss(CrossEntropy(0.0), [100, 10, 40, 20, 5], module.model)
    return module, data, StageSwitch(stages, epochs, second, seed=5, class_counts=[20] * len(CLASSES))


IN_STAGES = {
    "crt": crt(0.5, 1.0),
    "probability_flow": probability_flow(0.5, 1.0, 3, 0.5, 1),
    "trickle_down": trickle_down(0.5, 1.0, 2, True),
}


def config(**fields):
    return TrainerConfig(**({"accelerator": "cpu", "epochs": 3, "batch_size": 16} | fields))


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def main() -> None:
    """Train on as many processes as asked and keep what came out (run by the DDP test)."""
    from sgexp.learning.schema import CallbacksConfig
    from sgexp.learning.trainer import make_trainer, predict

    devices, folder = int(sys.argv[1]), Path(sys.argv[2])
    module, data, switches, accumulate = make_module(dropout=0.0), make_data(), [], 1
    if "mixup" in sys.argv:
        accumulate = 2
        module.mixing = mixup(1.0, class_counts=np.full(len(CLASSES), 12), seed=5)
        data = make_data(mixing=module.mixing)
    for name, stages in IN_STAGES.items():
        if name in sys.argv:
            module, data, *switches = in_stages(stages, 3, dropout=0.0)
    if "auxiliary" in sys.argv:
        with_auxiliary(module)
    quiet = CallbacksConfig(progress=False)
    trainer = make_trainer(
        config(devices=devices, accumulate=accumulate), folder, callbacks=quiet, extra_callbacks=switches
    )
    trainer.fit(module, datamodule=data)
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    rows, logits = predict(trainer, module, data.evaluation_loader("validation"))
    if trainer.is_global_zero:
        torch.save({"weights": weights(module), "scores": scores}, folder / "out.pt")
        np.savez(folder / "predictions.npz", rows=rows, logits=logits)


if __name__ == "__main__":
    main()
