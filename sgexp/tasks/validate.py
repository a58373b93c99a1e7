"""``task=validate``: compose and check every file of the config folders, and say in a table which are wrong.

A file is right when it composes with the default experiment and passes the checks of every run, lists each field of its
schema (so that nothing can be set that a reader does not see), and explains itself: a first line, and a comment a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from rich.table import Table

from sgexp import config
from sgexp.composition import Composer, check_composed, without_hydra
from sgexp.config import Config
from sgexp.console import console
from sgexp.errors import ConfigError
from sgexp.schema import Component
from sgexp.usage import CONF_DIR, FOR_OTHERS, description

REQUIRED = "required"  # stands in for a value that only a person can give


@dataclass(frozen=True)
class FileReport:
    """What was found in one config file; no mistakes means that it is right."""

    path: Path  # relative to its config folder
    summary: str  # its first comment
    mistakes: tuple[str, ...]


def validate(config: Config) -> None:
    """Check all config files of the package and of ``--config-dir``, print a table, and raise if any is wrong."""
    folders = [*_folders_of_the_command_line(), CONF_DIR]
    reports = [report for folder in folders for report in check_folder(folder)]
    _print(reports)
    wrong = [report for report in reports if report.mistakes]
    if wrong:
        names = ", ".join(report.path.as_posix() for report in wrong)
        raise ConfigError(f"{len(wrong)} of {len(reports)} config files are wrong: {names}")
    console.print(f"{len(reports)} config files are right")


def check_folder(folder: Path) -> Iterator[FileReport]:
    """Check every YAML file of a config folder, as it composes together with the package's own."""
    composer = Composer(None if folder == CONF_DIR else folder)
    for path in sorted(folder.rglob("*.yaml")):
        yield check_file(path, folder, composer)


def check_file(path: Path, folder: Path, composer: Composer) -> FileReport:
    """Check one file of the config folder ``folder``, which ``composer`` composes from."""
    relative = path.relative_to(folder)
    return FileReport(relative, description(path), tuple(_mistakes(path, relative, composer)))


def _mistakes(path: Path, relative: Path, composer: Composer) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if not description(path):
        yield "its first line is no comment that says in a sentence what the file is for"
    try:
        root = yaml.compose(text)
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        yield f"line {mark.line + 1 if mark else '?'} is not valid YAML: {getattr(error, 'problem', error)}"
        return
    silent = list(keys_without_comment(root, text.splitlines()))
    if silent:
        yield f"no comment explains {', '.join(silent)}"
    group, choice = relative.parent.as_posix(), relative.stem
    if group in config.groups():
        left_out = fields_left_out(content, config.groups()[group], group)
        if left_out:
            yield f"it does not list {', '.join(left_out)}"
    if group == FOR_OTHERS:
        return
    try:
        _compose(group, choice, composer)
    except ConfigError as error:
        yield str(error)


def _compose(group: str, choice: str, composer: Composer) -> Config:
    """Compose the default experiment with this choice; values that only a person can give are filled in."""
    overrides = [] if group == "." else [f"{group}={choice}"]
    composer = composer if group != "." or choice == composer.config_name else Composer(None, choice)
    composed = composer.compose(overrides)
    missing = OmegaConf.missing_keys(without_hydra(composed))
    if not missing:
        return check_composed(composed)
    return composer.check([*overrides, *(f"{key}={REQUIRED}" for key in sorted(missing))])


def keys_without_comment(node: yaml.Node | None, lines: list[str], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys with a comment neither in the line above nor behind them (line 1 is the file's own)."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    for key_node, value_node in node.value:
        line = key_node.start_mark.line
        above = lines[line - 1].strip() if line >= 2 else ""
        if not above.startswith("#") and " #" not in lines[line]:
            yield prefix + key_node.value
        yield from keys_without_comment(value_node, lines, f"{prefix}{key_node.value}.")


def fields_left_out(content: dict[str, Any], schemas: tuple[type, ...], group: str) -> list[str]:
    """Return the fields of the schema that ``content`` selects but does not list; a nested group lists its own."""
    target = content.get("_target_")
    selected = [item for item in schemas if (item.target if issubclass(item, Component) else None) == target]
    if not selected:
        return []  # composing says so
    names = [field.name for field in fields(selected[0]) if field.init]
    return [name for name in names if name not in content and f"{group}/{name}" not in config.groups()]


def _folders_of_the_command_line() -> list[Path]:
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.provider == "command-line"]


def _print(reports: list[FileReport]) -> None:
    table = Table(title="Config files", title_justify="left", show_edge=False)
    table.add_column("file", no_wrap=True)
    table.add_column("what it says or what is wrong")
    for report in reports:
        said = f"[red]{'; '.join(report.mistakes)}[/red]" if report.mistakes else report.summary
        table.add_row(("[red]x[/red] " if report.mistakes else "[green]ok[/green] ") + report.path.as_posix(), said)
    console.print(table)
