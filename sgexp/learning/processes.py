"""The processes of a distributed run that torchrun, srun or jsrun started: how they meet, and agree with the first."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from sgexp.errors import ConfigError, UserError
from sgexp.ranks import Place, place

Value = TypeVar("Value")


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


def join(on_gpu: bool) -> None:
    """Meet the processes that were started together with this one; nothing to do where there are none."""
    here = place()
    if here.world == 1 or dist.is_initialized():
        return
    cluster = cluster_environment(here)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    if on_gpu:
        torch.cuda.set_device(here.local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", rank=here.rank, world_size=here.world)


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
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
