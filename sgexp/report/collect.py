"""Find run folders and read their result.json, and nothing else: what cannot be read is left out, with the reason.

Folders may come from anywhere, so a record is believed in nothing: each value has the type that it must have, or the
whole folder is left out.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgexp.errors import ConfigError, UserError
from sgexp.runs import RunResult, as_first_said

RESULT = "result.json"
MOST_SECONDS = 1e9  # some thirty years: no run took longer, and a time in words cannot be far longer
MOST_BYTES = 4_000_000  # a result.json is some 20 kB; what is far larger was not written by sgexp
NOT_RUNS = ("report", "sweeps")  # what else lies in output_dir
ENDS = ("value", "low", "high")
STATUSES = ("finished", "running", "interrupted", "failed")

Figure = tuple[float, float | None, float | None]
"""A figure and the ends of its interval, where it has one."""


@dataclass(frozen=True)
class Run:
    """What a leaderboard needs of one run, all of it from result.json.

    ``metrics``: part -> name -> figure; ``baselines``: name -> part -> name -> figure; ``counts``: part -> noun
    (samples, materials, families, classes) -> number. ``config``: dotted key -> value of the experiment, without its
    seed (empty in runs of versions that did not record it); ``experiment``: a hash that its seeds share; ``choices``:
    config group -> the choice made of it. ``auxiliary``: "metrics" (what the run answered beside the space group) and
    "constant" (what one answer for all would give) -> part -> name -> figure; empty where nothing was asked.
    """

    folder: Path
    name: str
    task: str
    status: str
    seed: int | None
    config_hash: str
    config: dict[str, Any]
    experiment: str
    choices: dict[str, str]
    fingerprint: str
    split: str
    split_digest: str
    leaky: bool
    stamps: tuple[str, ...]
    notes: tuple[str, ...]
    metrics: dict[str, dict[str, Figure]]
    baselines: dict[str, dict[str, dict[str, Figure]]]
    counts: dict[str, dict[str, int]]
    started: str
    seconds: float | None
    memory_mb: float | None
    error: str
    auxiliary: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)

    @property
    def page(self) -> str:
        """The name of the run's own page: readable, and no other run's even where folders share a name."""
        readable = re.sub(r"[^A-Za-z0-9._+=-]+", "-", self.folder.name).strip("-.")[:80] or "run"
        return f"{readable}-{_hash(str(self.folder.resolve()))[:6]}"

    def choice(self, group: str) -> str:
        """Return what was chosen of a config group, as it is typed; else what the choice builds, else a dash."""
        return self.choices.get(group) or str(self.config.get(group, "-"))

    @property
    def trained(self) -> bool:
        """Whether the run trained its network, and did not judge that of another run again."""
        return self.task == "train"

    def figure(self, part: str, name: str) -> Figure | None:
        """Return a figure of a test set, if the run has it."""
        return self.metrics.get(part, {}).get(name)


@dataclass
class Collection:
    """The runs that were found, and the folders that were left out: (folder, reason)."""

    runs: list[Run] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def collect(folders: Sequence[Path], progress: Callable[[int], None] | None = None) -> Collection:
    """Read every folder; ``progress`` is told how many are done."""
    found = Collection()
    for number, folder in enumerate(folders, start=1):
        try:
            found.runs.append(read_run(folder))
        except UserError as error:
            found.left_out.append((folder, str(error)))
        if progress is not None:
            progress(number)
    return found


def find_folders(
    runs: Sequence[str] | None, output_dir: Path, own: Path | None = None, key: str = "report.runs"
) -> list[Path]:
    """Return the folders to read: at or below ``runs`` (patterns too), else below ``output_dir``; never ``own``.

    A link that is named is followed; one that a pattern matches, or that lies in a folder, is not.
    """
    kept_out = set() if own is None else {own.resolve()}
    if runs is None:
        if not output_dir.is_dir():
            raise ConfigError(f"output_dir={output_dir}: there is no such folder, so there are no runs to show")
        apart = {*kept_out, *((output_dir / name).resolve() for name in NOT_RUNS)}
        return list(dict.fromkeys(_below(output_dir, apart)))
    found: list[Path] = []
    for text in runs:
        folders = [Path(text)] if Path(text).is_dir() else [path for path in _matching(text) if path.is_dir()]
        if not folders:
            raise ConfigError(f"{key}: {text} names no folder")
        for folder in folders:
            found.extend(_below(folder, kept_out | {(folder / name).resolve() for name in NOT_RUNS}))
    return list({path.resolve(): path for path in found}.values())


def _matching(pattern: str) -> Iterator[Path]:
    """Yield what a pattern matches, in order, without what lies behind a link that the pattern does not name."""
    named = list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    for text in sorted(glob.glob(pattern, recursive=True)):
        path = Path(text)
        found = [path, *path.parents][: len(path.parts) - len(named)]
        if not any(step.is_symlink() for step in found):
            yield path


def _below(folder: Path, apart: set[Path]) -> Iterator[Path]:
    """Yield the run folders at or below ``folder``, and the highest folders that hold files but no run."""
    if folder.resolve() in apart:
        return
    if (folder / RESULT).exists():
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
        files = [entry for entry in entries if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")]
    except OSError:
        yield folder
        return
    below = [path for entry in inner for path in _below(Path(entry.path), apart)]
    foreign = not any((path / RESULT).exists() for path in below)
    if files and foreign:
        yield folder
    else:
        yield from below


def read_run(folder: Path) -> Run:
    """Read a folder's result.json, or raise a UserError that says why it is no run to show."""
    path = folder / RESULT
    try:
        if path.exists() and not path.is_file():
            raise UserError("its result.json is no file")
        if path.exists() and path.stat().st_size > MOST_BYTES:
            raise UserError(f"its result.json has {path.stat().st_size / 1e6:.0f} MB: sgexp did not write it")
        result = RunResult.read(folder)
        return _run(folder, result.status, result.record)
    except UserError as error:
        raise UserError(_without_path(str(error), folder)) from None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, AttributeError, OSError) as error:
        raise UserError(f"its result.json cannot be read ({type(error).__name__})") from None


def _without_path(reason: str, folder: Path) -> str:
    """Return a reason without the folder's path, which stands beside it."""
    return reason.replace(f"{folder}/{RESULT}", "result.json").removeprefix(f"{folder} is no run folder: ")


def _run(folder: Path, status: str, record: Mapping[str, Any]) -> Run:
    if status not in STATUSES:
        raise UserError("its status is none that sgexp writes")
    split, seed = _mapping(record.get("split", {}), "split"), record.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UserError("its seed is no whole number")
    metrics = _figures_by_part(record.get("metrics", {}), "metrics")
    if status == "finished" and not metrics:
        raise UserError("it is finished, but has no figures: another task, or a run without test samples")
    asked = _mapping(record.get("config", {}), "config")
    config = as_first_said({key: item for key, item in asked.items() if key != "seed"})
    return Run(
        folder=folder,
        name=_text(record.get("name", ""), "name") or folder.name,
        task=_text(record.get("task", "train"), "task"),
        status=status,
        seed=seed,
        config_hash=_text(record.get("config_hash", ""), "config_hash"),
        config=flat(config),
        experiment=_hash(json.dumps(config, sort_keys=True) if config else str(folder.resolve())),
        choices={
            group: _text(choice, f"choices.{group}")
            for group, choice in _mapping(record.get("choices", {}), "choices").items()
        },
        fingerprint=_text(record.get("data_fingerprint", ""), "data_fingerprint"),
        split=_text(split.get("name", ""), "split.name"),
        split_digest=_text(split.get("digest", ""), "split.digest"),
        leaky=bool(split.get("leaky", False)),
        stamps=_texts(record.get("stamps", []), "stamps"),
        notes=_texts(record.get("notes", []), "notes"),
        metrics=metrics,
        baselines={
            name: _figures_by_part(item, f"baselines.{name}")
            for name, item in _mapping(record.get("baselines", {}), "baselines").items()
        },
        counts={
            part: {noun: int(number) for noun, number in _mapping(item, f"counts.{part}").items()}
            for part, item in _mapping(record.get("counts", {}), "counts").items()
        },
        started=_text(record.get("started", ""), "started"),
        seconds=_seconds(record.get("wall_seconds"), "wall_seconds"),
        memory_mb=_number(record.get("peak_memory_mb"), "peak_memory_mb"),
        error=_text(record.get("error", ""), "error") or _pruned(record),
        auxiliary=_auxiliary(record.get("auxiliary")),
    )


def _auxiliary(value: Any) -> dict[str, dict[str, dict[str, Figure]]]:
    if value is None:
        return {}
    told = _mapping(value, "auxiliary")
    return {key: _figures_by_part(told.get(key, {}), f"auxiliary.{key}") for key in ("metrics", "constant")}


def _pruned(record: Mapping[str, Any]) -> str:
    said = _text(record.get("pruned", ""), "pruned")
    return f"ended early {said}" if said else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> plain value; what a group builds stands under the group's own name (its ``_target_``)."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = prefix.rstrip(".") if key == "_target_" else f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        else:
            shown = str(value).rpartition(".")[2] if key == "_target_" else value
            found[name] = shown if isinstance(shown, (str, int, float, bool, type(None))) else json.dumps(shown)
    return found


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"its {key} is no mapping")
    return value


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"its {key} is no text")
    return value[:2000]


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserError(f"its {key} is no list")
    return tuple(_text(item, key) for item in value[:1000])


def _number(value: Any, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"its {key} is no number")
    number = float(value)
    return number if abs(number) < 1e15 else None  # also NaN


def _seconds(value: Any, key: str) -> float | None:
    number = _number(value, key)
    return number if number is not None and 0 <= number <= MOST_SECONDS else None


def _figures_by_part(value: Any, key: str) -> dict[str, dict[str, Figure]]:
    found: dict[str, dict[str, Figure]] = {}
    for part, figures in _mapping(value, key).items():
        found[part] = {}
        for name, item in _mapping(figures, f"{key}.{part}").items():
            told = _mapping(item, f"{key}.{part}.{name}")
            number, low, high = (_number(told.get(end), f"{key}.{part}.{name}.{end}") for end in ENDS)
            if number is not None:
                found[part][name] = (number, low, high)
    return found
