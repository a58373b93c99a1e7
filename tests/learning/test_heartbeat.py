"""A process that hangs, or that is stopped, does not leave the other waiting; one that works alone is left in peace."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sgexp.machine import free_port


@pytest.fixture
def together():
    """Run two processes; return how each ended, and end those that never do."""
    started = []

    def run(what, hangs=None):
        port = str(free_port())
        script = str(Path(__file__).with_name("together.py"))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen([sys.executable, script, rank, port, what], **pipes) for rank in "01"]
        started.extend(both)
        ended = {}
        for rank in sorted((0, 1), key=lambda rank: rank == hangs):
            if rank == hangs:
                both[rank].kill()
            ended[rank] = (*both[rank].communicate(timeout=600), both[rank].returncode)
        return ended[0], ended[1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
def test_what_one_process_does_alone_before_training_is_waited_for(together):
    _, (out, err, code) = together("naive")
    assert code != 0 and out == "met\n" and ("Timed out" in err or "timeout" in err.lower()), err
    ended = together("works")  # five seconds, where each is allowed two
    assert [(out, code) for out, _, code in ended] == [("made\nleft\n", 0)] * 2, ended


@pytest.mark.slow
def test_in_training_a_process_that_never_comes_is_waited_for_no_longer_than_allowed(together):
    (out, err, code), _ = together("waits", hangs=1)
    assert code != 0 and "Timed out waiting 2000ms" in err
    assert out == "made\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize("silent", [0, 1])
def test_a_process_that_is_stopped_ends_the_other_with_one_sentence(silent, together):
    ended = together("first stopped" if silent == 0 else "stopped", hangs=silent)
    out, err, code = ended[1 - silent]
    assert code == 75 and out == "made\n", err
    (line,) = [line for line in err.splitlines() if line.startswith("sgexp: ")]
    assert line.startswith(f"sgexp: process {silent} of 2 on {socket.gethostname()} has given no sign of life for 4 s")
    assert line.endswith("; and farewell")
