"""How many cores may be used is asked in one place, and is what the scheduler gives; so are ports."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sgexp.machine import free_port, imported

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


def test_a_free_port_is_none_that_a_connection_may_be_given_and_not_one_that_is_taken(monkeypatch):
    handed_out = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(handed_out.read_text().split()[0]) if handed_out.exists() else 32_768
    if first <= 26_000:
        pytest.skip("this system hands out nearly all ports")
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("", port))
        asked = iter([port, port, port - 1 if port > 25_000 else port + 1])
        monkeypatch.setattr("random.SystemRandom.randrange", lambda *_: next(asked))
        assert free_port() in (port - 1, port + 1)
    assert 25_000 <= port < first


def test_nothing_is_collected_while_a_module_is_imported_and_all_goes_on_after_that(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sgexp_heavy.py").write_text("import gc\ncollecting = gc.isenabled()\n")
    (tmp_path / "sgexp_broken.py").write_text("raise ValueError\n")
    try:
        module = imported("sgexp_heavy")
        assert not module.collecting and gc.isenabled() and gc.get_freeze_count() > 0
        assert imported("sgexp_heavy") is module
        with pytest.raises(ValueError):
            imported("sgexp_broken")
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        sys.modules.pop("sgexp_heavy", None)
