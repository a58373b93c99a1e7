"""Hydra's part of the command, in one place: compose configs, expand sweeps, put every refusal into one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sgexp import checking, config
from sgexp.config import Config
from sgexp.config_files import ReadOnce
from sgexp.errors import ConfigError, did_you_mean
from sgexp.usage import CONF_DIR

VERSION_BASE = "1.3"
HYDRA_TARGETS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Where the launchers and sweepers live that a config may select."""

EXTRA_LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # of the extra `launchers`

OPTUNA_SWEEPER = "hydra_plugins.sgexp_optuna_sweeper.sweeper.OptunaSweeper"

HYDRA_RESOLVERS = frozenset({"now", "hydra", "python_version", "oc.select"})
"""Resolvers that Hydra's own settings use; none of them runs or reads anything outside the config."""


_NOT_NAMING = frozenset({"task", "logger", "callbacks", "report", "launcher", "search"})
"""Groups whose choice makes no other experiment, and so gives a run no other name."""


class Composer:
    """Composes and checks configs from the package's ``conf/`` and a folder of the caller's, which may add to it."""

    def __init__(
        self, config_dir: str | Path | None = None, config_name: str = "config", further: Path | None = None
    ) -> None:
        version.setbase(VERSION_BASE)
        setup_globals()
        search_path = create_config_search_path(str(CONF_DIR))
        if config_dir is not None:
            folder = Path(config_dir).resolve()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
            _refuse_hidden(folder)
            search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
        if further is not None:
            search_path.prepend("further", f"file://{further.resolve()}", SearchPathQuery(provider="schema"))
        self.config_name = config_name
        self.loader = ConfigLoaderImpl(config_search_path=search_path)
        self.loader.repository = ReadOnce(search_path)

    def compose(self, overrides: Sequence[str], multirun: bool = False) -> DictConfig:
        """Return what Hydra composes for ``overrides``, its own node included."""
        _parse(overrides)
        self._refuse_searchpath(overrides)
        try:
            return self.loader.load_configuration(
                self.config_name,
                list(overrides),
                run_mode=RunMode.MULTIRUN if multirun else RunMode.RUN,
                validate_sweep_overrides=not multirun,
            )
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError) as error:
            raise self._in_one_sentence(error, overrides) from error

    def _refuse_searchpath(self, overrides: Sequence[str]) -> None:
        """Refuse ``hydra.searchpath`` before Hydra sees it: ``pkg://`` in it would import a package while composing."""
        try:
            primary = self.loader.repository.load_config(self.config_name)
        except YAMLError as error:
            raise self._in_one_sentence(error, overrides) from error
        if primary is not None and OmegaConf.select(primary.config, "hydra.searchpath", default=None):
            raise ConfigError(
                f"hydra.searchpath in {self.config_name}.yaml is refused: give the folder with --config-dir"
            )
        if any("hydra.searchpath" in text for text in overrides):
            raise ConfigError("hydra.searchpath is refused: give the folder with --config-dir")

    def check(self, overrides: Sequence[str]) -> Config:
        """Compose one job and return it typed and checked, or raise a ConfigError of one sentence."""
        return check_composed(self.compose(overrides))

    def jobs(self, overrides: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Return Hydra's own overrides, and those of every job of a sweep (``-m``), without a sweep in them."""
        sweeper = self.compose(overrides, multirun=True).hydra.sweeper
        if str(sweeper.get("_target_")) != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}":
            raise ConfigError("only hydra/sweeper=basic and hydra/sweeper=optuna are supported: jobs are checked first")
        parsed = self._swept(sweeper, overrides)
        for override in parsed:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise ConfigError(
                    f"'{override.input_line}' cannot be listed: use choice(...), range(...), glob(...) or a,b,c"
                )
        swept = [override for override in parsed if not override.is_hydra_override()]
        hydra_own = [str(override.input_line) for override in parsed if override.is_hydra_override()]
        (batch,) = BasicSweeper.split_arguments(swept, max_batch_size=None)
        if not batch:
            raise ConfigError(f"no job is left: a pattern such as glob(...) in {' '.join(overrides)} matches no choice")
        return hydra_own, batch

    def _swept(self, sweeper: DictConfig, overrides: Sequence[str]) -> list[Override]:
        """Parse the overrides of a sweep, those that its sweeper's settings hold first."""
        params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
        return _parse([*params, *overrides], self.loader)

    def searches(self, composed: DictConfig) -> bool:
        """Say whether a sweep, composed for ``-m``, is a search (``hydra/sweeper=optuna``)."""
        return bool(composed.hydra.sweeper.get("_target_") == OPTUNA_SWEEPER)

    def searched(self, composed: DictConfig, overrides: Sequence[str]) -> list[Override]:
        """Return the overrides of a search, parsed."""
        return self._swept(composed.hydra.sweeper, overrides)

    def parsed(self, overrides: Sequence[str]) -> list[Override]:
        """Return overrides as Hydra reads them."""
        return _parse(overrides, self.loader)

    def sweeper(self, composed: DictConfig, task: TaskFunction) -> Sweeper:
        """Return the sweeper that ``composed`` chooses; it is handed ``task``."""
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks())
        return Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=composed)

    def launcher(self, composed: DictConfig, task: TaskFunction) -> Launcher:
        """Return the launcher that ``composed`` chooses (for ``-m``); it will call ``task`` with each job's config."""
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks())
        return Plugins.instance().instantiate_launcher(context, task, composed)

    def choices(self, group: str) -> list[str]:
        """Return the names of the files of a config group, in every config folder."""
        return sorted(self.loader.get_group_options(group))

    def _in_one_sentence(self, error: Exception, overrides: Sequence[str]) -> ConfigError:
        message = str(error)
        if isinstance(error, MissingConfigException):
            return _missing_file(error, self.config_name)
        if isinstance(error, YAMLError):
            mark = getattr(error, "problem_mark", None)
            where = f"{mark.name}, line {mark.line + 1}" if mark else "a config file"
            return ConfigError(f"{where} is not valid YAML: {getattr(error, 'problem', None) or _first_line(message)}")
        if match := re.search(r"Could not override '([^']+)", message):
            return self._unknown(match[1], _file_prefix(message), overrides)
        if match := re.search(r"Could not delete from config\. '([^']+)'", message):
            return self._unknown(match[1], "", overrides)
        if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", message):
            return ConfigError(f"'{match[1]}' is there already: write {match[1]}=<value> without the '+'")
        if match := re.search(r"Multiple values for ([\w/]+)", message):
            return ConfigError(f"'{match[1]}' is chosen already: write {match[1]}=<choice> without the '+'")
        if match := re.search(r"Ambiguous value for argument '([^']+)'", message):
            return ConfigError(
                f"'{match[1]}' gives several values: add -m to run a job for each, or write a list as key=[a,b]"
            )
        if match := re.search(r"Config group override must be a string or a list", message):
            empty = next((text for text in overrides if text.partition("=")[2] in ("", "null")), " ".join(overrides))
            return ConfigError(f"'{empty}' does not name a choice of a config group (see --help)")
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        key = getattr(cause, "full_key", None)
        return ConfigError(
            f"{key or 'the config'} cannot be composed: {_first_line(message) or _first_line(str(cause))}"
        )

    def _unknown(self, key: str, where: str, overrides: Sequence[str]) -> ConfigError:
        if key.startswith("hydra"):
            return ConfigError(
                f"{where}there is no key '{key}' among Hydra's settings (python -m sgexp --cfg hydra lists them)"
            )
        groups = config.groups()
        if "@" in key:
            return ConfigError(f"{where}'{key}' would put a choice elsewhere in the config, where no task looks for it")
        if "/" in key:
            return ConfigError(f"{where}there is no config group '{key}'{did_you_mean(key, groups)}")
        # keys of the choices at hand come first: each sampler has keys of its own
        at_hand = self._keys_at_hand(overrides)
        if key in at_hand:
            return ConfigError(f"{where}'{key}' has no such name yet: write +{key}={{name: value}} to add it")
        parent = key.rpartition(".")[0]
        has_neighbours = any(name.rpartition(".")[0] == parent and "_target_" not in name for name in at_hand)
        known = at_hand if has_neighbours else config.known_keys()
        return ConfigError(f"{where}{checking.unknown_key(key, known, groups)}")

    def _keys_at_hand(self, overrides: Sequence[str]) -> list[str]:
        """Return the keys that exist when only the choices among ``overrides`` are applied."""
        choices = [
            item.input_line for item in _parse(overrides) if "." not in item.key_or_group and item.type.name == "CHANGE"
        ]
        for attempt in (choices, []):
            try:
                composed = self.loader.load_configuration(
                    self.config_name, [str(line) for line in attempt], RunMode.RUN
                )
            except (HydraException, OmegaConfBaseException, YAMLError, ValueError):
                continue
            return _flat_keys(OmegaConf.to_container(without_hydra(composed), resolve=False), "")
        return []


def check_composed(composed: DictConfig) -> Config:
    """Return what Hydra composed typed and checked, its own settings too, or raise a ConfigError of one sentence."""
    if composed.hydra.mode == RunMode.MULTIRUN:
        raise ConfigError(
            "hydra.mode=MULTIRUN is refused: give -m, so that all jobs are checked before the first starts"
        )
    check_hydra(composed)
    return config.check(without_hydra(composed))


def without_hydra(composed: DictConfig) -> DictConfig:
    """Return a copy of a composed config without Hydra's own node."""
    copy = composed.copy()
    OmegaConf.set_struct(copy, False)
    with open_dict(copy):
        copy.pop("hydra", None)
    return copy


def check_hydra(composed: DictConfig) -> None:
    """Refuse settings of Hydra by which a config file could run or load code of its own choosing."""
    own: Any = OmegaConf.to_container(composed.hydra, resolve=False)
    for key, why in (
        ("callbacks", "runs code at every job"),
        ("searchpath", "reads configs from elsewhere (use --config-dir)"),
    ):
        if own.get(key):
            raise ConfigError(f"hydra.{key} is refused: it {why}")
    job = own.get("job") or {}
    for key in ("env_set", "env_copy"):
        if job.get(key):
            raise ConfigError(f"hydra.job.{key} is refused: set environment variables in the shell")
    typed = [str(text).lstrip("+") for text in (own.get("overrides") or {}).get("hydra") or []]
    if (own.get("launcher") or {}).get("setup") and not any(text.startswith("hydra.launcher.setup=") for text in typed):
        raise ConfigError("hydra.launcher.setup is refused in a file, since a shell runs it: give it when you start")
    _refuse_many_tasks(own.get("launcher") or {})
    for key in ("launcher", "sweeper"):
        _refuse_targets(own.get(key), f"hydra.{key}")
    for key in ("job_logging", "hydra_logging"):
        _refuse_targets(own.get(key), f"hydra.{key}")
        _refuse_factories(own.get(key), f"hydra.{key}")
    own["overrides"] = own["job"]["override_dirname"] = None  # what was typed: checked where it takes effect
    config.refuse_resolvers(own, "hydra", HYDRA_RESOLVERS)


def job_overrides() -> list[str]:
    """Return the overrides of the job that is running (under ``-m`` its share of the sweep)."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def named_keys(overrides: Sequence[str]) -> list[str]:
    """Return the dotted key (or the group) that each override sets."""
    return [item.key_or_group.replace("/", ".") for item in _parse(overrides)]


def name_of(overrides: Sequence[str]) -> str:
    """Return a word for a run folder: the choices among ``overrides`` joined by '-', or 'default'."""
    naming = config.groups().keys() - _NOT_NAMING
    chosen = [item for item in _parse(overrides) if item.key_or_group in naming]
    words = [
        item.get_value_element_as_str() for item in chosen if not item.is_sweep_override() and not item.is_delete()
    ]
    return re.sub(r"[^\w.+-]+", "-", "-".join(words), flags=re.ASCII).strip("-")[:80] or "default"


def _refuse_hidden(folder: Path) -> None:
    """Refuse a folder with a file that the package has too, unless it says the same: Hydra would not read it."""
    for own in sorted(CONF_DIR.rglob("*.yaml")):
        theirs = folder / own.relative_to(CONF_DIR)
        if theirs.is_file() and theirs.read_bytes() != own.read_bytes():
            raise ConfigError(
                f"--config-dir: {theirs} would not be read, since sgexp has one of that name: give yours another name"
            )


def _parse(overrides: Sequence[str], loader: ConfigLoaderImpl | None = None) -> list[Override]:
    parser = OverridesParser.create(config_loader=loader)
    parsed = []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except (OverrideParseException, HydraException) as error:
            how = "write key=value" if "=" not in text else _first_line(str(error))
            raise ConfigError(f"'{text}' is no valid override: {how}") from error
    return parsed


def _missing_file(error: MissingConfigException, config_name: str) -> ConfigError:
    missing = error.missing_cfg_file or ""
    group, _, choice = missing.rpartition("/")
    if not group:
        return ConfigError(f"there is no config file '{missing or config_name}.yaml' in the config folders")
    options = sorted(error.options or [])
    if not options and group in config.groups():
        return ConfigError(f"there is no config file '{missing}.yaml' in the config folders")
    if not options:
        return ConfigError(f"there is no config group '{group}'{did_you_mean(group, config.groups())}")
    if group == "hydra/launcher" and choice in EXTRA_LAUNCHERS:
        return ConfigError(f"{group}={choice} is not installed: pip install 'sgexp[launchers]' brings it")
    near = did_you_mean(choice, options)
    listed = f"(choices: {', '.join(options)})"
    return ConfigError(f"{group}={choice} is not a choice of {group} {listed}{near}")


def _refuse_many_tasks(launcher: dict[str, Any]) -> None:
    """Refuse jobs of several tasks by submitit: each task would take itself for a job of its own."""
    for key in ("nodes", "tasks_per_node"):
        if launcher.get(key) not in (None, 1):
            raise ConfigError(
                f"hydra.launcher.{key}={launcher[key]} is refused: a job of this launcher is one task, which starts "
                "the processes of trainer.devices=N by itself; for several nodes give hydra/launcher=basic task=submit "
                "task.submit=true trainer.nodes=N (docs/clusters.md)"
            )


def _refuse_targets(node: Any, key: str) -> None:
    if isinstance(node, dict):
        for name, item in node.items():
            if name == "_target_" and not str(item).startswith(HYDRA_TARGETS):
                raise ConfigError(
                    f"{key}._target_={checking.show(item)} is refused: choose one with {key.replace('.', '/')}=<choice>"
                )
            _refuse_targets(item, f"{key}.{name}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            _refuse_targets(item, f"{key}[{index}]")


def _refuse_factories(node: Any, key: str) -> None:
    """Refuse what makes Python's logging call a named object: '()' and classes outside ``logging``."""
    if isinstance(node, dict):
        for name, item in node.items():
            foreign_class = name == "class" and not str(item).startswith("logging.")
            if (
                name == "()"
                or foreign_class
                or (isinstance(item, str) and item.startswith(("ext://", "cfg://")) and "sys.std" not in item)
            ):
                raise ConfigError(f"{key}.{name}={checking.show(item)} is refused: a log setting may not name code")
            _refuse_factories(item, f"{key}.{name}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            _refuse_factories(item, f"{key}[{index}]")


def _flat_keys(node: Any, key: str) -> list[str]:
    keys = [key] if key else []
    if isinstance(node, dict):
        for name, item in node.items():
            keys.extend(_flat_keys(item, f"{key}.{name}" if key else str(name)))
    return keys


def _file_prefix(message: str) -> str:
    match = re.match(r"In '([^']+)': ", message)
    return f"in {match[1]}.yaml: " if match else ""


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else ""
