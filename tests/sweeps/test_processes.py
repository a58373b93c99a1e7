"""A job's share of the machine, and the one line that says why it ended."""

import os
import signal

import pytest

from sgexp.sweeps.processes import epochs_in, last_line, reason, share_of, visible_gpus


def gpus_of(slots, gpus):
    return [share_of(slot, slots, gpus, 8, {}).get("CUDA_VISIBLE_DEVICES") for slot in range(slots)]


def test_gpus_go_round_in_turn():
    assert gpus_of(4, ["0", "1", "2", "3"]) == ["0", "1", "2", "3"]
    assert gpus_of(2, ["0", "1", "2", "3"]) == ["0,2", "1,3"]
    assert gpus_of(3, ["0", "1"]) == ["0", "1", "0"]
    assert gpus_of(2, ["GPU-5a", "MIG-7b"]) == ["GPU-5a", "MIG-7b"]


def test_without_gpus_and_for_a_single_job_nothing_is_said_of_devices():
    assert gpus_of(2, []) == [None, None]
    assert gpus_of(1, ["0", "1"]) == [None]


@pytest.mark.parametrize(
    ("slots", "cores", "given", "threads"),
    [(2, 8, "", "4"), (3, 8, "", "2"), (16, 8, "", "1"), (2, 8, "1", "1"), (2, 8, "16", "4"), (1, 8, "", None)],
)
def test_cores_are_shared_and_a_single_job_is_left_as_it_is(slots, cores, given, threads):
    environment = {"OMP_NUM_THREADS": given} if given else {}
    assert share_of(0, slots, [], cores, environment).get("OMP_NUM_THREADS") == threads


def test_gpus_that_the_caller_hides_stay_hidden(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert visible_gpus() == ["3", "1"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert visible_gpus() == []


def test_gpus_are_listed_by_the_driver_where_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    program.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", ""),
        (b"one\ntwo\n\n  \n", "two"),
        (b"\x1b[31msgexp: red\x1b[0m\x07\r\n", "sgexp: red"),
        (b"caf\xc3\xa9 \xff\n", "café \ufffd"),
        (b"x" * 20_000, "x" * 400),
    ],
)
def test_the_last_line_of_a_log_is_plain_text(text, line, tmp_path):
    path = tmp_path / "job.log"
    path.write_bytes(text)
    assert last_line(path) == line


def test_the_reason_of_an_end_is_a_sentence_of_the_job_or_the_signal(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("Traceback ...\nsgexp: the disk is full\n")
    assert reason(1, log) == "the disk is full"
    assert reason(3, tmp_path / "none.log") == "exit code 3"
    assert "SIGKILL" in reason(-signal.SIGKILL, log) and "memory" in reason(-signal.SIGKILL, log)
    assert reason(-signal.SIGUSR1, log) == "ended by SIGUSR1"


def test_epochs_are_the_rows_of_the_history(tmp_path):
    assert epochs_in(tmp_path / "metrics.csv") == 0
    (tmp_path / "metrics.csv").write_text("epoch,step\n0,1\n1,2\n2,")
    assert epochs_in(tmp_path / "metrics.csv") == 2


def test_the_tests_see_ctrl_c():
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN, os.getpid()
