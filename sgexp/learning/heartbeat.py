"""Signs of life among the processes of a distributed run: one that gives none for a while is lost, and so is the run.

A connection that breaks is noticed by itself (`watching`). But a process that is stopped, or whose machine is gone,
breaks none: the others would wait for it as long as a collective may take. So each process counts on in a store that
the first one keeps; the first looks at all counts, the others at the first one's. Counting has threads of its own: a
process that works alone for hours, such as one that simulates while the others wait, counts all the same.

Silence of S seconds is noticed after S * 1.1 to S * 1.3 of them, since looks are counted, ten in S; the last process
ends `PATIENCE_SECONDS` later. With the default of ``trainer.lost_seconds`` the run is over within a minute.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from sgexp.errors import ProcessLost
from sgexp.ranks import PATIENCE_SECONDS

_BEATS = 10  # in the time after which a silent process is lost
_CONNECT = timedelta(seconds=120)

Processes = list[subprocess.Popen[str]]


class Heartbeat:
    """Counts for this process, and watches the counts of others.

    Parameters
    ----------
    server : name or address of the first process's machine, and the port of its store (0 where this is the first).
    rank, world : which of how many processes this one is.
    seconds : silence after which a process is lost.
    lost : called, once and in a thread, with the rank of the lost process and a sentence about it.
    """

    def __init__(
        self, server: tuple[str, int], rank: int, world: int, seconds: float, lost: Callable[[int, str], None]
    ) -> None:
        self.rank, self.world, self.seconds, self._lost = rank, world, seconds, lost
        self.store = dist.TCPStore(server[0], server[1], is_master=rank == 0, timeout=_CONNECT, wait_for_workers=False)
        self.store.set(f"host/{rank}", socket.gethostname())
        self.store.set(f"count/{rank}", "0")
        self._watched = list(range(1, world)) if rank == 0 else [0]
        self._looks = dict.fromkeys(self._watched, 0)  # since the count went on
        self._hosts: dict[int, str] = {}
        self._over = threading.Event()

    @property
    def port(self) -> int:
        """The port at which the store listens."""
        return self.store.port

    def start(self) -> None:
        """Begin, once all processes are known to the store."""
        self._hosts = {other: self.store.get(f"host/{other}").decode() for other in self._watched}
        for work in (self._count, self._look):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Neither count nor watch any more."""
        self._over.set()

    def _count(self) -> None:
        """Talk to the store; it may never answer, when the first process is stopped."""
        seen: dict[int, bytes] = {}
        count = 0
        try:
            while not self._over.wait(self.seconds / _BEATS):
                count += 1
                self.store.set(f"count/{self.rank}", str(count))
                for other in self._watched:
                    found = self.store.get(f"count/{other}")
                    if seen.get(other) != found:
                        seen[other], self._looks[other] = found, 0
        except RuntimeError:  # the store is gone, and the first process with it
            return

    def _look(self) -> None:
        """Count looks and not the time: who was stopped itself must not blame the others for it."""
        while not self._over.wait(self.seconds / _BEATS):
            for other in self._watched:
                self._looks[other] += 1
                if self._looks[other] > _BEATS + 1:
                    self._over.set()
                    self._lost(
                        other,
                        f"process {other} of {self.world} on {self._hosts[other]} has given no sign of life for "
                        f"{self.seconds:g} s (trainer.lost_seconds): it is stopped, or its machine is lost",
                    )
                    return


_beating: Heartbeat | None = None
_found: ProcessLost | None = None
farewell: Callable[[str], str] = str
"""Called with what was lost before this process ends for it: leaves word in the run folder, and says how to go on."""


def begin(agree: Callable[[Callable[[], int]], int], seconds: float, started: Processes | None = None) -> None:
    """Begin to watch over each other, once; ``agree`` hands the first process's value to all (0 seconds: do not).

    ``started`` are the processes that this one has started, if it has: one of them that is silent is ended, which
    breaks its connections, so that this process goes on to its end by itself. (A collective of GPUs cannot be broken:
    where nothing has happened `PATIENCE_SECONDS` later, this process ends at once, as those of a cluster do.)
    """
    global _beating
    if _beating is not None or seconds <= 0:
        return
    rank, world = dist.get_rank(), dist.get_world_size()
    made: list[Heartbeat] = []

    def lost(silent: int, said: str) -> None:
        _end(rank, silent, said, started)

    def serve() -> int:
        made.append(Heartbeat(("localhost", 0), rank, world, seconds, lost))
        return made[0].port

    port = agree(serve)
    _beating = made[0] if made else Heartbeat((os.environ["MASTER_ADDR"], port), rank, world, seconds, lost)
    dist.barrier()  # all are known to the store
    _beating.start()


def stop() -> None:
    """Watch over each other no more: the last common work is done."""
    if _beating is not None:
        _beating.stop()


def silence() -> ProcessLost | None:
    """Return what was lost, where this process has found that and goes on to its end by itself."""
    return _found


def _end(rank: int, silent: int, said: str, started: Processes | None) -> None:
    global _found
    _found = ProcessLost(said)
    if rank == 0 and started:
        started[silent - 1].kill()
        time.sleep(PATIENCE_SECONDS)
        if not started:  # the main thread has ended them all, and tells why
            return
        for process in started:
            process.kill()
    if rank > 1:  # the first, or when that is lost the second, has said it and ends the others
        time.sleep(PATIENCE_SECONDS)
    try:
        said = farewell(said)
    finally:  # a collective that waits for the lost one cannot be broken off, so its thread is left behind
        print(f"sgexp: {said}", file=sys.stderr, flush=True)
        os._exit(ProcessLost.exit_code)
