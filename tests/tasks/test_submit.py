"""``task=submit``: a script that says all a scheduler must know, quotes what was typed, and is made once."""

import os
import shlex
import stat
import subprocess
import sys

import pytest

from sgexp.tasks.submit import clean_environment, hours_and_minutes

from ..commands import command


def submit(*words, cwd, **options):
    """Run the task; return how it ended and the lines of the one script that it made."""
    ended = command("task=submit", *words, cwd=cwd, **options)
    assert ended.code == 0, ended.err
    (script,) = (cwd / "outputs" / "submit").glob("*.sh")
    assert stat.S_IMODE(script.stat().st_mode) & 0o100
    return ended, script


def test_a_slurm_script_asks_for_what_the_training_needs(tmp_path):
    words = ("trainer=multinode", "trainer.nodes=3", "trainer.devices=4", "trainer.batch_size=96", "sampler=smote")
    knobs = ("task.partition=gpu", "task.account=phys-1", "task.memory=64G", "task.time=1-02:30:00")
    typed = ("task.options=['--constraint=a100']", "task.setup=['module load cuda']", "data_dir='/data/it is'")
    _, script = submit(*words, *knobs, *typed, cwd=tmp_path)
    lines = script.read_text().splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert {"--nodes=3", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=4", "--mem=64G"} <= asked
    assert {"--partition=gpu", "--account=phys-1", "--time=1-02:30:00", "--constraint=a100"} <= asked
    assert lines.index("module load cuda") < len(lines) - 1
    said = shlex.split(lines[-1])
    assert said[0] == "srun" and "--kill-on-bad-exit=1" in said
    after = said[said.index("sgexp") + 1 :]
    gpu = "trainer.accelerator=gpu"  # else a node whose GPU is broken would train for hours on its CPU
    assert after == [*words, "data_dir='/data/it is'", gpu, "resume=auto"]
    # the job's own command is accepted by the command that it will call
    checked = command(*after, "--cfg", "job", cwd=tmp_path)
    assert checked.code == 0, checked.err
    assert "nodes: 3" in checked.out and "data_dir: /data/it is" in checked.out


def test_what_is_typed_reaches_the_job_letter_by_letter(tmp_path):
    """Run the script's last line with a python that prints what it is given."""
    printing = tmp_path / "print arguments"
    printing.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    printing.chmod(0o755)
    odd = "data_dir='/tmp/$(touch hacked) `x` \"q\" *'"
    _, script = submit(f"task.python='{printing}'", odd, "trainer.accelerator=cpu", cwd=tmp_path / "a b")
    text = script.read_text().replace("srun --kill-on-bad-exit=1 --cpus-per-task=4 ", "")
    ended = subprocess.run(["bash", "-c", text], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["-m", "sgexp", odd, "trainer.accelerator=cpu", "resume=auto"]
    assert not list(tmp_path.rglob("hacked"))


def test_an_lsf_script_is_handed_to_bsub(tmp_path):
    """No LSF can be installed here: a bsub of our own keeps what it is given and answers as LSF does."""
    programs = tmp_path / "programs"
    programs.mkdir()
    bsub = programs / "bsub"
    bsub.write_text(
        f"#!/bin/bash\ncat > {tmp_path}/given\nenv > {tmp_path}/env\necho 'Job <4711> is submitted to queue <batch>.'\n"
    )
    bsub.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SGEXP_SWEEP": "ab", "LSB_JOBID": "1"}
    words = ("trainer.nodes=2", "trainer.devices=6", "trainer.batch_size=96", "task.system=lsf", "task.submit=true")
    ended, script = submit(*words, "task.account=ABC123", "task.time=00:30:30", cwd=tmp_path / "w", env=environment)
    assert "submitted as job 4711" in ended.words
    assert (tmp_path / "given").read_text() == script.read_text()
    given = (tmp_path / "env").read_text()
    assert "SGEXP_SWEEP" not in given and "LSB_JOBID" not in given
    lines = script.read_text().splitlines()
    assert {"#BSUB -nnodes 2", "#BSUB -W 0:31", "#BSUB -P ABC123"} <= set(lines)
    assert lines[-1].startswith("jsrun -n 2 -r 1 -a 6 -c 24 -g 6 ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task.time=tomorrow"], "task.time='tomorrow'"),
        (["task.partition='gpu\n#SBATCH --uid=0'"], "task.partition="),
        (["task.options=['--a\n rm']"], "task.options="),
        (["task.system=lsf", "task.memory=3G"], "task.memory"),
        (["trainer.devices=0"], "trainer.devices=N"),
        (["task.submit=true"], "sbatch is not found here"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_a_sentence(words, told, tmp_path):
    ended = command("task=submit", *words, cwd=tmp_path, env={"PATH": os.path.dirname(sys.executable)})
    assert ended.code == 2
    assert told in ended.sentence


def test_lines_that_a_shell_would_run_are_refused_in_a_file(tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "foreign.yaml").write_text(
        "# @package _global_\n# A stranger's\n\ndefaults:\n  - override /task: submit\ntask:\n  setup: [touch hacked]\n"
    )
    ended = command("--config-dir", "conf", "experiment=foreign", cwd=tmp_path)
    assert ended.code == 2 and "task.setup is refused in a file" in ended.sentence
    assert not (tmp_path / "outputs").exists()


def test_times_are_rounded_up_to_minutes_for_lsf():
    limits = ("08:00:00", "00:00:01", "1-02:30:00", "12:30")
    assert [hours_and_minutes(limit) for limit in limits] == ["8:00", "0:01", "26:30", "12:30"]


def test_a_job_inherits_nothing_of_the_job_it_is_submitted_from(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "LOCAL_RANK", "SGEXP_SWEEP", "TORCHELASTIC_RUN_ID", "WANDB_MODE"):
        monkeypatch.setenv(name, "1")
    kept = {"SLURM_CONF", "WANDB_MODE"}
    gone = {"SLURM_JOB_ID", "LOCAL_RANK", "SGEXP_SWEEP", "TORCHELASTIC_RUN_ID"}
    assert kept <= clean_environment().keys() and not gone & clean_environment().keys()
