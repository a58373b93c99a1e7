"""The whole question as one typed object: ``check`` makes it from what Hydra composed, and refuses what makes no sense.

Every room declares its own choices in its ``schema.py``; an installed package joins with an entry point of the group
``sgexp.schemas`` that names a module with a ``GROUPS`` of the same form. Nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from sgexp import checking
from sgexp.errors import ConfigError, did_you_mean
from sgexp.schema import Component, bounded, one_of

if TYPE_CHECKING:  # names for readers and mypy; what a node really is, its group's schemas decide
    from sgexp.data.schema import SizeConfig
    from sgexp.evaluation.schema import EvaluationConfig
    from sgexp.learning.schema import CallbacksConfig, TrainerConfig
    from sgexp.report.schema import ReportConfig
    from sgexp.search.schema import SearchConfig
    from sgexp.simulation.schema import SimulationConfig
    from sgexp.sweeps.schema import LauncherConfig

ROOMS = ("simulation", "data", "sampling", "evaluation", "loading", "learning", "report", "search", "sweeps", "tasks")
ENTRY_POINTS = "sgexp.schemas"


@dataclass(kw_only=True)
class Config:
    """One experiment, typed: a field a config group, and what belongs to no group."""

    task: Component
    size: SizeConfig
    dataset: Component
    split: Component
    transform: Component
    sampler: Component
    augment: Component
    mixing: Component
    model: Component
    head: Component
    auxiliary: Component
    loss: Component
    optimizer: Component
    stage: Component
    trainer: TrainerConfig
    logger: Component
    callbacks: CallbacksConfig
    evaluation: EvaluationConfig
    simulation: SimulationConfig
    report: ReportConfig
    launcher: LauncherConfig
    search: SearchConfig
    name: str = "default"  # a word for the run folder; null in a file: made from the choices on the command line
    seed: int = bounded(1, low=0, high=2**32 - 1)  # initialisation, draws and augmentation
    labels: int = one_of(230, 230, 219)  # space-group types, or affine ones: mirror images of each other are one class
    resume: str | None = None  # run folder to go on with, or "auto"
    run: str | None = None  # run folder to evaluate or to predict with
    input: str | None = None  # patterns to predict
    output_dir: str = "outputs"
    data_dir: str = "data"


PLAIN_FIELDS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "labels": int,
    "resume": str | None,
    "run": str | None,
    "input": str | None,
    "output_dir": str,
    "data_dir": str,
}
"""The fields of Config that are no config group, with their types."""


@functools.cache
def groups() -> dict[str, tuple[type, ...]]:
    """Return every config group with its schemas: those of the rooms, then those of installed plugins."""
    found: dict[str, tuple[type, ...]] = {}
    for room in ROOMS:
        for group, schemas in importlib.import_module(f"sgexp.{room}.schema").GROUPS.items():
            found[group] = found.get(group, ()) + tuple(schemas)
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        for group, schemas in _load_plugin(entry_point).items():
            if group not in found:
                raise ConfigError(
                    f"the plugin '{entry_point.name}' declares a choice of the group '{group}', which does not exist"
                    f"{did_you_mean(group, found)}"
                )
            found[group] += tuple(schemas)
    return found


def _load_plugin(entry_point: importlib.metadata.EntryPoint) -> Mapping[str, tuple[type, ...]]:
    try:
        return entry_point.load().GROUPS
    except Exception as error:  # a plugin may fail in any way; its name is what the reader needs
        raise ConfigError(
            f"the plugin '{entry_point.name}' ({entry_point.value}) cannot be loaded: {error!r}; mend or uninstall it"
        ) from error


def check(composed: DictConfig) -> Config:
    """Return the typed config, or raise a ConfigError that names the key, the value, and what would be right.

    ``composed`` is what Hydra composed, without its own node. Interpolations are resolved here.
    """
    plain = resolve(composed)
    for key in plain:
        if key not in _field_names():
            checking.refuse_reserved({key: plain[key]}, "")
            raise checking.unknown_key(str(key), known_keys(), groups())
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        if field.name not in plain:
            if field.name in PLAIN_FIELDS:
                continue
            raise ConfigError(f"the config group {field.name} is missing: give {field.name}=<choice> (see --help)")
        if field.name == "name" and plain["name"] is None:
            continue
        kind = PLAIN_FIELDS.get(field.name, Any)
        arguments[field.name] = checking.read(plain[field.name], kind, field.name, groups())
        checking.check_range(arguments[field.name], field.metadata, field.name)
    name = arguments.get("name", Config.name)
    if not re.fullmatch(r"[\w.+-]{1,80}", name, re.ASCII):
        raise ConfigError(
            f"name={name!r} cannot be part of a folder's name: use letters, digits, '.', '+', '-' and '_'"
        )
    config = Config(**arguments)
    refuse_contradictions(config)
    return config


def refuse_contradictions(config: Config) -> None:
    """Refuse choices of different groups that cannot be together, as far as that needs no data and no device."""
    said = None
    if simulates(config):
        said = checking.contradiction(config.simulation, "simulation") or _enlarged(config) or _no_element(config)
    if said is None and getattr(config.split, "validation", None) == 0 and config.callbacks.patience:
        said = (
            f"callbacks.patience={config.callbacks.patience} waits for validation to improve, but split.validation=0: "
            "keep some materials for validation, or set callbacks.patience=0"
        )
    if said is None and getattr(config.dataset, "keep", None) is not None:
        said = _no_stream(config)
    if said is None and getattr(config.stage, "start", None) is not None:
        said = _no_second_stage(config)
    if said is None and (show := getattr(config.augment, "show", "all")) != "all":
        said = _not_by_itself(config, show)
    if said is None and getattr(config.auxiliary, "lengths", None) is not None:
        said = _no_auxiliary(config)
    if said is None and getattr(config.sampler, "simulates_crystals", False):
        said = _no_new_crystals(config)
    if said is not None:
        raise ConfigError(said)


def _no_new_crystals(config: Config) -> str | None:
    sampler: Any = config.sampler
    if not config.dataset.simulates:
        return (
            "sampler=physical makes new crystals from those of the data set, and files of patterns do not say where "
            "the atoms are: choose dataset=crystals or dataset=cbed230, or sampler=smote"
        )
    if getattr(config.dataset, "keep", None) is not None:
        return "sampler=physical and dataset=stream both make new crystals: choose dataset=crystals, or sampler=none"
    if config.trainer.overfit_batches:
        return "trainer.overfit_batches needs no new crystals: choose sampler=none"
    if getattr(config.simulation, "target", "").endswith("blind.zones"):
        neutral = {"zones": 3, "thickness": [1.0, 1.0], "rotate": False}
        for name, value in neutral.items():
            if getattr(sampler, name) != value:
                return f"simulation=blind draws its own {name} for every sample: leave sampler.{name} out"
    if config.simulation.uvw is not None and sampler.zones > 3:
        return "simulation.uvw says along which zones, and sampler.zones asks for others: leave one of them out"
    return None


def _no_auxiliary(config: Config) -> str | None:
    if config.trainer.strategy == "fsdp":
        return "auxiliary=cell keeps its layer whole, which trainer.strategy=fsdp cannot: take ddp, or auxiliary=none"
    lengths = getattr(config.auxiliary, "lengths", 0)
    if lengths and getattr(config.dataset, "substitute", 0):
        return (
            f"auxiliary.lengths={lengths:g} needs to know each cell, and dataset=stream makes crystals with others by "
            "substitution: set auxiliary.lengths=0, or dataset.substitute=0"
        )
    return None


def _no_stream(config: Config) -> str | None:
    device = getattr(config.simulation.engine, "device", "cpu")
    if device != "cpu" and config.trainer.workers:
        return (
            f"simulation.engine.device={device}, but dataset=stream simulates in trainer.workers="
            f"{config.trainer.workers} loading processes, which cannot use a GPU: set simulation.engine.device=cpu, or "
            "trainer.workers=0 to simulate on the GPU in the training process"
        )
    if config.trainer.overfit_batches:
        return (
            "trainer.overfit_batches trains and validates on the same patterns, and dataset=stream makes new ones: "
            "choose dataset=crystals"
        )
    return None


def _no_second_stage(config: Config) -> str | None:
    if config.trainer.epochs < 2:
        return "trainer.epochs=1 has no room for two stages: train for more epochs, or choose stage=none"
    if config.callbacks.patience:
        return (
            f"callbacks.patience={config.callbacks.patience} may end the training before its second stage begins: set "
            "callbacks.patience=0, or choose stage=none"
        )
    return None


def _not_by_itself(config: Config, show: str) -> str | None:
    if getattr(config.model, "patterns", "shared") != "stacked":
        return None
    return (
        f"augment.show={show} trains on patterns by themselves, but model.patterns=stacked looks at all of a stack at "
        "once: set model.patterns=shared, or augment.show=all"
    )


def simulates(config: Config) -> bool:
    """Say whether patterns are to be simulated, so that the simulation's settings have a meaning."""
    return config.task.simulates or config.dataset.simulates


def _no_element(config: Config) -> str | None:
    named = config.simulation.element_displacement
    if not named:
        return None
    from sgexp.crystallography.elements import ATOMIC_NUMBERS

    for symbol in named:
        if symbol not in ATOMIC_NUMBERS:
            what = f"simulation.element_displacement names '{symbol}', which is no symbol of an element"
            return what + did_you_mean(symbol, ATOMIC_NUMBERS)
    return None


def _enlarged(config: Config) -> str | None:
    pixels, stored = getattr(config.transform, "pixels", 0), config.simulation.pixels
    if pixels <= stored:
        return None
    return (
        f"transform.pixels={pixels} is more than simulation.pixels={stored}: patterns cannot be enlarged; set "
        f"size.train_pixels to {stored} or less"
    )


def known_keys() -> list[str]:
    """Return every dotted key that a config may hold, given the schemas of all choices."""
    keys: list[str] = []
    for name in _field_names():
        keys.append(name)
        for schema in groups().get(name, ()):
            keys.extend(checking.known_keys(schema, name, groups()))
    return list(dict.fromkeys(keys))


def resolve(composed: DictConfig) -> dict[str, Any]:
    """Return ``composed`` as plain values with its interpolations filled in; only harmless ones are evaluated."""
    refuse_resolvers(OmegaConf.to_container(composed, resolve=False), "")
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} has no value: give {error.full_key}=<value>") from error
    except (InterpolationKeyError, InterpolationToMissingValueError) as error:
        wanted = re.search(r"'([^']+)'", _first_line(error))
        near = did_you_mean(wanted[1], known_keys()) if wanted else ""
        raise ConfigError(f"{error.full_key} refers to what is not there: {_first_line(error)}{near}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'the config'} cannot be resolved: {_first_line(error)}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def refuse_resolvers(value: Any, key: str, allowed: frozenset[str] = frozenset()) -> None:
    """Refuse interpolations that compute: all but ``${oc.env:SGEXP_...}`` and the resolvers named in ``allowed``."""
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_resolvers(item, f"{key}.{name}" if key else str(name), allowed)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            refuse_resolvers(item, f"{key}[{index}]", allowed)
    elif isinstance(value, str) and "${" in value:
        for resolver, first_argument in _resolvers_in(value, key):
            own_variable = re.fullmatch(r"SGEXP_\w+", first_argument) is not None
            if not (resolver in allowed or (resolver == "oc.env" and own_variable)):
                raise ConfigError(
                    f"{key}={checking.show(value)} is refused: only other keys and ${{oc.env:SGEXP_...}} may be read"
                )


def _resolvers_in(text: str, key: str) -> Iterator[tuple[str, str]]:
    """Yield (name, first argument) of every resolver call in ``text``, nested ones too."""
    from omegaconf import grammar_parser

    try:
        stack: list[Any] = [grammar_parser.parse(text)]
    except GrammarParseError as error:
        raise ConfigError(f"{key}={checking.show(text)} is no valid interpolation: {_first_line(error)}") from error
    while stack:
        node = stack.pop()
        if type(node).__name__ == "InterpolationResolverContext":
            arguments = node.sequence()
            yield node.resolverName().getText(), arguments.getText().partition(",")[0].strip() if arguments else ""
        stack.extend(getattr(node, "children", None) or [])


def _field_names() -> list[str]:
    return [field.name for field in dataclasses.fields(Config)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].strip() if str(error).strip() else type(error).__name__
