"""A process that is silent ends the run within a minute, as `trainer.lost_seconds` is set, whatever the others do."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from sgexp.learning.heartbeat import Heartbeat
from sgexp.learning.schema import TrainerConfig
from sgexp.machine import free_port
from sgexp.ranks import PATIENCE_SECONDS


class Over(threading.Event):
    """What ends a heartbeat's threads; it notes how long each look waits for the next."""

    def wait(self, timeout=None):
        if sys._getframe(1).f_code.co_name == "_look":
            self.between_looks = timeout
        return super().wait(timeout)


def test_with_the_default_a_silent_process_ends_the_last_one_in_less_than_a_minute(root):
    """By the looks that are counted, which no machine's speed changes."""
    found, seconds = threading.Event(), 2.0
    first = Heartbeat(("localhost", 0), 0, 2, seconds, lambda *_: found.set())
    silent = Heartbeat(("localhost", first.port), 1, 2, seconds, lambda *_: None)
    first._over = Over()
    first.start()
    assert found.wait(600) and silent.port == first.port
    looks = first._looks[1]  # since the last sign of life was seen, and that was given up to one look before
    share = (looks + 1) * first._over.between_looks / seconds
    assert 1.0 < share
    assert share * TrainerConfig().lost_seconds + PATIENCE_SECONDS < 60
    for path in (root / "conf" / "trainer").glob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["lost_seconds"] == TrainerConfig().lost_seconds, path


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_first_process_that_nothing_wakes_ends_with_the_one_that_it_started():
    words = [sys.executable, str(Path(__file__).with_name("unbroken.py")), "0", str(free_port())]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(words, start_new_session=True, **pipes)
    try:
        out, err = first.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
    assert first.returncode == 75, err
    (line,) = [line for line in err.splitlines() if line.startswith("sgexp: ")]
    assert "process 1 of 2 on" in line and "no sign of life for 2 s" in line and line.endswith("; and farewell")
    with pytest.raises(ProcessLookupError):
        for _ in range(2400):
            os.kill(int(out), 0)
            time.sleep(0.1)
