"""Run folders: made exclusively, recorded atomically, read truthfully."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sgexp.errors import ConfigError, UserError
from sgexp.runs import RunFolder, RunResult, config_hash, finite

CONFIG = {"seed": 1, "output_dir": "outputs", "trainer": {"epochs": 3, "workers": 0}, "sampler": {"k": 5}}


def test_hundred_runs_made_at_once_share_no_folder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: RunFolder.create(tmp_path, "train", "x", CONFIG).folder, range(100)))
    assert len(set(folders)) == 100


_MAKE = """
import sys
from datetime import datetime
from pathlib import Path
from sgexp.runs import RunFolder

way, parent, jobs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
for _ in range(jobs):
    if way == "naive":  # Hydra's own: ${now:%Y-%m-%d}/${now:%H-%M-%S}
        folder = parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = RunFolder.create(parent, "train", "x", {"seed": 1}).folder
    print(folder)
"""


@pytest.mark.parametrize("way", ["naive", "ours"])
def test_hundred_jobs_of_ten_processes_in_one_second_share_no_folder(way, tmp_path):
    words = [sys.executable, "-c", _MAKE, way, str(tmp_path), "10"]
    started = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(10)]
    time.sleep(2)  # all wait for the word, so that they begin together
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    folders = [line for process in started for line in process.communicate()[0].split()]
    assert len(folders) == 100
    if way == "naive":
        assert len(set(folders)) < 100  # jobs write over each other
    else:
        assert len(set(folders)) == 100


def test_a_name_cannot_leave_the_output_folder(tmp_path):
    folder = RunFolder.create(tmp_path, "train", "../../etc/evil name", CONFIG).folder
    assert folder.parent == tmp_path / "train"


def test_the_hash_names_the_experiment_and_not_the_machine():
    elsewhere = CONFIG | {"output_dir": "/scratch", "trainer": {"epochs": 3, "workers": 8}}
    assert config_hash(CONFIG) == config_hash(elsewhere)
    assert config_hash(CONFIG) != config_hash(CONFIG | {"seed": 2})
    assert config_hash(CONFIG) != config_hash(CONFIG | {"sampler": {"k": 6}})


def test_the_hash_does_not_depend_on_where_data_are_kept():
    def asked(data, root):
        return CONFIG | {"data_dir": data, "dataset": {"root": root}}

    assert config_hash(asked("data", "data/crystals")) == config_hash(asked("/scratch", "/scratch/crystals"))
    assert config_hash(asked("data", "/smc19")) != config_hash(asked("data", "/other"))


def test_a_process_number_that_is_given_again_is_another_process(tmp_path):
    run = RunFolder.create(tmp_path, "train", None, CONFIG)
    with run.recording():
        record = json.loads((run.folder / "result.json").read_text())
    if record["pid_since"] is None:
        pytest.skip("this system does not say when a process began")
    for since, status in ((record["pid_since"], "running"), ("1", "interrupted")):
        (run.folder / "result.json").write_text(json.dumps(record | {"status": "running", "pid_since": since}))
        assert RunResult.read(run.folder).status == status


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    run = RunFolder.create(tmp_path, "train", None, CONFIG)
    left = run.path("checkpoints", ".best.ckpt.123.tmp")
    left.parent.mkdir()
    left.write_text("half")
    with run.recording():
        assert not left.exists()


def test_a_run_is_running_inside_and_finished_after(tmp_path):
    run = RunFolder.create(tmp_path, "train", None, CONFIG)
    with run.recording(seed=1):
        assert RunResult.read(run.folder).status == "running"
    result = RunResult.read(run.folder)
    assert result.status == "finished"
    assert result.record["wall_seconds"] >= 0
    assert result.record["peak_memory_mb"] > 1


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_an_error_leaves_the_true_status(tmp_path, error, status):
    run = RunFolder.create(tmp_path, "train", None, CONFIG)
    with pytest.raises(error), run.recording():
        raise error
    assert RunResult.read(run.folder).status == status


def test_a_killed_run_reads_as_interrupted_and_can_go_on(tmp_path):
    code = (
        "import sys, os, time; from pathlib import Path; from sgexp.runs import RunFolder\n"
        "run = RunFolder.create(Path(sys.argv[1]), 'train', None, {})\n"
        "with run.recording(): print(run.folder, flush=True); time.sleep(1200)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    folder = process.stdout.readline().strip()
    assert RunResult.read(folder).status == "running"
    with pytest.raises(ConfigError, match="is running"):
        RunFolder.reopen(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert RunResult.read(folder).status == "interrupted"
    with RunFolder.reopen(folder).recording():
        pass
    assert RunResult.read(folder).status == "finished"


def test_a_silent_run_on_another_host_is_judged_by_its_heartbeat(tmp_path):
    record = {"schema_version": 1, "status": "running", "host": "elsewhere", "pid": 1, "heartbeat": 0.0}
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert RunResult.read(tmp_path).status == "interrupted"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "finished"}', '{"schema_version": 99, "status": "x"}'])
def test_a_broken_or_newer_result_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError):
        RunResult.read(tmp_path)


def test_undefined_figures_become_null():
    assert finite({"a": [float("nan"), 1.0, float("inf")]}) == {"a": [None, 1.0, None]}
