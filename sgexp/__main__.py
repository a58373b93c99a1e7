"""The command ``python -m sgexp``: parse, compose, check, dispatch. Nothing heavy is imported before that is right.

A person's mistake ends in one sentence and exit code 2 (a wrong question) or 1 (unusable data); Ctrl-C in 130.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sgexp import usage
from sgexp.errors import ConfigError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sgexp.config import Config

INTERRUPTED = 130  # the shell's convention for a program that Ctrl-C ended: 128 + SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: what was typed) and return its exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        if "-h" in typed or "--help" in typed:
            return _print(usage.help_text(typed))
        if "--version" in typed:
            return _print(usage.version_text() + "\n")
        if "SGEXP_RUN_FOLDER" in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
            return join(os.environ["SGEXP_RUN_FOLDER"], os.environ["LOCAL_RANK"])
        return run(usage.parse(typed))
    except UserError as error:
        print(f"sgexp: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"\nsgexp: {interrupt.args[0] if interrupt.args else 'interrupted'}", file=sys.stderr)
        return INTERRUPTED


def run(arguments: usage.Arguments) -> int:
    """Check every job that was asked for, then run them all; return the exit code."""
    from sgexp.composition import Composer

    composer = Composer(arguments.config_dir, arguments.config_name)
    if arguments.info is None:
        jobs = check_all(composer, arguments)
    else:
        jobs = []
    runner = Runner(n_jobs=len(jobs))
    hydra_main(runner.job, arguments)
    return runner.finish()


def join(folder: str, rank: str) -> int:
    """Take part, silently, in the run of another process, which started this one; its folder holds the config."""
    import warnings

    from sgexp.console import console
    from sgexp.run_config import resumed

    first_process = os.getppid()
    console.quiet = True
    warnings.simplefilter("ignore")  # the first process shows them
    try:
        dispatch(resumed(folder))
    except UserError as error:
        raise UserError(f"process {rank} of the run failed, and so does the run: {error}") from error
    except Exception:
        for _ in range(100):  # 5 s: a lost connection may mean that the first process is ending, and says why itself
            if os.getppid() != first_process:
                return 1
            time.sleep(0.05)
        raise
    return 0


def check_all(composer: Any, arguments: usage.Arguments) -> list[list[str]]:
    """Compose and check every job before the first starts; return each job's overrides."""
    from sgexp.run_config import settled

    if not arguments.multirun:
        settled(composer.check(arguments.overrides), arguments.overrides)
        return [arguments.overrides]
    jobs = composer.jobs(arguments.overrides)
    for number, overrides in enumerate(jobs, start=1):
        try:
            settled(composer.check(overrides), overrides)
        except ConfigError as error:
            raise ConfigError(f"job {number} of {len(jobs)} ({' '.join(overrides)}): {error}") from error
    return jobs


def hydra_main(job: Any, arguments: usage.Arguments) -> None:
    """Hand over to ``hydra.main``, which launches ``job`` once or, under ``-m``, for every combination."""
    import hydra

    from sgexp.composition import VERSION_BASE

    # Hydra would cut stack traces and exit by itself; with this it lets exceptions through to us
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.argv[1:] = arguments.for_hydra()

    def task(composed: DictConfig) -> Any:
        return job(composed)

    hydra.main(version_base=VERSION_BASE, config_path=str(usage.CONF_DIR), config_name="config")(task)()


class Runner:
    """Runs the jobs that Hydra launches one after another, and keeps count of those that failed."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs
        self.started = 0
        self.failed: list[str] = []
        self.exit_code = 0

    def job(self, composed: DictConfig) -> Any:
        """Run one job. In a sweep a failure is told at once and the next job goes on."""
        from sgexp.composition import job_overrides, name_of
        from sgexp.config import check
        from sgexp.run_config import resumed, settled

        overrides = job_overrides()
        self.started += 1
        if self.n_jobs > 1:
            print(f"job {self.started} of {self.n_jobs}: {' '.join(overrides)}", flush=True)
        try:
            config = check(composed)
            if config.resume is not None:
                refuse_more_than_resume(overrides)
                config = resumed(config.resume)
            elif composed.get("name") is None:
                config.name = name_of(overrides)
            return dispatch(config if config.resume is not None else settled(config, overrides))
        except SystemExit as ended:  # Lightning answers Ctrl-C with sys.exit(1)
            raise KeyboardInterrupt if isinstance(ended.__context__, KeyboardInterrupt) else ended from ended
        except UserError as error:
            print(f"sgexp: {error}", file=sys.stderr)
            self.exit_code = error.exit_code
        except Exception:
            if self.n_jobs == 1:
                raise
            traceback.print_exc()
            self.exit_code = 1
        self.failed.append(f"{self.started} ({' '.join(overrides)})")
        return None

    def finish(self) -> int:
        """Return the exit code; after a sweep with failures, say which jobs failed."""
        if self.failed and self.n_jobs > 1:
            print(f"sgexp: {len(self.failed)} of {self.n_jobs} jobs failed: {', '.join(self.failed)}", file=sys.stderr)
        return self.exit_code


def refuse_more_than_resume(overrides: Sequence[str]) -> None:
    """Refuse other choices beside ``resume=``: an interrupted run goes on as it began."""
    others = [override for override in overrides if not override.lstrip("+").startswith(("resume=", "hydra."))]
    if others:
        raise ConfigError(f"resume= goes on with the run's own config: leave out {' '.join(others)}")


def dispatch(config: Config) -> Any:
    """Import the task that was asked for and call it with the typed config."""
    import importlib

    from sgexp.console import interrupts_later

    module, _, function = type(config.task).target.rpartition(".")
    with interrupts_later():
        task = getattr(importlib.import_module(module), function)
    return task(config)


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `... --help | head` closed the pipe: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
