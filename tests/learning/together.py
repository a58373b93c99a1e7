"""One of two processes that meet as torchrun's do: ``python together.py RANK PORT WHAT``."""

import os
import signal
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from sgexp.learning import heartbeat, processes
from sgexp.learning.schema import TrainerConfig


class Fitting:
    """What `WatchOver` looks at of a Trainer."""

    world_size, strategy = 2, None


def main(rank, port, what):
    os.environ.update(RANK=rank, WORLD_SIZE="2", LOCAL_RANK=rank, TORCHELASTIC_RUN_ID="x")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    first, number = rank == "0", torch.ones(1)
    config = TrainerConfig(
        timeout_seconds=100.0 if "stopped" in what else 2.0, lost_seconds={"works": 30.0, "waits": 0.0}.get(what, 4.0)
    )
    if what == "naive":
        dist.init_process_group("gloo", rank=int(rank), world_size=2, timeout=timedelta(seconds=60))
        dist.barrier()
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=2))  # given above it would be of the meeting too
        print("met", flush=True)
    else:
        processes.join(False, config)
    heartbeat.farewell = lambda said: f"{said}; and farewell"
    if first and what in ("naive", "waits", "works"):
        time.sleep(5)  # it makes the data, and the other has nothing to do
    print(processes.of_the_first(lambda: "made"), flush=True)
    if what == "naive":
        return
    processes.WatchOver(config).setup(Fitting(), None, "fit")
    dist.all_reduce(number)
    if what == "waits" and not first:
        time.sleep(30)  # alive, but it never comes to the next step
    if what == ("first stopped" if first else "stopped"):
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    dist.all_reduce(number)
    processes.leave()
    print("left", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
