"""The thread that ends a job when the sweep that started it is gone.

A job's standard input is a pipe that only the sweep holds the other end of: when the sweep dies, however it dies, the
system closes the pipe, and the job notices.
"""

from __future__ import annotations

import os
import signal
import threading
import time

STARTED_BY_SWEEP = "SGEXP_STARTED_BY_SWEEP"
"""The environment variable that tells a process that a sweep has started it, and has checked its config."""

GRACE_SECONDS = 60.0  # from Ctrl-C to SIGKILL


def taken() -> bool:
    """Say whether a sweep has started this process; if so, end with it, and hear Ctrl-C whatever the shell set."""
    if os.environ.pop(STARTED_BY_SWEEP, None) is None:
        return False
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup ... &` makes a shell's children deaf to it
    threading.Thread(target=_follow, name="leash", daemon=True).start()
    return True


def _follow() -> None:
    try:
        while os.read(0, 1):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
