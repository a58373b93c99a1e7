"""A trial as an experiment file, which ``--config-dir ... experiment=best_trial`` takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override, OverrideType

from sgexp.runs import write_text

FOLDER = "conf"  # below the search's own: the folder for --config-dir
NAME = "best_trial"  # not "best": the package has an experiment of that name


def text_of_file(
    title: Sequence[str], overrides: Sequence[Override], groups: Collection[str], why: Mapping[str, str]
) -> str:
    """Return an experiment file that makes the choices of ``overrides``, each explained.

    ``title``: lines of comment, the first one for ``--help``; ``groups``: all config groups; ``why``: key -> where its
    value comes from.
    """
    chosen: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for item in overrides:
        key = item.key_or_group
        if item.type == OverrideType.DEL:
            raise ValueError(f"{item.input_line} takes something away")
        if key in groups or key == "experiment":
            chosen[key] = item.value()
        else:
            values[key] = item.value()
    lines = ["# @package _global_", *(f"# {_one_line(line)}" for line in title), ""]
    if chosen:
        lines += ["# What is chosen.", "defaults:"]
        for group, choice in chosen.items():
            lines.append(f"  # {_one_line(why.get(group, 'Given for all trials.'))}")
            lines.append(f"  - {'' if group == 'experiment' else 'override /'}{group}: {_scalar(choice)}")
        if "experiment" in chosen:
            lines = [line.replace("  - experiment: ", "  - /experiment/") for line in lines]
        lines.append("")
    tree: dict[str, Any] = {}
    for key, value in values.items():
        _set(tree, key.split("."), (value, why.get(key, "Given for all trials.")))
    lines += _branch(tree, 0)
    return "\n".join(lines).rstrip() + "\n"


def write(folder: Path, name: str, text: str) -> Path:
    """Write an experiment file below the search's folder."""
    path = folder / FOLDER / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _set(tree: dict[str, Any], path: Sequence[str], leaf: tuple[Any, str]) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = leaf


def _branch(tree: Mapping[str, Any], depth: int) -> list[str]:
    lines, space = [], "  " * depth
    for key, item in tree.items():
        if isinstance(item, dict):
            lines += [f"{space}# Settings of {key}.", f"{space}{_scalar(key)}:", *_branch(item, depth + 1)]
        else:
            value, why = item
            lines += [f"{space}# {_one_line(why)}", f"{space}{_scalar(key)}: {_scalar(value)}"]
    return lines


def _scalar(value: Any) -> str:
    """Return a value as YAML on one line."""
    told = getattr(value, "text", value)  # Hydra's quoted texts
    return yaml.safe_dump(_plain(told), default_flow_style=True, width=10_000).removesuffix("\n...\n").rstrip("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return getattr(value, "text", value)


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
