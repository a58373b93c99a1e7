"""The processes of a distributed run that torchrun, srun or jsrun started: how they meet, and agree with the first."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from sgexp.errors import ConfigError, UserError
from sgexp.learning import heartbeat
from sgexp.learning.schema import TrainerConfig
from sgexp.ranks import Place, place

Value = TypeVar("Value")
_ALONE = timedelta(days=7)  # what one process may do while the others wait for it to begin, such as simulate


def cluster_environment(here: Place) -> ClusterEnvironment:
    """Return Lightning's view of whoever started this process.

    It is chosen here, not guessed by Lightning: in an sbatch script that does not use srun Lightning would wait for
    processes that nobody starts.
    """
    try:
        if here.started_by == "torchrun":
            return TorchElasticEnvironment()
        if here.started_by == "srun":
            return SLURMEnvironment(auto_requeue=False)
        if here.started_by == "jsrun":
            return LSFEnvironment()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ConfigError(f"{here.started_by} does not say enough for the processes to meet: {error}") from error
    return LightningEnvironment()


def join(on_gpu: bool, config: TrainerConfig) -> None:
    """Meet the processes that were started together with this one; nothing to do where there are none.

    Until they train they wait for each other as long as it takes: one may make the data, or pack them, alone. A lost
    one is noticed all the same (`heartbeat`).
    """
    here = place()
    if here.world == 1 or dist.is_initialized():
        return
    cluster = cluster_environment(here)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    if on_gpu:
        torch.cuda.set_device(here.local_rank)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, rank=here.rank, world_size=here.world, timeout=_ALONE)
    heartbeat.begin(of_the_first, config.lost_seconds)


class WatchOver(Callback):
    """Has the processes of a run watch over each other, and wait for each other no longer than they may in training."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin when all have met; those that Lightning starts, on one machine, meet here."""
        if trainer.world_size == 1:
            return
        heartbeat.begin(of_the_first, self.config.lost_seconds, getattr(trainer.strategy, "started", None))
        dist.barrier()  # the last that may take long
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=self.config.timeout_seconds))


def of_the_first(make: Callable[[], Value]) -> Value:
    """Call ``make`` in the first process alone, and return its value, or raise its refusal, in all of them.

    In a run of one process, or before they met, each calls it. (What one node has written another may see seconds
    later, so a file that is there for one is not for all.)
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return make()
    said: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            said[0] = make()
        except UserError as error:
            said[1] = str(error), error.exit_code
            raise
        finally:
            dist.broadcast_object_list(said, src=0)
        return said[0]
    dist.broadcast_object_list(said, src=0)
    if said[1] is not None:
        refusal = UserError(said[1][0])
        refusal.exit_code = said[1][1]
        raise refusal
    return said[0]


def leave() -> None:
    """Part from the others after the last common work."""
    heartbeat.stop()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
