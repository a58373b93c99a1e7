"""``-m hydra/sweeper=optuna``: a sweep whose jobs Optuna chooses, checked beforehand as far as that can be.

What of it needs the command's words and Hydra is here; the trials themselves are ``sgexp/search/``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from sgexp import config
from sgexp.composition import Composer, check_hydra
from sgexp.console import console
from sgexp.errors import ConfigError, UserError
from sgexp.jobs import Runner, config_checked, described
from sgexp.runs import config_hash, runs_of_sweep
from sgexp.schema import plain
from sgexp.search import best, record
from sgexp.search.schema import SearchConfig
from sgexp.sweeps.manifest import Job
from sgexp.sweeps.schema import LauncherConfig
from sgexp.sweeps.stopping import stopped

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sgexp.search.study import Plan
    from sgexp.search.trials import Search
    from sgexp.usage import Arguments

PROCESS_LAUNCHER = "hydra_plugins.sgexp_process_launcher.launcher.ProcessLauncher"
_OF_THE_SEARCH = ("search.", "launcher.", "search=", "launcher=")  # not said to each trial
_MOST_FILES = 10  # experiment files of a search with several objectives


def run_search(composer: Composer, arguments: Arguments, command: Sequence[str], composed: DictConfig) -> None:
    """Run the trials that are left, show the best, and write them as experiment files."""
    refuse_without("optuna", "hydra/sweeper=optuna")
    check_hydra(composed)
    from sgexp.search import table
    from sgexp.search.study import STORAGE_ERRORS, without_password
    from sgexp.search.trials import Search

    plan, own, how = planned(composer, arguments, composed)
    with runs_of_sweep(plan.id):
        composed = composer.compose(arguments.overrides, multirun=True)  # its folder is named after the search
        check_hydra(composed)

        def describe(number: int, overrides: Sequence[str]) -> Job:
            return described(number, overrides, config_checked(composer, [*own, *overrides]))

        folder = Path(str(composed.hydra.sweep.dir))
        if how.dry_run:
            tell(plan, folder)
            return
        search: Search | None = None
        try:
            search = Search(folder, plan, command, describe)
            search.options = [*arguments.config_options(), *own]
            runner: Any = Runner(search)
            runner.search = lambda: search.run(how.jobs)  # type: ignore[union-attr]
            composer.sweeper(composed, runner).sweep(arguments.overrides)
        except KeyboardInterrupt as interrupt:
            assert search is not None
            raise stopped(interrupt, search.summary(), search.typed) from None
        except STORAGE_ERRORS as error:
            said = without_password(str(error).strip().partition("\n")[0])
            raise UserError(
                f"the search's storage cannot be used any more ({type(error).__name__}: {said}); run folders are as "
                "they were, and the same command goes on"
            ) from error
    console.print(f"[bold]search {plan.id}[/bold] {search.summary()}")
    made = record.read(search.path)
    table.show(made)
    write_best(composer, arguments, made, search, plan)
    if left := search.sentence():
        raise UserError(left)


def refuse_without(package: str, what: str) -> None:
    """Refuse what needs a package of the extra ``search`` that is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{what} needs {package}, which is not installed: pip install 'sgexp[search]' brings it")


def planned(composer: Composer, arguments: Arguments, composed: DictConfig) -> tuple[Plan, list[str], LauncherConfig]:
    """Read what is searched, check every choice and both ends of every interval once; nothing is run.

    Returns the plan, Hydra's own overrides, which all trials share, and how they are to be launched.
    """
    from sgexp.search.space import read_space
    from sgexp.search.study import Plan

    if composed.hydra.launcher.get("_target_") != PROCESS_LAUNCHER:
        raise ConfigError("hydra/sweeper=optuna runs each trial in a process: leave hydra/launcher=process as it is")
    parsed = composer.searched(composed, arguments.overrides)
    hydra_own = [item for item in parsed if item.is_hydra_override()]
    if swept := [str(item.input_line) for item in hydra_own if item.is_sweep_override()]:
        raise ConfigError(f"'{swept[0]}': Hydra's own settings are the same for all trials")
    own = [str(item.input_line) for item in hydra_own if "sweeper" not in item.key_or_group]
    others = [item for item in parsed if not item.is_hydra_override()]
    space = read_space([item for item in others if item.is_sweep_override()])
    given = [str(item.input_line) for item in others if not item.is_sweep_override()]
    first: config.Config | None = None
    for corner in space.corners():
        chosen = space.overrides(corner)
        try:
            checked = config_checked(composer, [*own, *given, *chosen])
        except ConfigError as error:
            raise ConfigError(f"a trial with {' '.join(chosen)}: {error}") from error
        first = first or checked
    assert first is not None
    how: SearchConfig = first.search
    if described(0, given, first).epochs is None:
        raise ConfigError("a search trains its trials: give neither another task nor resume=")
    if getattr(first.split, "validation", None) == 0:
        raise ConfigError("split.validation=0 leaves nothing to choose by: a search needs a validation set")
    if how.sampler == "cmaes":
        refuse_without("cmaes", "search.sampler=cmaes")
        if all(isinstance(value, str) for value in next(space.corners()).values()):
            raise ConfigError("search.sampler=cmaes knows numbers only: give interval(a,b), or choose tpe")
    if how.sampler == "grid":
        space.grid()  # refuses intervals
    fixed = [text for text in given if not text.lstrip("+").startswith(_OF_THE_SEARCH)]
    return Plan(how, space, fixed, config_hash(plain(first))), own, first.launcher


def tell(plan: Plan, folder: Path) -> None:
    """Say what would be searched, and how far it is."""
    console.print(f"search {plan.id}: {plan.trials} trials by {plan.config.sampler} for {plan.config.objectives}")
    for name, distribution in plan.space.distributions.items():
        console.print(f"  {escape(name)}: {escape(str(distribution))}", soft_wrap=True)
    path = folder / record.NAME
    ended = len(record.read(path).trials) if path.exists() else 0
    console.print(f"{ended} trials begun before; the record is {escape(str(path))}", soft_wrap=True)


def write_best(composer: Composer, arguments: Arguments, made: record.Record, search: Search, plan: Plan) -> None:
    """Write the best trial, or of several objectives those that none beats in all, as experiment files."""
    several = len(made.objectives) > 1
    name = best.NAME
    names = {number: name if len(made.best) == 1 else f"{name}-{place}" for place, number in enumerate(made.best, 1)}
    for number in made.best[: _MOST_FILES if several else 1]:
        trial = next(item for item in made.trials if item.number == number)
        told = ", ".join(f"{name} {value:.4g}" for (name, _), value in zip(made.objectives, trial.values, strict=True))
        overrides = [*plan.fixed, *plan.space.overrides(search.study.trials[number].params)]
        overrides = [text for text in overrides if not text.startswith(_NOT_THE_EXPERIMENTS)]
        title = [f"Trial {number} of the search {made.id}: validation {told}", f"Found by: {made.command}"]
        why = {name: f"Searched: {text}" for name, text in made.space.items()}
        try:
            text = best.text_of_file(title, composer.parsed(overrides), [*config.groups(), "experiment"], why)
            path = best.write(search.folder, names[number], text)
            again = Composer(arguments.config_dir, arguments.config_name, further=path.parents[1])
            same = config_hash(plain(again.check([f"experiment={path.stem}"]))) == trial_key(search, number)
        except (ValueError, UserError) as error:
            console.print(
                f"[yellow]trial {number} cannot be written as an experiment file[/yellow] ({escape(str(error))})"
            )
            continue
        if not same:
            console.print(
                f"[yellow]{escape(str(path))} does not say all of trial {number}: see its run folder[/yellow]"
            )
        folder, first = str(path.parents[1]), ""
        if arguments.config_dir is not None:
            folder, first = arguments.config_dir, f"cp {path} {arguments.config_dir}/experiment/ && "
        line = f"{first}python -m sgexp --config-dir {folder} experiment={path.stem}"
        console.print(f"[bold]trial {number}[/bold] as a command: {escape(line)}", soft_wrap=True)


_NOT_THE_EXPERIMENTS = ("output_dir=", "data_dir=", "name=", "logger=", "logger.", "callbacks=", "report")


def trial_key(search: Search, number: int) -> str:
    """Return the config hash of a trial's run."""
    from sgexp.search.study import KEY

    return str(search.study.trials[number].user_attrs.get(KEY))
