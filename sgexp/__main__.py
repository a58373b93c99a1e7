"""The command ``python -m sgexp``: parse, compose, check, dispatch. Nothing heavy is imported before that is right.

A person's mistake ends in one sentence and exit code 2 (a wrong question) or 1 (unusable data); Ctrl-C in 130,
a cluster's request to stop (SIGTERM, SIGUSR1), and one that killed a process of a run, in 75.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sgexp import usage
from sgexp.errors import ConfigError, Preempted, ProcessLost, UserError
from sgexp.ranks import PATIENCE_SECONDS, RUN_FOLDER, place, tell

if TYPE_CHECKING:
    from omegaconf import DictConfig

INTERRUPTED = 130  # the shell's convention for a program that Ctrl-C ended: 128 + SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: what was typed) and return its exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        if "-h" in typed or "--help" in typed:
            return _print(usage.help_text(typed))
        if "--version" in typed:
            return _print(usage.version_text() + "\n")
        if _follows():
            return join(os.environ[RUN_FOLDER], os.environ["LOCAL_RANK"])
        if place().rank > 0:
            return follow(usage.parse(typed), typed)
        return run(usage.parse(typed), typed)
    except UserError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        if place().rank > 0 and isinstance(interrupt, ProcessLost):
            time.sleep(PATIENCE_SECONDS)  # the first says it and ends the others, unless it is the one that is lost
            print(f"sgexp: {place().words}: {interrupt}", file=sys.stderr)
        if place().rank == 0 and not _follows():  # the others end with the first
            print(f"\nsgexp: {interrupt.args[0] if interrupt.args else 'interrupted'}", file=sys.stderr)
        return interrupt.exit_code if isinstance(interrupt, Preempted | ProcessLost) else INTERRUPTED


def _follows() -> bool:
    """Say whether the first process of a run, on the same machine, has started this one."""
    return RUN_FOLDER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def run(arguments: usage.Arguments, typed: Sequence[str]) -> int:
    """Check what was asked for, then run it; return the exit code."""
    from sgexp.sweeps import leash

    checked = leash.taken()  # a sweep checks the jobs that it starts
    from sgexp.composition import Composer
    from sgexp.jobs import Runner, config_checked, run_sweep

    composer = Composer(arguments.config_dir, arguments.config_name)
    if arguments.multirun:
        refuse_together("a sweep (-m) is started once, and starts its jobs by itself (hydra/launcher=submitit_slurm)")
        composed = composer.compose(arguments.overrides, multirun=True)
        if composer.searches(composed):
            from sgexp.searching import run_search

            run_search(composer, arguments, typed, composed)
        else:
            run_sweep(composer, arguments, typed)
        return 0
    if arguments.info is None and not checked:
        config = config_checked(composer, arguments.overrides)
        if not config.task.shares_work:
            refuse_together("only task=train shares its work among processes")
    runner = Runner()
    hydra_main(runner, arguments)
    return runner.exit_code


def refuse_together(why: str) -> None:
    """Refuse what each of the processes that were started together would do once more."""
    if (here := place()).world > 1:
        raise ConfigError(f"{here.started_by} started {here.world} processes, and each would do the same: {why}")


def follow(arguments: usage.Arguments, typed: Sequence[str]) -> int:
    """Do what ``run`` does, silently, beside the first of the processes that torchrun, srun or jsrun started."""
    import warnings

    from sgexp.console import console

    console.quiet = True
    warnings.simplefilter("ignore")  # the first process shows them
    try:
        return run(arguments, typed)
    except UserError:
        raise
    except Exception:
        time.sleep(PATIENCE_SECONDS)  # a lost connection may mean that the first process is ending, and says why itself
        raise


def join(folder: str, rank: str) -> int:
    """Take part, silently, in the run of another process, which started this one; its folder holds the config."""
    import warnings

    from sgexp.console import console
    from sgexp.jobs import dispatch
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


def hydra_main(job: Any, arguments: usage.Arguments) -> None:
    """Hand over to ``hydra.main``, which composes the config and calls ``job`` with it, or prints what was asked."""
    import hydra

    from sgexp.composition import VERSION_BASE

    # Hydra would cut stack traces and exit by itself; with this it lets exceptions through to us
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.argv[1:] = arguments.for_hydra()

    def task(composed: DictConfig) -> Any:
        return job(composed)

    hydra.main(version_base=VERSION_BASE, config_path=str(usage.CONF_DIR), config_name="config")(task)()


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `... --help | head` closed the pipe: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
