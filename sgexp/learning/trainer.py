"""From the ``trainer`` and ``callbacks`` choices to a Lightning Trainer, and predictions with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from torch import nn
from torch.utils.data import DataLoader

from sgexp.errors import ConfigError
from sgexp.learning import heartbeat, watching
from sgexp.learning.callbacks import MetricsFile, TrainingProgress
from sgexp.learning.checkpoint import SafeCheckpointIO
from sgexp.learning.gather import gather_by_row
from sgexp.learning.loggers.base import RunLogger
from sgexp.learning.module import SpaceGroupModule
from sgexp.learning.processes import cluster_environment, leave
from sgexp.learning.schema import CallbacksConfig, TrainerConfig
from sgexp.learning.strategies import Processes, ShardingProcesses
from sgexp.loading.batches import Batch
from sgexp.loading.samplers import check_shares
from sgexp.ranks import place

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}


class _NoSignalHandlers(_SignalConnector):
    """None of Lightning's answers to SIGTERM and SIGUSR1 (see `preemption`)."""

    def register_signal_handlers(self) -> None:
        """Leave those that are there."""
        self.received_sigterm = False


class Trainer(pl.Trainer):
    """Lightning's Trainer, but Ctrl-C raises KeyboardInterrupt, so that the caller can record it.

    (Lightning 2.6 tidies up, ignores further signals and exits with status 1.)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signal_connector = _NoSignalHandlers(self)
        # Before every step its loop tells all processes whether the first one heard SIGTERM, which is never so here
        # (`_NoSignalHandlers`); a GPU would wait for the answer.
        self.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Train."""
        with self._interruptible():
            super().fit(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Return what ``predict_step`` returned for each batch."""
        with self._interruptible():
            return super().predict(*args, **kwargs)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except (SystemExit, Exception) as ended:  # also an error while it tidied up, such as a lost connection
            asked = _began_with_interrupt(ended)
            lost = None if asked else watching.lost(self._processes(), ended)
            watching.end(self._processes())
            if lost is not None:
                raise lost from ended
            if not asked:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            self._processes().clear()
            raise KeyboardInterrupt from ended

    def _processes(self) -> list[subprocess.Popen[str]]:
        """The further processes that this trainer started; who is taken off the list is no longer watched."""
        return getattr(self.strategy, "started", [])

    def disband(self) -> None:
        """Part from the other processes of a distributed run after the last common work.

        Those that this one started end first, so that it can run something else.
        """
        heartbeat.stop()
        if place().world > 1:
            leave()
        if not self._processes():
            return
        for process in self._processes():
            process.wait()
        leave()
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)


def _began_with_interrupt(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def make_trainer(
    config: TrainerConfig,
    run_dir: Path,
    *,
    callbacks: CallbacksConfig | None = None,
    logger: RunLogger | None = None,
    extra_callbacks: Sequence[Callback] = (),
    best_from: int = 0,
) -> Trainer:
    """Return the trainer of a run: it writes ``metrics.csv`` and ``checkpoints/{best,last}.ckpt`` below ``run_dir``.

    Epochs before ``best_from`` cannot be the best one.
    Asks for nothing that is not there: a GPU or a number of devices that this machine lacks is a ``ConfigError``.
    """
    hush_lightning()
    on_gpu, devices = choose_devices(config)
    precision = config.precision if config.precision != "auto" else ("bf16" if on_gpu else "32")
    sync_batchnorm = config.sync_batchnorm and on_gpu and devices * config.nodes > 1  # PyTorch has it for GPUs only
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=config.nodes,
        strategy=_strategy(config, on_gpu, devices * config.nodes, sync_batchnorm),
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        sync_batchnorm=sync_batchnorm,
        max_epochs=config.epochs,
        max_time=timedelta(minutes=config.max_minutes) if config.max_minutes else None,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=config.validate_every,
        limit_train_batches=config.limit_batches if config.limit_batches is not None else 1.0,
        limit_val_batches=config.limit_batches if config.limit_batches is not None else 1.0,
        deterministic="warn" if config.deterministic else None,
        benchmark=on_gpu and not config.deterministic,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our samplers share the work themselves
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,  # ours gets the rows of metrics.csv (MetricsFile)
        plugins=[SafeCheckpointIO(), cluster_environment(place())],
        default_root_dir=run_dir,
        callbacks=[
            *_callbacks(callbacks or CallbacksConfig(), logger or RunLogger(), run_dir, best_from),
            *extra_callbacks,
        ],
    )


def own_share_note(config: TrainerConfig, network: nn.Module) -> str | None:
    """Say where ``trainer.sync_batchnorm`` is asked for in vain: PyTorch has it for GPUs only."""
    on_gpu, devices = choose_devices(config)
    processes = devices * config.nodes
    if on_gpu or processes == 1 or not config.sync_batchnorm:
        return None
    if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules()):
        return None
    return (
        f"batch normalisation is over {config.batch_size // processes} draws, each process's own share of a batch: "
        "CPUs have no trainer.sync_batchnorm (model.norm=group trains alike on any number of processes)"
    )


def _strategy(config: TrainerConfig, on_gpu: bool, processes: int, sync_batchnorm: bool) -> Strategy | str:
    """Return how the processes of a run work together; "auto" for a single one."""
    if processes == 1:
        return "auto"
    backend = "nccl" if on_gpu else "gloo"
    if config.strategy == "fsdp":
        return ShardingProcesses(processes, sync_batchnorm, process_group_backend=backend)
    return Processes(process_group_backend=backend)


def choose_devices(config: TrainerConfig) -> tuple[bool, int]:
    """Return whether to use GPUs, and how many devices on this machine; refuse what is not there.

    Cheap: to be asked before any data are made.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.accelerator == "gpu" and gpus == 0:
        raise ConfigError(
            "trainer.accelerator=gpu, but PyTorch sees no GPU on this machine: "
            "choose trainer=cpu (or trainer=auto), or install a CUDA build of PyTorch."
        )
    on_gpu = config.accelerator != "cpu" and gpus > 0
    devices = config.devices or (gpus if on_gpu else 1)
    if on_gpu and devices > gpus:
        raise ConfigError(
            f"trainer.devices={devices}, but this machine has {gpus} GPU(s): choose at most {gpus}, or 0 for all."
        )
    check_shares(config.batch_size, devices * config.nodes)
    refuse_other_numbers(devices, config.nodes)
    return on_gpu, devices


def refuse_other_numbers(devices: int, nodes: int) -> None:
    """Refuse a run whose processes are not as many as were started: it would wait for the others, or train twice."""
    here, asked = place(), devices * nodes
    if here.world == 1 and nodes > 1:
        raise ConfigError(
            f"trainer.nodes={nodes}, but nothing started a process for each device of each node: use torchrun, or srun "
            "or jsrun in a job (task=submit writes its script)"
        )
    if here.world > 1 and here.world != asked:
        raise ConfigError(
            f"{here.started_by} started {here.world} processes, but trainer.devices={devices} x trainer.nodes={nodes} "
            f"makes {asked}: give numbers whose product is {here.world}, or start {asked}"
        )


def _callbacks(config: CallbacksConfig, logger: RunLogger, run_dir: Path, best_from: int) -> list[Callback]:
    folder = run_dir / "checkpoints"
    monitor, mode = f"val/{config.monitor}", "min" if config.monitor == "loss" else "max"
    chosen: list[Callback] = [TrainingProgress()] if config.progress else []
    # Before the checkpoints: a row of the history may be cut on resume, but never be missing.
    chosen.append(MetricsFile(run_dir / "metrics.csv", logger))
    if config.patience:
        chosen.append(EarlyStopping(monitor, mode=mode, patience=config.patience))
    common: dict[str, Any] = {
        "dirpath": folder,
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    best = BestCheckpoint if best_from else ModelCheckpoint
    chosen.append(best(filename="best", monitor=monitor, mode=mode, save_top_k=1, **common))
    if isinstance(chosen[-1], BestCheckpoint):
        chosen[-1].since = best_from
    chosen.append(ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common))
    if config.checkpoint_steps:
        chosen.append(MidEpochCheckpoint(filename="last", every_n_train_steps=config.checkpoint_steps, **common))
    return chosen


class BestCheckpoint(ModelCheckpoint):
    """Looks for the best epoch among those from ``since`` on."""

    since = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the epoch once it counts."""
        if trainer.current_epoch >= self.since:
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the epoch once it counts."""
        if trainer.current_epoch >= self.since:
            super().on_train_epoch_end(trainer, pl_module)


class MidEpochCheckpoint(ModelCheckpoint):
    """Writes within epochs; after an epoch's last batch it leaves it to the checkpoint at the epoch's end.

    (A run resumed from between the two would skip that epoch's validation.)
    """

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save when it is time."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args, **kwargs)


def hush_lightning() -> None:
    """Keep Lightning's advertisements, and warnings about what is meant to be so, off the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        for part in ("", ".utilities.rank_zero"):
            logging.getLogger(name + part).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # a local memory map needs none
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*treespec, LeafSpec.*",
        ".*`srun` command is available.*",  # on a cluster's login node; processes are started here
        ".*Total length of `PatternLoader` across ranks is zero.*",  # no validation part, which the split has told of
        ".*could not find the monitored key.*",  # then the last epoch is the one that is kept
    ):
        warnings.filterwarnings("ignore", message=message)


def predict(
    trainer: pl.Trainer, module: SpaceGroupModule, loader: DataLoader[Batch]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return catalog rows (N,) ascending and their logits (N, K), of all ranks, each row once."""
    rows, found = answers(trainer, module, loader)
    return rows, found["logits"]


def answers(
    trainer: pl.Trainer, module: SpaceGroupModule, loader: DataLoader[Batch]
) -> tuple[NDArray[np.int64], dict[str, NDArray]]:
    """Return catalog rows (N,) ascending and all that ``predict_step`` says of them, (N, ...) by name."""
    with warnings.catch_warnings():
        # Lightning cannot know that our evaluation batches leave no sample out.
        warnings.filterwarnings("ignore", message=".*custom batch sampler.*")
        batches = trainer.predict(module, dataloaders=loader)
    assert batches is not None
    names = [name for name in batches[0] if name != "row"]  # type: ignore[union-attr]
    columns = [np.concatenate([batch[name].cpu().numpy() for batch in batches]) for name in ("row", *names)]  # type: ignore[call-overload, index]
    rows, found = gather_by_row(*columns)
    return rows, dict(zip(names, found, strict=True))
