"""Real trainings in a sweep: what ends one of them does not touch the others, and the same command goes on."""

import os
import signal
from contextlib import suppress

import pytest

from ..commands import caught, command, end, result, runs, start, wait_for

EPOCHS = 30


@pytest.fixture
def words(tmp_path):
    """Return the sweep: two trainings, and one whose data are not there."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name, seed in (("one", 1), ("two", 2)):
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n# A training\n\n# Its seed\nseed: {seed}\n")
    (folder / "broken.yaml").write_text(
        "# @package _global_\n# Without data\n\n# What is read\ndefaults:\n  - override /dataset: smc19\n"
        "# Where\ndataset:\n  # Nowhere\n  root: nowhere\n# Its seed\nseed: 3\n"
    )
    tiny = ("size=tiny", f"trainer.epochs={EPOCHS}", "logger=none", "launcher.jobs=3")
    return ("-m", "--config-dir", str(tmp_path / "conf"), *tiny, "experiment=one,two,broken")


def training(cwd):
    """Return the run folders that have begun to train, by their seed; others may have no result.json yet."""
    return {result(folder)["seed"]: folder for folder in runs(cwd) if (folder / "metrics.csv").exists()}


def rows_of(cwd):
    """Return the number of epochs done in each run folder that has begun to train, by its seed."""
    return {seed: len((folder / "metrics.csv").read_text().splitlines()) - 1 for seed, folder in training(cwd).items()}


@pytest.mark.slow
def test_a_crash_a_kill_and_ctrl_c_of_one_job_are_told_and_the_sweep_goes_on(words, tmp_path):
    def disturb(cwd):
        process = start(*words, cwd=cwd)
        signals = {1: signal.SIGKILL, 2: signal.SIGINT}

        def sent():
            """Send each its signal at its second epoch, whichever comes to that first; say whether both were sent."""
            done = rows_of(cwd)
            for seed in [seed for seed in signals if done.get(seed, 0) >= 2]:
                with suppress(ProcessLookupError):  # it was at its end before that
                    os.kill(result(training(cwd)[seed])["pid"], signals.pop(seed))
            return not signals

        wait_for(sent, process)
        ended = end(process)
        return None if EPOCHS in rows_of(cwd).values() else (cwd, ended)

    cwd, ended = caught(disturb, tmp_path)
    assert ended.code == 1, ended.out
    lines = {number: [line for line in ended.out.splitlines() if line.startswith(f"job {number} ")] for number in "123"}
    assert "interrupted" in lines["1"][1] and "SIGKILL" in lines["1"][1]
    assert "interrupted" in lines["2"][1] and "by Ctrl-C" in lines["2"][1]
    assert "failed" in lines["3"][1] and "nowhere" in lines["3"][1]
    assert "0 of 3 jobs are finished; job 3 failed" in ended.sentence and "jobs 1, 2 interrupted" in ended.sentence
    trained = training(cwd).values()

    again = command(*words, cwd=cwd)
    assert again.code == 1
    assert "2 of 3 jobs are finished; job 3 failed" in again.sentence
    assert "Means over seeds" in again.out
    assert [result(folder)["status"] for folder in trained] == ["finished"] * 2
    assert rows_of(cwd) == {1: EPOCHS, 2: EPOCHS}
