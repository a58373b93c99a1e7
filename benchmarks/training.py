"""What Lightning and our callbacks cost: training through sgexp against a bare PyTorch loop.

Both train the same network on the same batches with the same augmentation, loss, optimizer, schedule and clipping, in
one process, an epoch of one after an epoch of the other, so that a busy machine slows both. Ours also writes
metrics.csv and two checkpoints an epoch. The ratio of the median epochs is printed (aim: 1.05 or less), with the
largest difference of the final weights (0: the two did the very same thing).

    python benchmarks/training.py [--samples 2000] [--epochs 8] [--model small|resnet18]
    python benchmarks/training.py --processes 2    # both distributed: PyTorch's DDP over gloo by hand, and ours
    python benchmarks/training.py --quick          # few samples and epochs
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from common import clocks, machine, medians

from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.data.transforms import Transform
from sgexp.learning.losses import CrossEntropy
from sgexp.learning.module import SpaceGroupModule
from sgexp.learning.preemption import StopAtBatchEnd, StopRequests
from sgexp.learning.processes import WatchOver
from sgexp.learning.schema import AdamWConfig, CallbacksConfig, ResNetConfig, SmallNetConfig, TrainerConfig
from sgexp.learning.trainer import make_trainer
from sgexp.loading.augment import Augment
from sgexp.loading.datamodule import PatternDataModule
from sgexp.loading.samplers import epoch_order
from sgexp.sampling.plan import ResamplingPlan
from sgexp.schema import build

SEED = 1
BATCH = 64
CLASSES = [group.number for group in SPACE_GROUPS]


class MappedStore:
    """Half-precision patterns in a memory map, as the packed store keeps them."""

    def __init__(self, path: Path, samples: int) -> None:
        np.save(path, np.random.default_rng(SEED).random((samples, 3, 64, 64), dtype=np.float32).astype(np.float16))
        self.patterns = np.load(path, mmap_mode="r")

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the patterns of some rows."""
        return self.patterns[rows].astype(np.float32)


def parts(model: str):
    """Return a network, its loss, augmentation and transform; the same ones at every call."""
    torch.manual_seed(SEED)
    network = build({"small": SmallNetConfig(), "resnet18": ResNetConfig(depth=18)}[model], n_classes=len(CLASSES))
    augment = Augment("none", False, 0.05, 0.2, 0.0, 0.2, classes=CLASSES, seed=SEED)
    transform = Transform(code="log", exponent=0.25, pixels=64, standardise=True)
    return network, CrossEntropy(0.0), augment, transform


def make_optimizer(model, steps):
    """Return the default optimizer and schedule."""
    return build(AdamWConfig(), model=model, steps=steps)


class BareLoop:
    """Training as one would write it by hand, with PyTorch's DistributedDataParallel where there are more processes."""

    def __init__(self, model: str, store: MappedStore, labels: np.ndarray, epochs: int, channels_last: bool) -> None:
        network, self.loss, self.augment, self.transform = parts(model)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network, self.store, self.labels = network.to(memory_format=layout), store, labels
        self.optimizer, self.schedule = make_optimizer(network, epochs * (len(labels) // BATCH))
        self.epoch, self.rank, self.world = 0, 0, 1
        self.forward = self.network

    def distribute(self) -> None:
        """Share every batch with the other processes, if there are any."""
        if dist.is_initialized():
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
            self.forward = torch.nn.parallel.DistributedDataParallel(self.network)

    def run_epoch(self) -> None:
        """Train for one epoch."""
        self.network.train()
        share = BATCH // self.world
        order = epoch_order(len(self.labels), SEED, self.epoch)
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[begin : begin + BATCH][self.rank * share : (self.rank + 1) * share]
            patterns, labels = torch.from_numpy(self.store.read(rows)), torch.from_numpy(self.labels[rows])
            patterns = self.transform.standardise(patterns)
            patterns, labels = self.augment(patterns, labels, torch.from_numpy(rows), self.epoch)
            loss = self.loss(self.forward(patterns), labels)
            self.optimizer.zero_grad()
            loss.backward()
            # In the optimizer's order, as Lightning does: another order of adding up rounds otherwise.
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            self.optimizer.step()
            self.schedule.step()
        self.epoch += 1


class TakeTurns(pl.Callback):
    """Before each of Lightning's epochs, time one of the bare loop's."""

    def __init__(self, bare: BareLoop) -> None:
        self.bare, self.started = bare, None
        self.bare_seconds, self.our_seconds = [], []  # (wall, processor) of each epoch

    def on_fit_start(self, trainer, pl_module) -> None:
        """Join the processes that Lightning has brought together by now."""
        self.bare.distribute()

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        """Run and time the bare loop, then start our clock."""
        self._our_epoch_ended()
        begin = clocks()
        self.bare.run_epoch()
        self.bare_seconds.append(clocks() - begin)
        self.started = clocks()

    def on_train_end(self, trainer, pl_module) -> None:
        """Stop our clock after the last epoch."""
        self._our_epoch_ended()

    def _our_epoch_ended(self) -> None:
        if self.started is not None:
            self.our_seconds.append(clocks() - self.started)


def main() -> None:
    """Train both and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--model", choices=("small", "resnet18"), default="small")
    parser.add_argument("--processes", type=int, default=1, help="processes of this machine, started by torchrun")
    parser.add_argument("--quick", action="store_true", help="256 samples, 3 epochs")
    asked = parser.parse_args()
    if asked.processes > 1 and "RANK" not in os.environ:
        torchrun = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={asked.processes}",
        ]
        sys.exit(subprocess.run([*torchrun, *sys.argv], check=False).returncode)
    if first := os.environ.get("RANK", "0") == "0":
        print(f"machine: {machine('torch', 'pytorch-lightning')}, {torch.get_num_threads()} torch threads")
    if asked.quick:
        asked.samples, asked.epochs = 256, 3
    config = TrainerConfig(accelerator="cpu", epochs=asked.epochs, batch_size=BATCH, devices=asked.processes)
    with tempfile.TemporaryDirectory() as folder:
        store = MappedStore(Path(folder, "patterns.npy"), asked.samples)
        rows = np.arange(asked.samples)
        labels = np.random.default_rng(SEED).integers(0, len(CLASSES), asked.samples)
        turns = TakeTurns(BareLoop(asked.model, store, labels, asked.epochs, config.channels_last))
        network, loss, augment, transform = parts(asked.model)
        module = SpaceGroupModule(
            network,
            loss,
            make_optimizer,
            CLASSES,
            standardise=transform.standardise,
            augment=augment,
            seed=SEED,
            channels_last=config.channels_last,
        )
        plan = ResamplingPlan.selection(rows)
        part = {"validation": rows[: asked.processes]}
        data = PatternDataModule(store, labels, part, plan, batch_size=BATCH, eval_batch_size=1, seed=SEED)
        quiet = CallbacksConfig(progress=False)
        ours = [turns, StopAtBatchEnd(StopRequests(30.0), Path(folder)), WatchOver(config)]  # as task=train has them
        trainer = make_trainer(config, Path(folder), callbacks=quiet, extra_callbacks=ours)
        trainer.fit(module, datamodule=data)
        if first:
            report(asked, turns, module.model, turns.bare.network)


def report(asked: argparse.Namespace, turns: TakeTurns, ours: torch.nn.Module, bare: torch.nn.Module) -> None:
    """Print medians, their ratio, and whether both came to the same weights."""
    # The first epoch of each warms up memory and kernels.
    ours_s, ours_cpu_s = medians(turns.our_seconds[1:])
    bare_s, bare_cpu_s = medians(turns.bare_seconds[1:])
    pairs = zip(ours.parameters(), bare.parameters(), strict=True)
    difference = max(float((one - other).detach().abs().max()) for one, other in pairs)
    print(f"{asked.model}, {asked.samples} samples of 3 x 64 x 64, batches of {BATCH}, {asked.processes} process(es)")
    print(f"  bare loop {bare_s:.3f} s an epoch ({asked.samples / bare_s:.0f} samples/s)")
    print(f"  sgexp     {ours_s:.3f} s an epoch ({asked.samples / ours_s:.0f} samples/s)")
    print(f"  ratio     {ours_s / bare_s:.3f} by the clock (aim: 1.05 or less)")
    print(f"  ratio     {ours_cpu_s / bare_cpu_s:.3f} in processor time, for a machine that others use too")
    print(f"  largest difference of the final weights {difference:.2g}")


if __name__ == "__main__":
    main()
