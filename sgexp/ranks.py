"""Which of a distributed run's processes this one is, as the program says that started it: torchrun, srun or jsrun.

Standard library only: the command asks before anything heavy is imported. (Processes that the first one starts by
itself, on one machine, are Lightning's and are told by other means.)
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sgexp.errors import UserError

RUN_FOLDER = "SGEXP_RUN_FOLDER"
"""The variable that names the run's folder to processes which the first one starts: they join that run."""

PATIENCE_SECONDS = 5.0  # a starter that sees the first process fail ends the others sooner than that


@dataclass(frozen=True)
class Place:
    """The place of a process among those that were started together; alone where nobody started several."""

    rank: int = 0  # 0 is the first: it alone writes and speaks
    world: int = 1  # processes, on all nodes
    local_rank: int = 0  # place among those of this node: the GPU that it takes
    started_by: Literal["torchrun", "srun", "jsrun"] | None = None

    @property
    def words(self) -> str:
        """Name the process for a person."""
        return f"process {self.rank} of {self.world} on {socket.gethostname()}"


def place(environment: Mapping[str, str] | None = None) -> Place:
    """Return this process's place, read from the environment (default: its own).

    An sbatch script, or a shell that salloc opened, is told how many tasks the job has, but is none of them: only a
    process of a *step* is, which srun starts. torchrun may run below srun, one a node, so it is asked first.
    """
    env = os.environ if environment is None else environment
    found = Place()
    if "TORCHELASTIC_RUN_ID" in env:
        found = Place(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]), "torchrun")
    elif "SLURM_STEP_ID" in env and "SLURM_PROCID" in env:
        world = int(env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "1")))
        found = Place(int(env["SLURM_PROCID"]), world, int(env.get("SLURM_LOCALID", "0")), "srun")
    elif "JSM_NAMESPACE_RANK" in env:
        world = int(env["JSM_NAMESPACE_SIZE"])
        found = Place(int(env["JSM_NAMESPACE_RANK"]), world, int(env["JSM_NAMESPACE_LOCAL_RANK"]), "jsrun")
    return found if found.world > 1 else Place()


def tell(error: UserError) -> None:
    """Print a refusal. A further process waits first: where all fail alike, the first has said it and ends them."""
    here = place()
    if here.rank == 0:
        print(f"sgexp: {error}", file=sys.stderr)
    else:
        time.sleep(PATIENCE_SECONDS)
        print(f"sgexp: {here.words}: {error}", file=sys.stderr)
