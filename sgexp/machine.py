"""What this process may use of the machine it runs on."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return the number of cores this process may use, which a scheduler may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
