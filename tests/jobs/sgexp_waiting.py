"""What the fake jobs of sweeps and searches share; the folder is on the path of the commands that run them."""

import time
from pathlib import Path


def wait_for_file(name, seconds=1200.0):
    """Wait until a file is there: the test makes it when it has seen, or done, what must come before."""
    path, until = Path(name), time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"nobody made {path}")
        time.sleep(0.02)
