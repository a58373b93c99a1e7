"""A sweep as a person gives it: what is run, what is told, and how it goes on after whatever ended it."""

import json
import os
import re
import signal
import time

import psutil

from ..commands import end, wait_for


def lines_about(ended, number):
    return [line for line in ended.out.splitlines() if line.startswith(f"job {number} of")]


def test_every_job_is_a_process_with_a_run_folder_and_a_log_of_its_own(sweeps):
    ended = sweeps.run("seed=1,2,3", "launcher.jobs=2")
    assert ended.code == 0, ended.err
    assert sweeps.states() == ["finished"] * 3
    pids = {record["pid"] for record in sweeps.results()}
    assert len(pids) == len(sweeps.folders()) == 3 and os.getpid() not in pids
    for job in sweeps.jobs():
        assert f"seed {job['number']} goes on after 0 epochs" in (sweeps.cwd / job["log"]).read_text()
        (line,) = [line for line in lines_about(ended, job["number"]) if "finished" in line]
        assert f"seed={job['number']} -> {job['folder']}" in line
    assert {record["sweep"] for record in sweeps.results()} == {sweeps.manifest.parent.name}


def test_output_that_is_no_terminal_holds_no_control_characters(sweeps):
    ended = sweeps.run("seed=1,2")
    assert not re.search(r"[^\n\t\x20-\x7e\u00a0-\uffff]", ended.out + ended.err)
    assert "0.150 ± 0.635" in ended.out  # t(0.975, 1) * 0.0707 / sqrt(2)


def test_a_failure_is_told_in_one_line_and_the_others_go_on(sweeps):
    ended = sweeps.run("seed=1,2,3", "task.fails_with=2")
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    (line,) = [line for line in lines_about(ended, 2) if "failed" in line]
    (log,) = re.findall(r"\(log: (.*)\)$", line)
    assert "RuntimeError: the seed [red]is wrong" in line
    assert "Traceback" in (sweeps.cwd / log).read_text()
    assert "2 of 3 jobs are finished; job 2 failed" in ended.sentence
    assert sweeps.states() == ["finished", "failed", "finished"]


def test_started_again_it_skips_what_is_finished_and_repeats_failures_if_asked(sweeps):
    sweeps.run("seed=1,2", "task.fails_with=2")
    again = sweeps.run("seed=2,1", "task.fails_with=2", "launcher.jobs=2")  # the same jobs, in another order
    assert again.code == 1
    assert "1 finished before" in again.out and "job 1 failed before" in again.out
    assert len(sweeps.folders()) == 2
    repeated = sweeps.run("seed=1,2", "task.fails_with=2", "launcher.retry_failed=true")
    assert repeated.code == 1
    assert len(sweeps.folders()) == 3
    fresh = sweeps.run("seed=1,2", "task.fails_with=2", "launcher.fresh=true")
    assert fresh.code == 1
    assert len(sweeps.folders()) == 5


def test_ctrl_c_stops_all_jobs_and_says_how_to_go_on(sweeps):
    go_on = sweeps.cwd / "go_on"  # so that no job is at its end, whenever the others begin
    words = ("seed=1,2,3", "trainer.epochs=20", f"task.waits_for={go_on}", "launcher.jobs=2")
    process = sweeps.start(*words)
    wait_for(lambda: len(list(sweeps.cwd.glob("outputs/train/*/metrics.csv"))) == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    ended = end(process)
    assert ended.code == 130
    assert "0 of 3 jobs are finished; go on with: python -m sgexp -m " in ended.sentence
    assert [record["status"] for record in sweeps.results()] == ["interrupted"] * 2
    assert sweeps.states() == ["interrupted", "interrupted", "waiting"]

    go_on.touch()
    again = sweeps.run(*words)
    assert again.code == 0, again.out + again.err
    assert "2 interrupted before, go on: 1, 2" in again.out
    assert len(sweeps.folders()) == 3
    assert sweeps.states() == ["finished"] * 3
    for folder in sweeps.folders():
        assert (folder / "metrics.csv").read_text().splitlines() == ["epoch", *map(str, range(20))]


def test_a_killed_sweep_leaves_no_job_behind_and_goes_on(sweeps):
    words = ("seed=1,2", f"task.waits_for={sweeps.cwd / 'never'}", "launcher.jobs=2")
    process = sweeps.start(*words)
    wait_for(lambda: len(list(sweeps.cwd.glob("outputs/train/*/metrics.csv"))) == 2, process)
    pids = [record["pid"] for record in sweeps.results()]
    os.kill(process.pid, signal.SIGKILL)
    end(process)
    until = time.monotonic() + 120
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [record["status"] for record in sweeps.results()] == ["interrupted"] * 2
    again = sweeps.start(*words)
    wait_for(lambda: [record["status"] for record in sweeps.results()] == ["running"] * 2, again)
    os.kill(again.pid, signal.SIGTERM)  # as a scheduler does
    assert end(again).code == 75
    assert len(sweeps.folders()) == 2


def test_a_damaged_manifest_is_set_aside_and_the_run_folders_are_believed(sweeps):
    sweeps.run("seed=1,2", "task.fails_with=2")
    sweeps.manifest.write_text(sweeps.manifest.read_text()[:-40])
    again = sweeps.run("seed=1,2", "task.fails_with=2")
    assert "is damaged" in again.out and "manifest.damaged.json" in again.out
    assert "1 finished before" in again.out and "job 2 failed before" in again.out
    assert len(sweeps.folders()) == 2
    assert sweeps.states() == ["finished", "failed"]


def test_the_same_experiment_twice_in_a_sweep_is_run_once(sweeps):
    ended = sweeps.run("seed=1,2", "trainer.workers=0,1")
    assert ended.code == 0, ended.err
    assert "job 2 is the same experiment as job 1" in ended.out
    assert len(sweeps.folders()) == 2


def test_a_sweep_that_is_being_run_is_not_started_again(sweeps):
    words = ("seed=1,2", f"task.waits_for={sweeps.cwd / 'go_on'}")
    process = sweeps.start(*words)
    wait_for(lambda: sweeps.manifests() and sweeps.folders(), process)
    second = sweeps.run(*words)
    assert second.code == 2
    assert "is being run by another process" in second.sentence
    (sweeps.cwd / "go_on").touch()
    assert end(process).code == 0
    assert len(sweeps.folders()) == 2


def test_a_job_that_another_process_runs_is_left_alone(sweeps):
    sweeps.run("seed=1")
    (folder,) = sweeps.folders()
    record = json.loads((folder / "result.json").read_text())
    mine = {"status": "running", "pid": os.getpid(), "pid_since": None}
    (folder / "result.json").write_text(json.dumps(record | mine))
    ended = sweeps.run("seed=1")
    assert ended.code == 1
    assert f"being run by process {os.getpid()}" in ended.out
    assert len(sweeps.folders()) == 1


def test_all_jobs_are_checked_before_the_first_starts(sweeps):
    ended = sweeps.run("seed=1,-1")
    assert ended.code == 2
    assert "job 2 of 2" in ended.sentence and "seed=-1" in ended.sentence
    assert not (sweeps.cwd / "outputs").exists()
