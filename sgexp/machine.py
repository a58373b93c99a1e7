"""What this process may use of the machine it runs on."""

from __future__ import annotations

import gc
import importlib
import os
import random
import socket
import sys
from pathlib import Path
from types import ModuleType

_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")  # Linux; 32768 and more, elsewhere 49152 and more


def available_cores() -> int:
    """Return the number of cores this process may use, which a scheduler may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """Return a TCP port at which nobody listens on this machine, to be listened at by a process that starts later.

    It is below those that the system hands out to who asks for any, as every outgoing connection does: one of these is
    soon somebody else's. So are the first 25,000, which services and jobs of Slurm have (`SLURMEnvironment`).
    """
    try:
        end = int(_HANDED_OUT.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        end = 32_768
    low, high = (25_000, end) if end > 26_000 else (25_000, 32_768)
    while True:
        with socket.socket() as asking:
            try:
                asking.bind(("", port := random.SystemRandom().randrange(low, high)))
            except OSError:  # somebody has it
                continue
            return port


def imported(name: str) -> ModuleType:
    """Import a module that brings much with it, such as torch, without looking for unreachable objects meanwhile.

    That takes a fifth less. What came with it stays, so that later looks for unreachable objects leave it out.
    """
    if name in sys.modules:
        return sys.modules[name]
    collecting = gc.isenabled()
    gc.disable()
    try:
        module = importlib.import_module(name)
    finally:
        if collecting:
            gc.enable()
    gc.freeze()
    return module
