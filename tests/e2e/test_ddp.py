"""Two processes train one run: one folder, one voice, every sample once, the figures of a single process."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ..commands import TINY, command, end, only_run, result, runs, start, wait_for, wait_for_all
from ..wandb_record import segments
from .test_run_folder import FILES, arrays, table

DDP = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.epochs=2", "trainer.batch_size=10")
IN_PROC = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")


@pytest.mark.slow
def test_two_processes_leave_one_run_like_that_of_a_single_one(tmp_path):
    drawn = "sampler=progressive"  # other draws every epoch
    ended = command("size=tiny", *DDP, drawn, "augment=none", "model.norm=group", cwd=tmp_path / "two")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    two = only_run(tmp_path / "two")
    files = {path.relative_to(two).as_posix() for path in two.rglob("*") if path.is_file()}
    assert {path for path in files if not path.startswith("wandb/")} == FILES
    (record,) = segments(two)  # the first process alone tells W&B
    assert (record.exit_code, len([row for row in record.history if "epoch" in row])) == (0, 2)
    assert result(two)["status"] == "finished"
    for said in ("data 60 samples", "split train", "training 31 draws", "Results on crystals", "W&B recorded"):
        assert ended.words.count(said) == 1, said

    found = arrays(two / "predictions_test.npz")
    _, rows = table(two / "split.csv")
    assert sorted(found["row"].tolist()) == [int(row["row"]) for row in rows if row["split"].startswith("test")]

    alone = ("trainer.devices=1", drawn, "augment=none", "model.norm=group", "logger=none")
    single = command("size=tiny", *DDP, *alone, cwd=tmp_path / "one")
    assert single.code == 0, single.err
    expected = arrays(only_run(tmp_path / "one") / "predictions_test.npz")
    assert np.array_equal(found["row"], expected["row"])
    assert np.allclose(found["logits"], expected["logits"], atol=2e-3)


@pytest.mark.slow
def test_a_sweep_may_hold_several_distributed_jobs(tmp_path):
    ended = command("-m", "size=tiny", *DDP, "evaluation.baselines=[]", "seed=1,2", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert [result(folder)["status"] for folder in runs(tmp_path)] == ["finished", "finished"]
    assert len({result(folder)["seed"] for folder in runs(tmp_path)}) == 2


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_made(tmp_path):
    ended = command(*TINY, *DDP, "trainer.batch_size=7", f"data_dir={tmp_path / 'data'}", cwd=tmp_path)
    assert ended.code == 2
    assert "trainer.batch_size=7" in ended.sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [pytest.param(0, marks=IN_PROC), 2], ids=["while starting", "in training"])
def test_ctrl_c_ends_all_processes_and_the_run_goes_on(epochs, tiny_run, tmp_path):
    process = start("size=tiny", *DDP, "trainer.epochs=2000", "callbacks.progress=false", cwd=tmp_path)
    history = tmp_path / "outputs" / "train"
    if epochs:
        wait_for(
            lambda: any(len(path.read_text().splitlines()) > epochs for path in history.glob("*/metrics.csv")), process
        )
    else:
        wait_for(lambda: second_process(process), process)
    os.killpg(process.pid, signal.SIGINT)
    ended = end(process)
    assert ended.code == 130, ended.err
    assert f"resume={only_run(tmp_path).relative_to(tmp_path)}" in ended.sentence
    assert result(only_run(tmp_path))["status"] == "interrupted"
    wait_for_all(process)


def second_process(process):
    """Return the number of the process that the command has started, or None as long as there is none."""
    for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(OSError):
            if b"LOCAL_RANK=1" in Path(f"/proc/{number}/environ").read_bytes():
                return int(number)
    return None


@pytest.mark.slow
@IN_PROC
def test_a_process_that_is_killed_takes_the_run_down_with_one_message(tmp_path):
    process = start("size=tiny", *DDP, "trainer.epochs=600", "callbacks.progress=false", "logger=none", cwd=tmp_path)
    histories = tmp_path / "outputs" / "train"
    wait_for(lambda: any(len(path.read_text().splitlines()) > 2 for path in histories.glob("*/metrics.csv")), process)
    lost = second_process(process)
    os.kill(lost, signal.SIGKILL)
    process.wait(timeout=240)
    ended = end(process)
    folder = only_run(tmp_path)
    assert ended.code == 75, ended.err
    assert ended.words.count("batch normalisation is over 5 draws, each process's own share of a batch") == 1
    assert f"process 1 of the run (pid {lost}) was ended from outside by SIGKILL" in ended.sentence
    assert f"go on with: python -m sgexp resume={folder.relative_to(tmp_path)}" in ended.sentence
    assert result(folder)["status"] == "interrupted"
    wait_for_all(process)


@pytest.mark.slow
@IN_PROC
@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_a_process_that_hangs_takes_the_run_down_with_one_message(trainer, tmp_path):
    words = (
        f"trainer={trainer}",
        "trainer.epochs=600",
        "callbacks.progress=false",
        "logger=none",
        "trainer.lost_seconds=5",
    )
    process = start("size=tiny", *DDP[1:], *words, cwd=tmp_path)
    histories = tmp_path / "outputs" / "train"
    wait_for(lambda: any(len(path.read_text().splitlines()) > 2 for path in histories.glob("*/metrics.csv")), process)
    os.kill(second_process(process), signal.SIGSTOP)
    process.wait(timeout=240)
    ended = end(process)
    folder = only_run(tmp_path)
    assert ended.code == 75, ended.err
    assert "process 1 of 2 on" in ended.sentence and "no sign of life for 5 s" in ended.sentence
    assert f"go on with: python -m sgexp resume={folder.relative_to(tmp_path)}" in ended.sentence
    assert result(folder)["status"] == "interrupted"
    wait_for_all(process)
