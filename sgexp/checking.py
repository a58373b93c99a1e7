"""From plain config values to typed objects: types, ranges and names are checked, and nothing is imported or run.

Two doors for a config from a stranger are closed here: a ``_target_`` only selects a declared schema, and of the
interpolations that compute something only ``${oc.env:SGEXP_...}`` is let through.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from sgexp.errors import ConfigError, did_you_mean
from sgexp.schema import Component

Groups = Mapping[str, tuple[type, ...]]

_JUDGED_LATER = frozenset({"simulation"})  # means nothing to a run that simulates nothing: judged with the whole config

KIND_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def read(value: Any, kind: Any, key: str, groups: Groups) -> Any:
    """Return ``value`` as ``kind`` (a type hint or a schema; a group's key is read by its schemas), or refuse it.

    ``key`` is the full dotted name, for the error's sentence; ``groups`` maps config groups to their schemas.
    """
    group = key.replace(".", "/")
    if group in groups:
        return read_choice(value, group, key, groups)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return read_fields(value, kind, key, groups)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(value, kind, key, groups)
    if origin is list or kind is list:
        return _read_list(value, kind, key, groups)
    if origin is dict or kind is dict:
        return _read_dict(value, kind, key, groups)
    if kind is Any or kind is object:
        refuse_reserved(value, key)
        return value
    return _read_scalar(value, kind, key)


def read_choice(value: Any, group: str, key: str, groups: Groups) -> Any:
    """Read the node of a config group: its ``_target_`` (if its schemas have one) selects the schema."""
    schemas = groups[group]
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{key}={show(value)} is not a choice of the group {group}: give {group}=<choice> (see --help)"
        )
    by_target = {schema.target: schema for schema in schemas if issubclass(schema, Component)}
    plain = [schema for schema in schemas if not issubclass(schema, Component)]
    target = value.get("_target_")
    if target is None:
        if len(plain) == 1:
            return read_fields(value, plain[0], key, groups)
        raise ConfigError(f"{key}._target_ is missing: it must be one of {', '.join(by_target)}")
    if target not in by_target:
        known = f"it must be one of {', '.join(by_target)}" if by_target else f"the group {group} takes none"
        raise ConfigError(f"{key}._target_={show(target)} is refused: {known}{did_you_mean(str(target), by_target)}")
    rest = {name: item for name, item in value.items() if name != "_target_"}
    return read_fields(rest, by_target[target], key, groups)


def read_fields(value: Any, schema: type, key: str, groups: Groups) -> Any:
    """Read a mapping as the dataclass ``schema``: every key known, every value of its type and in its range."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}={show(value)} must be a mapping with the keys {', '.join(_names(schema))}")
    hints = typing.get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
    for name in value:
        if name not in fields:
            refuse_reserved({name: value[name]}, key)
            raise unknown_key(_join(key, str(name)), known_keys(schema, key, groups), groups)
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        full_key = _join(key, name)
        if name in value:
            arguments[name] = read(value[name], hints[name], full_key, groups)
            check_range(arguments[name], field.metadata, full_key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{full_key} is missing: give {full_key}=<value>")
    given = {name: item for name, item in arguments.items() if not _is_mark_of_missing(item)}
    missing = [name for name in fields if _is_mark_of_missing(arguments.get(name, fields[name].default))]
    if missing:
        raise ConfigError(f"{_join(key, missing[0])} has no value: give {_join(key, missing[0])}=<value>")
    made = schema(**given)
    if key not in _JUDGED_LATER and (said := contradiction(made, key)) is not None:
        raise ConfigError(said)
    return made


def contradiction(made: Any, key: str) -> str | None:
    """Return what a schema's own check has to say of its fields, or None."""
    own_check = getattr(made, "contradiction", None)
    return None if own_check is None else own_check(key)


def check_range(value: Any, metadata: Mapping[str, Any], key: str) -> None:
    """Refuse a value (or an item of a list or dict) outside ``low..high`` or not among ``choices``."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_range(item, metadata, f"{key}[{index}]")
        return
    if isinstance(value, dict):
        for name, item in value.items():
            check_range(item, metadata, f"{key}.{name}")
        return
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        listed = ", ".join(show(choice) for choice in choices)
        near = did_you_mean(str(value), [str(choice) for choice in choices])
        raise ConfigError(f"{key}={show(value)} is not one of {listed}{near}")
    if value is None or isinstance(value, (str, bool)):
        return
    low, high = metadata.get("low"), metadata.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{key}={show(value)} is out of range: it must be {_range_text(low, high)}")


def refuse_reserved(value: Any, key: str) -> None:
    """Refuse every name of the form ``_x_`` below ``key``: those are instructions to Hydra, not values."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(name, str) and name.startswith("_") and name.endswith("_"):
                raise ConfigError(
                    f"{_join(key, name)} is refused: a config group's own '_target_' is the only name of that form"
                )
            refuse_reserved(item, _join(key, str(name)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            refuse_reserved(item, f"{key}[{index}]")


def unknown_key(key: str, known: list[str], groups: Groups) -> ConfigError:
    """Return the error for a key that is not among ``known``, with the nearest one: a neighbour, else any."""
    parent, _, leaf = key.rpartition(".")
    if any(leaf in _names(schema) for schema in groups.get(parent.replace(".", "/"), ())):
        return ConfigError(f"the choice made of {parent} has no key '{key}', others have: give {parent}=<choice>")
    known = [name for name in dict.fromkeys(known) if not name.endswith("._target_")]
    neighbours = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    nearest = (
        [neighbours[name] for name in difflib.get_close_matches(leaf, neighbours, n=1, cutoff=0.75)]
        or same_leaf
        or [neighbours[name] for name in difflib.get_close_matches(leaf, neighbours, n=1, cutoff=0.5)]
        or [name for name in neighbours.values() if name.rpartition(".")[2].startswith(leaf)]
    )
    if nearest:
        return ConfigError(f"there is no key '{key}'; did you mean '{nearest[0]}'?")
    listed = f"; known are {', '.join(neighbours.values())}" if neighbours else did_you_mean(key, known)
    return ConfigError(f"there is no key '{key}'{listed}")


def known_keys(schema: type, key: str, groups: Groups) -> list[str]:
    """Return every dotted key that ``schema``, read at ``key``, and the schemas below it accept."""
    return list(_walk_keys(schema, key, groups))


def _walk_keys(schema: type, key: str, groups: Groups) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for name in _names(schema):
        full_key = _join(key, name)
        yield full_key
        kinds: tuple[type, ...] = groups.get(full_key.replace(".", "/"), ())
        if not kinds:
            options = typing.get_args(hints[name]) or (hints[name],)
            kinds = tuple(kind for kind in options if isinstance(kind, type) and dataclasses.is_dataclass(kind))
        for kind in kinds:
            yield from _walk_keys(kind, full_key, groups)


def show(value: Any) -> str:
    """Return ``value`` as it is written in a config, cut to a readable length."""
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if value is None or value is True or value is False
        else None
    )
    text = text if text is not None else (repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= 80 else text[:77] + "..."


def _read_union(value: Any, kind: Any, key: str, groups: Groups) -> Any:
    members = typing.get_args(kind)
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    for member in members:
        try:
            return read(value, member, key, groups)
        except ConfigError:
            if member is members[-1]:
                raise
    raise ConfigError(f"{key}={show(value)} has no valid type")


def _read_list(value: Any, kind: Any, key: str, groups: Groups) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{key}={show(value)} must be a list, such as {key}=[...]")
    (item_kind,) = typing.get_args(kind) or (Any,)
    return [read(item, item_kind, f"{key}[{index}]", groups) for index, item in enumerate(value)]


def _read_dict(value: Any, kind: Any, key: str, groups: Groups) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}={show(value)} must be a mapping, such as {key}={{name: value}}")
    key_kind, item_kind = typing.get_args(kind) or (str, Any)
    refuse_reserved(value, key)
    return {
        read(name, key_kind, f"a name in {key}", groups): read(item, item_kind, f"{key}.{name}", groups)
        for name, item in value.items()
    }


def _read_scalar(value: Any, kind: Any, key: str) -> Any:
    """Read a number, a text or a truth value. Numbers written as text (from the environment) count as numbers."""
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, (str, int, float)):
        return value if isinstance(value, str) else show(value)
    if kind in (int, float) and not isinstance(value, bool) and isinstance(value, (int, float, str)):
        try:
            number = kind(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if kind is int and isinstance(number, int):
            return number
        if kind is float and number is not None and not math.isnan(number):
            return float(number)
    raise ConfigError(f"{key}={show(value)} has the wrong type: it must be {KIND_NAMES.get(kind, kind)}")


def _names(schema: type) -> list[str]:
    return [field.name for field in dataclasses.fields(schema) if field.init]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _is_mark_of_missing(value: Any) -> bool:
    return isinstance(value, str) and value == "???"


def _range_text(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"between {low} and {high}"
    return f"at least {low}" if low is not None else f"at most {high}"
