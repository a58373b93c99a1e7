"""How the processes of one run work together: every process holds the network (DDP), or a share of it (FSDP)."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer

from sgexp.console import interrupts_not_inherited
from sgexp.learning import watching
from sgexp.machine import free_port
from sgexp.ranks import RUN_FOLDER

# What DDP calls its copying of buffers before each step, since PyTorch 2.13 and before.
_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(nn.parallel.DistributedDataParallel).parameters
)


class _ShieldedLaunch:
    """Starts further processes that Ctrl-C does not reach: the first one ends them.

    (Were they to end by themselves while it waits for them to join, it would wait for half an hour.)
    They are watched here, not by Lightning: it kills this process without a word when one of them is killed.
    """

    started: list[subprocess.Popen[str]]
    _launcher: Any

    def _configure_launcher(self) -> None:
        super()._configure_launcher()  # type: ignore[misc]
        start = getattr(self._launcher, "_call_children_scripts", None)
        if start is None:  # others, such as a cluster, start the processes
            return

        def start_shielded() -> None:
            with interrupts_not_inherited():
                if RUN_FOLDER in os.environ:
                    self.started = _started(self._launcher.cluster_environment, self._launcher.num_processes)
                else:  # no run of ours, but a program that uses the strategy: Lightning repeats it
                    start()
                    self.started, self._launcher.procs = self._launcher.procs, []
            watching.watch(self.started)

        self._launcher._call_children_scripts = start_shielded


def _started(cluster: ClusterEnvironment, processes: int) -> list[subprocess.Popen[str]]:
    """Start the further processes of a run on this machine; the environment tells each its place, and `RUN_FOLDER`.

    Lightning would repeat the program that this process runs. In a job of submitit or joblib that is theirs, not ours.
    """
    os.environ.setdefault("MASTER_PORT", str(free_port()))  # Lightning's own choice may be taken before it is used
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    os.environ["NODE_RANK"], os.environ["LOCAL_RANK"], os.environ["WORLD_SIZE"] = "0", "0", str(processes)
    command = [sys.executable, "-m", "sgexp"]
    return [
        subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(rank)}, text=True) for rank in range(1, processes)
    ]


class _OneJudged:
    """Has every process judge one network: that with the first process's buffers, such as running statistics."""

    model: nn.Module | None

    def on_validation_start(self) -> None:
        """Judge one network."""
        self._share_buffers()

    def on_predict_start(self) -> None:
        """Judge one network."""
        self._share_buffers()

    def _share_buffers(self) -> None:
        assert self.model is not None
        for buffer in self.model.buffers():
            dist.broadcast(buffer, src=0)


class Processes(_OneJudged, _ShieldedLaunch, DDPStrategy):
    """Lightning's DDP: each process holds the whole network and sees its share of every batch.

    DDP would copy the first process's buffers to all others before every step. Batch normalisation does not look at
    them while it trains, so they are copied before the network is judged: same numbers, one exchange a step less.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {_BUFFERS: False})


class ShardingProcesses(_OneJudged, _ShieldedLaunch, ModelParallelStrategy):
    """Fully sharded data parallel (PyTorch's FSDP2, by Lightning's ModelParallelStrategy).

    Each process keeps its share of every weight, gradient and moment, and borrows the others' while it needs them: for
    networks that do not fit on one device. A checkpoint holds the whole, as that of any other run. As under DDP the
    first process's running statistics of batch normalisation are everybody's when it matters: when a network is judged.
    Source: Zhao et al., PyTorch FSDP, VLDB 16 (2023) 3848.
    """

    def __init__(self, processes: int, sync_batchnorm: bool, **kwargs: Any) -> None:
        super().__init__(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False, **kwargs
        )
        self.sync_batchnorm = sync_batchnorm

    def share_out(self, network: nn.Module) -> nn.Module:
        """Share a network's weights out once, each of its blocks by itself; an optimizer must be made after that."""
        if isinstance(network, FSDPModule):
            return network
        if self.sync_batchnorm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # FSDP2 shares no other
        mesh = self.device_mesh["data_parallel"]
        for block in network.children():
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        return network

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state on the first process, its keys as an optimizer that is not shared out has them."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict  # slow to import

        assert self.model is not None
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: dict[str, Any] = get_optimizer_state_dict(self.model, _bare(optimizer), options=whole)
        names = [name for group in state.get("param_groups", ()) for name in group["params"]]
        return _renamed(state, {name: number for number, name in enumerate(names)})

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Share out a checkpoint that is whole, whoever wrote it; nothing in it can run code."""
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        assert self.model is not None
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        checkpoint = self.checkpoint_io.load_checkpoint(checkpoint_path)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=whole)
        name_of = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            groups = _bare(optimizer).param_groups
            names = [name_of[id(parameter)] for group in groups for parameter in group["params"]]
            named = _renamed(state, dict(enumerate(names)))
            set_optimizer_state_dict(self.model, _bare(optimizer), named, options=whole)
        return checkpoint


def _bare(optimizer: Optimizer) -> Optimizer:
    return optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer


def _renamed(state: dict[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """Return an optimizer's state with its parameters called otherwise (nothing on processes that hold none)."""
    if not state:
        return state
    groups = [group | {"params": [names[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[name]: value for name, value in state["state"].items()}, "param_groups": groups}
