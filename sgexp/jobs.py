"""One job or many: what the command does with configs that are composed and checked.

A sweep (``-m``) is listed and checked here, then handed to one of Hydra's launchers; all of them end up in `Runner`,
some in processes of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus

from sgexp.composition import Composer, check_hydra, job_overrides, name_of
from sgexp.config import Config, check
from sgexp.console import console, interrupts_later, progress
from sgexp.errors import ConfigError, Preempted, ProcessLost, UserError
from sgexp.machine import imported
from sgexp.ranks import tell
from sgexp.requeue import of_submitit
from sgexp.run_config import resumed, settled
from sgexp.runs import AUTO, config_hash, runs_of_sweep
from sgexp.schema import plain
from sgexp.sweeps.manifest import Job, Sweep, sweep_id
from sgexp.sweeps.schema import LauncherConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sgexp.usage import Arguments

_MANY = 20  # jobs are checked in some seconds: a bar shows how far it is


class Runner:
    """Runs the job that Hydra composed; in a sweep (``sweep`` is given) a failure is raised, so that it is counted."""

    def __init__(self, sweep: Sweep | None = None) -> None:
        self.sweep = sweep
        self.in_sweep = sweep is not None
        self.numbers = {" ".join(job.asked): job.number for job in sweep.distinct} if sweep else {}
        self.total = len(sweep.jobs) if sweep else 1
        self.exit_code = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the sweep behind: only the process that started it keeps its record."""
        return self.__dict__ | {"sweep": None}

    @property
    def elsewhere(self) -> bool:
        """Whether a launcher has carried this to a process of its own, which the sweep only hears the end of."""
        return self.in_sweep and self.sweep is None

    def _going_on(self, config: Config) -> Config:
        """Go on where a job was that Slurm starts again by itself, such as after its node was lost."""
        again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        if self.elsewhere and again and config.resume is None and type(config.task).target.endswith(".train"):
            config.resume = AUTO
        return config

    def __call__(self, composed: DictConfig) -> Any:
        """Run one job, and tell a person's mistake in one sentence."""
        overrides = job_overrides()
        if self.in_sweep:
            number = self.numbers.get(" ".join(overrides), "?")
            print(f"job {number} of {self.total}: {' '.join(overrides)}", flush=True)
        try:
            return dispatch(self._going_on(config_of(composed, overrides)))
        except (Preempted, ProcessLost) as stopped:
            if not self.elsewhere:
                raise
            if of_submitit():  # no result yet: Slurm starts it again, or it leaves the queue, and the sweep sees that
                tell(UserError(str(stopped)))
                raise SystemExit(stopped.exit_code) from None
            raise UserError(str(stopped)) from None  # the sweep waits to hear of it
        except SystemExit as ended:  # Lightning answers Ctrl-C with sys.exit(1)
            raise KeyboardInterrupt if isinstance(ended.__context__, KeyboardInterrupt) else ended from ended
        except UserError as error:
            tell(error)
            if self.in_sweep:
                raise
            self.exit_code = error.exit_code
        except Exception as error:
            if not self.in_sweep:
                raise
            traceback.print_exc()
            raise UserError(f"{type(error).__name__}: {error}") from None  # an exception of any kind may not travel
        return None


def config_of(composed: DictConfig, overrides: Sequence[str]) -> Config:
    """Return the typed config of a job: as composed, or of the run that it goes on with or works on."""
    config = check(composed)
    if config.resume not in (None, AUTO):
        refuse_more_than_resume(overrides)
        return resumed(config.resume)
    if composed.get("name") is None:
        config.name = name_of(overrides)
    return settled(config, overrides)


def refuse_more_than_resume(overrides: Sequence[str]) -> None:
    """Refuse other choices beside ``resume=``: an interrupted run goes on as it began."""
    others = [override for override in overrides if not override.lstrip("+").startswith(("resume=", "hydra."))]
    if others:
        raise ConfigError(f"resume= goes on with the run's own config: leave out {' '.join(others)}")


def dispatch(config: Config) -> Any:
    """Import the task that was asked for and call it with the typed config."""
    module, _, function = type(config.task).target.rpartition(".")
    with interrupts_later():
        task = getattr(imported(module), function)
    return task(config)


def config_checked(composer: Composer, overrides: Sequence[str]) -> Config:
    """Compose one job and return its typed config, checked before anything is loaded."""
    return settled(composer.check(overrides), overrides)


def listed(composer: Composer, arguments: Arguments) -> tuple[list[str], list[Job], LauncherConfig]:
    """Compose and check every job of a sweep before the first starts.

    Returns Hydra's own overrides, which all jobs share, the jobs, and how they are to be launched.
    """
    own, all_overrides = composer.jobs(arguments.overrides)
    jobs: list[Job] = []
    many = len(all_overrides) > _MANY
    shown = many and console.is_terminal
    if many and not shown:
        console.print(f"checking {len(all_overrides):,} jobs")
    with progress(transient=True) if shown else nullcontext() as bar:
        task = bar.add_task("checking jobs", total=len(all_overrides)) if bar else None
        for number, overrides in enumerate(all_overrides, start=1):
            try:
                config = config_checked(composer, [*own, *overrides])
                jobs.append(described(number, overrides, config))
            except ConfigError as error:
                raise ConfigError(f"job {number} of {len(all_overrides)} ({' '.join(overrides)}): {error}") from error
            if bar and task is not None:
                bar.advance(task)
    return own, jobs, config.launcher


def described(number: int, overrides: Sequence[str], config: Config) -> Job:
    """Return what a sweep must know of a job.

    A training that makes a run folder is known by its config hash. Other jobs are known by their whole config (they may
    differ in a path alone), find no run folder of that name, and so run whenever they are asked for.
    """
    task = type(config.task).target.rpartition(".")[2]
    asked = plain(config)
    trains = task == "train" and config.resume in (None, AUTO)
    key = config_hash(asked) if trains else hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()[:10]
    return Job(number, list(overrides), key, Path(config.output_dir) / task, config.trainer.epochs if trains else None)


def run_sweep(composer: Composer, arguments: Arguments, command: Sequence[str]) -> None:
    """Check all jobs, then run those that are not finished; what is left undone ends in a `UserError`."""
    from sgexp.sweeps import table
    from sgexp.sweeps.display import announce, ending, say, tell_jobs
    from sgexp.sweeps.stopping import hearing, stopped

    own, jobs, how = listed(composer, arguments)
    with runs_of_sweep(sweep_id(jobs)):
        composed = composer.compose(arguments.overrides, multirun=True)
        check_hydra(composed)
        sweep = Sweep(Path(str(composed.hydra.sweep.dir)), jobs, command)
        sweep.options = [*arguments.config_options(), *own]
        asked = {"retry_failed": how.retry_failed, "fresh": how.fresh}
        if how.dry_run:
            tell_jobs(sweep, sweep.plan(**asked))
            return
        with sweep.held():
            chosen = sweep.plan(**asked)
            sweep.write()
            announce(sweep, chosen)
            try:
                with hearing():
                    for job, error in launched(composer, composed, sweep, chosen):
                        if job.number not in sweep.closed:
                            sweep.close_as(job, error)
                            say(ending(job, len(jobs)))
            except KeyboardInterrupt as interrupt:
                done = f"{sweep.count('finished')} of {len(sweep.distinct)} jobs are finished"
                raise stopped(interrupt, done, sweep.typed) from None
    table.show(sweep)
    if left := sweep.sentence():
        raise UserError(f"{left}; {sweep.path} tells more")


def launched(
    composer: Composer, composed: DictConfig, sweep: Sweep, jobs: Sequence[Job]
) -> Iterator[tuple[Job, Exception | None]]:
    """Hand the jobs to the launcher that was chosen; yield each with the error that it ended in."""
    if not jobs:
        return
    launcher = composer.launcher(composed, Runner(sweep))
    asked = [job.asked for job in jobs]
    size = composed.hydra.sweeper.get("max_batch_size") or len(jobs)
    for first in range(0, len(jobs), size):
        try:
            with one_by_one(launcher):
                returns = launcher.launch(asked[first : first + size], first)
        except (UserError, OSError):
            raise
        except Exception as error:  # joblib's and submitit's own, as when a job's process is killed
            said = str(error).strip().partition("\n")[0]
            raise UserError(
                f"the launcher gave up ({type(error).__name__}: {said}); the same command goes on with what is left, "
                "and with hydra/launcher=process no job ends the others"
            ) from error
        for job, ended in zip(jobs[first : first + size], returns, strict=True):
            failed = ended.status != JobStatus.COMPLETED
            yield job, ended._return_value if failed else None  # its property `return_value` would raise, and print


def one_by_one(launcher: Any) -> AbstractContextManager[None]:
    """Have submitit's launchers tell how each job ended; the others do anyway."""
    if not type(launcher).__module__.startswith("hydra_plugins.hydra_submitit_launcher"):
        return nullcontext()
    from sgexp.sweeps.arrays import awaited_one_by_one

    def failed(why: str) -> JobReturn:
        ended = JobReturn(status=JobStatus.FAILED)
        ended._return_value = UserError(why)
        return ended

    return awaited_one_by_one(failed)
