"""``task=submit``: write the script with which Slurm or LSF runs a training, and hand it over if asked.

The script holds all that the scheduler must know, so that it can be read, kept, changed and submitted by hand. It ends
in the command that the same choices make without ``task=submit``, with ``resume=auto``: submitted again, or started
again by the scheduler, it goes on where it was interrupted.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sgexp.composition import named_keys
from sgexp.console import console
from sgexp.errors import ConfigError, DataError, UserError
from sgexp.runs import SWEEP, RunResult, config_hash
from sgexp.schema import plain
from sgexp.tasks import records
from sgexp.tasks.schema import SubmitTask, TrainTask
from sgexp.usage import CONF_DIR

if TYPE_CHECKING:
    from sgexp.config import Config

_COMMANDS = {"slurm": "sbatch", "lsf": "bsub"}
_NOT_THE_JOBS = ("task", "launcher", "resume", "report")  # groups and keys that the training does not take over
_WARNING_SECONDS = 120  # before the time limit: for a batch to end and a checkpoint to be written
_STALE = re.compile(
    r"SLURM_(?!CONF$)|LSB_|JSM_|TORCHELASTIC_|SGEXP_(RUN_FOLDER|STARTED_BY_SWEEP)$|LOCAL_RANK$|COLUMNS$"
)


def submit(config: Config) -> None:
    """Write the script; submit it when asked to, unless the same training is finished, running or waiting."""
    task = config.task
    assert isinstance(task, SubmitTask)
    overrides = records.overrides()
    refuse_lines_of_a_file(task, overrides)
    if config.trainer.devices == 0:
        raise ConfigError("task=submit must ask for a number of devices on each node: give trainer.devices=N")
    name = config_hash(plain(replace(config, task=TrainTask())))
    folder = Path(config.output_dir) / "submit"
    if not task.again and (why := done_before(Path(config.output_dir) / "train", folder, name)):
        console.print(f"not submitted: {escape(why)} (task.again=true submits it all the same)", soft_wrap=True)
        return
    path = new_file(folder, f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{config.name}-{name}")
    lines = slurm_lines(config, path) if task.system == "slurm" else lsf_lines(config, path)
    write_script(path, [*lines, *body(config), shlex.join([*start(config), *command(config, overrides)])])
    console.print(f"[bold]script[/bold] {escape(str(path))}", soft_wrap=True)
    if not task.submit:
        by_hand = "sbatch " if task.system == "slurm" else "bsub < "
        hint = f"submit it with: {by_hand}{shlex.quote(str(path))} (task.submit=true does)"
        console.print(hint, markup=False, soft_wrap=True)
        return
    number = hand_over(path, task.system)
    path.with_suffix(".job").write_text(f"{task.system} {number}\n", encoding="utf-8")
    console.print(
        f"[bold]submitted[/bold] as job {number}; it prints to {escape(str(log_of(path, number)))}", soft_wrap=True
    )


def refuse_lines_of_a_file(task: SubmitTask, overrides: Sequence[str]) -> None:
    """Refuse what a shell or a scheduler would run when it comes from a config file, perhaps a stranger's."""
    typed = named_keys(overrides)
    for key in ("setup", "options", "python"):
        if getattr(task, key) and f"task.{key}" not in typed:
            raise ConfigError(f"task.{key} is refused in a file, since it is run: give it on the command line")


def done_before(runs: Path, scripts: Path, name: str) -> str | None:
    """Say why a training need not be submitted: a run of its config hash is finished or running, or a job waits."""
    for path in sorted(runs.glob(f"*-{name}*/result.json"), reverse=True):
        try:
            run = RunResult.read(path.parent)
        except UserError:
            continue
        if run.status in ("finished", "running"):
            return f"{run.folder} is {run.status}"
    for path in sorted(scripts.glob(f"*-{name}*.job"), reverse=True):
        system, _, number = path.read_text(encoding="utf-8").strip().partition(" ")
        if in_queue(system, number):
            return f"job {number} of {path.with_suffix('.sh')} is in the queue"
    return None


def in_queue(system: str, number: str) -> bool:
    """Say whether a job waits or runs, as far as the scheduler's commands are at hand."""
    asks = {
        "slurm": ["squeue", "--noheader", "--format=%T", "--jobs", number],
        "lsf": ["bjobs", "-noheader", "-o", "stat", number],
    }
    if system not in asks or not number.isdigit() or shutil.which(asks[system][0]) is None:
        return False
    ended = subprocess.run(asks[system], capture_output=True, text=True, check=False, env=clean_environment())
    state = ended.stdout.strip()
    return ended.returncode == 0 and state not in ("", "DONE", "EXIT", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


def slurm_lines(config: Config, path: Path) -> list[str]:
    """Return what sbatch must know."""
    task, trainer = config.task, config.trainer
    assert isinstance(task, SubmitTask)
    options = [
        f"--job-name=sgexp-{config.name}",
        f"--nodes={trainer.nodes}",
        f"--ntasks-per-node={trainer.devices}",
        f"--cpus-per-task={task.cpus}",
        f"--time={task.time}",
        f'--output="{log_of(path, "%j", "%%")}"',
        "--open-mode=append",  # a job that is started again keeps what it said before
        "--requeue",
        f"--signal=USR1@{_WARNING_SECONDS}",
        *([f"--gpus-per-node={trainer.devices}"] if trainer.accelerator != "cpu" else []),
        *([f"--partition={task.partition}"] if task.partition else []),
        *([f"--account={task.account}"] if task.account else []),
        *([f"--mem={task.memory}"] if task.memory else []),
        *task.options,
    ]
    return [f"#SBATCH {option}" for option in options]


def lsf_lines(config: Config, path: Path) -> list[str]:
    """Return what bsub must know, on a site where jsrun starts the processes of a job."""
    task = config.task
    assert isinstance(task, SubmitTask)
    options = [
        f"-J sgexp-{config.name}",
        f"-nnodes {config.trainer.nodes}",
        f"-W {hours_and_minutes(task.time)}",
        f'-o "{log_of(path, "%J")}"',
        *([f"-q {task.partition}"] if task.partition else []),
        *([f"-P {task.account}"] if task.account else []),
        *task.options,
    ]
    return [f"#BSUB {option}" for option in options]


def hours_and_minutes(limit: str) -> str:
    """Turn days-hours:minutes:seconds into LSF's hours:minutes, rounded up; without seconds it is hours:minutes."""
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = (int(part) for part in (clock + ":0:0").split(":")[:3])
    whole = (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
    return f"{whole // 60}:{whole % 60:02d}"


def body(config: Config) -> list[str]:
    """Return the shell lines before the training's."""
    task = config.task
    assert isinstance(task, SubmitTask)
    return [
        "set -euo pipefail",
        f"cd {shlex.quote(str(Path.cwd()))}",
        f"export OMP_NUM_THREADS={task.cpus} PYTHONUNBUFFERED=1",
        *task.setup,
    ]


def start(config: Config) -> list[str]:
    """Return the command that starts a process for each device; when one of them fails, all are ended."""
    task, trainer = config.task, config.trainer
    assert isinstance(task, SubmitTask)
    if task.system == "slurm":
        return ["srun", "--kill-on-bad-exit=1", f"--cpus-per-task={task.cpus}"]
    # One resource set a node, so that each process sees all GPUs of its node and takes the one of its number.
    sets = ["-n", str(trainer.nodes), "-r", "1", "-a", str(trainer.devices), "-c", str(task.cpus * trainer.devices)]
    gpus = ["-g", str(trainer.devices)] if trainer.accelerator != "cpu" else []
    return ["jsrun", *sets, *gpus, "-b", "none", "-X", "1"]


def command(config: Config, overrides: Sequence[str]) -> list[str]:
    """Return the training's own command: what was typed, and what the login node knew without it being typed."""
    task = config.task
    assert isinstance(task, SubmitTask)
    keys = named_keys(overrides)
    kept = [text for key, text in zip(keys, overrides, strict=True) if key.partition(".")[0] not in _NOT_THE_JOBS]
    if "data_dir" not in keys:
        kept.append(f"data_dir={quoted(config.data_dir)}")
    if config.trainer.accelerator == "auto":
        kept.append("trainer.accelerator=gpu")  # a node without one is to fail at once, not to train slowly
    return [task.python or sys.executable, "-m", "sgexp", *config_options(), *kept, "resume=auto"]


def quoted(text: str) -> str:
    """Quote a value for Hydra's grammar, where it must be."""
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def config_options() -> list[str]:
    """Return the options that say where configs are found, as they were given to this command."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    options = [word for folder in folders if Path(folder) != CONF_DIR for word in ("--config-dir", folder)]
    name = hydra.job.config_name
    return options + (["--config-name", str(name)] if name not in (None, "config") else [])


def new_file(folder: Path, stem: str) -> Path:
    """Make an empty file of a name that no other script has."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 10_000):
            path = folder.resolve() / f"{stem if attempt == 1 else f'{stem}-{attempt}'}.sh"
            try:
                path.touch(mode=0o755, exist_ok=False)
                return path
            except FileExistsError:
                continue
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror}): give another output_dir") from error
    raise UserError(f"{folder} holds 10,000 scripts of the same second and name; clear it first")


def write_script(path: Path, lines: Sequence[str]) -> None:
    """Write the script; the scheduler's own lines come first."""
    try:
        path.write_text("\n".join(["#!/bin/bash", *lines, ""]), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): free some space there") from error


def log_of(path: Path, number: str, percent: str = "%") -> Path:
    """Return the file that a job prints to, beside its script; schedulers read a single % as a pattern."""
    return Path(str(path.with_suffix("")).replace("%", percent) + f"-{number}.log")


def clean_environment() -> dict[str, str]:
    """Return the environment without what belongs to this process's own job, sweep or run."""
    return {key: value for key, value in os.environ.items() if not _STALE.match(key) and key != SWEEP}


def hand_over(path: Path, system: str) -> str:
    """Submit the script and return the job's number."""
    program = _COMMANDS[system]
    if shutil.which(program) is None:
        raise ConfigError(
            f"{program} is not found here: give the command where jobs are submitted (task.submit=false only writes a "
            f"script, such as {path})"
        )
    with path.open() as script:
        ended = subprocess.run(
            [program, "--parsable", str(path)] if system == "slurm" else [program],
            stdin=script if system == "lsf" else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )
    found = re.match(r"(\d+)", ended.stdout) if system == "slurm" else re.search(r"Job <(\d+)>", ended.stdout)
    if ended.returncode != 0 or found is None:
        said = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()[-1]
        raise UserError(f"{program} refuses {path}: {said}")
    return found[1]
