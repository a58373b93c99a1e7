"""The words in which every room's ``schema.py`` declares its knobs: a dataclass a choice, a range beside each field.

A *component* is a choice of a config group that something is built from. Its schema names what it builds in the class
variable ``target``; a config file only *selects* a schema by that name, so a config from a stranger can build nothing
that is not declared in a schema of sgexp or of an installed plugin.

A schema whose fields can contradict one another has a method ``contradiction(key) -> str | None``: one sentence on what
cannot be, or None. ``key`` is where the schema stands in the config, for the sentence.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

MISSING: Any = "???"  # OmegaConf's mark of a value that a person must give


def bounded(default: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare a number (or a list of them) with ``low <= value <= high``; ``None`` is always allowed."""
    metadata = {"low": low, "high": high}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def one_of(default: Any, *choices: Any) -> Any:
    """Declare a value that must be one of ``choices``."""
    return dataclasses.field(default=default, metadata={"choices": choices})


@dataclass(kw_only=True)
class Component:
    """A choice of a config group that builds an object: ``target`` is its dotted path, the fields its arguments."""

    target: ClassVar[str]
    treats_imbalance: ClassVar[bool] = False  # a sampler or loss that makes rare classes count for more
    simulates: ClassVar[bool] = False  # a data set or task whose patterns the settings of the simulation make
    shares_work: ClassVar[bool] = False  # a task that several processes do together, on several nodes

    def arguments(self) -> dict[str, Any]:
        """Return the fields as keyword arguments (shallow: nested schemas stay objects)."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def build(component: Component, **context: Any) -> Any:
    """Import ``component.target`` and call it with the component's fields and what the program adds (``context``)."""
    module, _, name = type(component).target.rpartition(".")
    return getattr(importlib.import_module(module), name)(**component.arguments(), **context)


def plain(value: Any) -> Any:
    """Return a checked config as nested plain values, as in its YAML: a component's target under ``_target_``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"_target_": type(value).target} if isinstance(value, Component) else {}
        return head | {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
