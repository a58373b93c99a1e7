"""Ctrl-C while processes are started: they do not hear it, and this process does once they are there."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from sgexp.console import interrupts_not_inherited


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_ctrl_c_waits_until_processes_are_started_whatever_thread_hears_it():
    done = threading.Event()
    other = threading.Thread(target=done.wait)  # threads of compiled libraries hear signals too
    other.start()
    started = []
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_not_inherited():
            signal.pthread_kill(other.ident, signal.SIGINT)
            started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1200)"]))
            time.sleep(0.2)
            started[0].send_signal(signal.SIGINT)
            time.sleep(0.2)
            assert started[0].poll() is None
            started.append("all")
        assert started[1] == "all"
    finally:
        done.set()
        other.join()
        started[0].kill()
        started[0].wait()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
