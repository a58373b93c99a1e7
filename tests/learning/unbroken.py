"""A process starts a second one, which is stopped, and then waits for it in a way that nothing breaks off."""

import os
import signal
import subprocess
import sys
import time

import torch.distributed as dist

from sgexp.learning import heartbeat


def of_the_first(make):
    """Hand what the first process makes to the second."""
    made = [make() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(made, src=0)
    return made[0]


def main(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    started = [subprocess.Popen([sys.executable, __file__, "1", port])] if rank == "0" else None
    dist.init_process_group("gloo", rank=int(rank), world_size=2)
    heartbeat.farewell = lambda said: f"{said}; and farewell"
    heartbeat.begin(of_the_first, 2.0, started)
    if started:
        print(started[0].pid, flush=True)
        time.sleep(600)  # a collective of GPUs
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    main(*sys.argv[1:])
