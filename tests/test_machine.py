"""How many cores may be used is asked in one place, and is what the scheduler gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sgexp"

ON_ONE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from sgexp.machine import available_cores
print(available_cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to cores here")
def test_a_process_bound_to_one_core_counts_one():
    done = subprocess.run([sys.executable, "-c", ON_ONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_no_room_counts_the_cores_itself():
    asks = ("cpu_count", "sched_getaffinity")
    asking = {path.name for path in PACKAGE.rglob("*.py") if any(word in path.read_text("utf-8") for word in asks)}
    assert asking == {"machine.py"}
