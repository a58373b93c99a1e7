"""Which runs are seeds of one treatment, and how the treatments are called: from what result.json says of each run."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sgexp.runs import RunResult, as_first_said

_NOT_THE_TREATMENT = ("seed", "evaluation")  # figures are computed anew


def by_treatment(runs: Sequence[RunResult]) -> tuple[dict[str, list[RunResult]], tuple[str, ...]]:
    """Return name -> its runs, one a seed in the order of seeds, and notes.

    Runs are of one treatment if their configs differ in nothing but the seed; what a later version has added and leaves
    as it was is no difference. Of two runs with one seed the later counts: it is the same training again, and would
    pass for a second seed that agrees miraculously well.
    """
    together: dict[str, list[RunResult]] = defaultdict(list)
    for run in runs:
        together[json.dumps(_treatment(run), sort_keys=True, default=str)].append(run)
    groups, repeated = [], 0
    for same in together.values():
        latest = {str(run.record.get("seed")): run for run in sorted(same, key=_start)}
        repeated += len(same) - len(latest)
        groups.append(sorted(latest.values(), key=lambda run: str(run.record.get("seed")).zfill(10)))
    notes = (f"{repeated} runs repeat a seed: of those only the latest counts",) if repeated else ()
    return dict(zip(_names(groups), groups, strict=True)), notes


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each config the dotted keys in which not all configs agree, with its values (absent keys left out)."""
    flat = [dict(_leaves(config, "")) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    differing = [key for key in keys if len({json.dumps(one.get(key, "???"), default=str) for one in flat}) > 1]
    return [{key: one[key] for key in differing if key in one} for one in flat]


def _treatment(run: RunResult) -> dict[str, Any]:
    """Return what was asked of a run, less its seed; of a run that does not say, something that no other run shares."""
    config = run.record.get("config")
    if not isinstance(config, Mapping):
        return {"config_hash": run.record.get("config_hash"), "folder": str(run.folder)}
    return as_first_said({key: value for key, value in config.items() if key not in _NOT_THE_TREATMENT})


def _start(run: RunResult) -> tuple[str, str]:
    return str(run.record.get("started", "")), run.folder.name


def _names(groups: Sequence[Sequence[RunResult]]) -> list[str]:
    """Return a name for each treatment: the runs' own where no other treatment has it, else with what differs."""
    own = [str(runs[-1].record.get("name") or runs[-1].folder.name) for runs in groups]
    taken = Counter(own)
    if len(taken) == len(own):
        return own
    told = differences([_treatment(runs[0]) for runs in groups])
    names = [name if taken[name] == 1 else _described(name, keys) for name, keys in zip(own, told, strict=True)]
    again = Counter(names)
    return [
        name if again[name] == 1 else f"{name} ({runs[-1].folder.name})"
        for name, runs in zip(names, groups, strict=True)
    ]


def _described(name: str, keys: Mapping[str, Any]) -> str:
    words = []
    for key, value in keys.items():
        group, _, leaf = key.rpartition(".")
        words.append(f"{group}={str(value).rpartition('.')[2]}" if leaf == "_target_" else f"{key}={value}")
    return f"{name} ({', '.join(words)})"[:120] if words else name


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
