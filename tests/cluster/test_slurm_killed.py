"""A process of a job of two nodes is killed, as when memory runs out: the job ends at once, and says why once."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from sgexp.runs import RunResult

from ..commands import command, only_run, result
from .queue import details, wait_until, wait_until_empty

LONG = (
    *("task=submit", "task.submit=true", "task.cpus=1", "task.time=00:20:00", "trainer=multinode", "size=tiny"),
    *("trainer.accelerator=cpu", "model.norm=group", "trainer.epochs=2000", "trainer.batch_size=10", "logger=none"),
    *("evaluation.baselines=[]", "callbacks.progress=false"),
)


def process_of(job, rank):
    """Return the number of the process that srun has started as one of a job's."""
    words = (f"SLURM_JOB_ID={job}", f"SLURM_PROCID={rank}", "SLURM_STEP_ID=0", f"SLURM_CONF={os.environ['SLURM_CONF']}")
    asked = {word.encode() for word in words}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if asked <= {*(path / "environ").read_bytes().split(b"\0")} and b"sgexp" in (path / "cmdline").read_bytes():
                return int(path.name)
    raise AssertionError(f"no process {rank} of job {job}")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 0], ids=["second node", "first node"])
def test_a_process_that_is_killed_ends_the_job_with_one_message(rank, slurm, tmp_path):
    ended = command(*LONG, cwd=tmp_path)
    assert ended.code == 0, ended.err
    job = re.search(r"submitted as job (\d+)", ended.words)[1]

    def trained():
        return any(len(path.read_text().splitlines()) > 2 for path in tmp_path.glob("outputs/train/*/metrics.csv"))

    wait_until(trained, "two epochs")
    os.kill(process_of(job, rank), signal.SIGKILL)
    wait_until_empty(240)  # it does not hang: collectives would wait for half an hour
    (said,) = (path.read_text() for path in tmp_path.glob("outputs/submit/*.log"))
    folder = only_run(tmp_path)
    assert details(job)["JobState"] == "FAILED" and details(job)["Restarts"] == "0", said
    assert f"n{rank + 1}: task {rank}: Killed" in said and "Traceback" not in said
    assert RunResult.read(folder).status == "interrupted"
    told = [line for line in said.splitlines() if line.startswith("sgexp: ")]
    if rank == 1:  # the first process says it; when it is the one that was killed, srun has said it
        (line,) = told
        assert line.startswith("sgexp: another process of the run has ended, or its machine was lost; go on with: ")
        assert line.endswith(f"resume={folder.relative_to(tmp_path)}")
        assert result(folder)["status"] == "interrupted"
    assert len(told) <= 1
