"""How many draws a class should have: majority, sqrt, median, cap and table, for adding and for removing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sgexp.errors import ConfigError
from sgexp.sampling.rare import listed


def class_counts(labels_N: np.ndarray) -> dict[int, int]:
    """Return label -> number of samples, labels ascending."""
    groups, counts = np.unique(labels_N, return_counts=True)
    return dict(zip(groups.tolist(), counts.tolist(), strict=True))


def counts_to_add(
    counts: Mapping[int, int], balance: str, cap: int, table: Mapping[int, int]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return label -> samples to add (classes with none left out) and notes, for a sampler that only adds.

    With n_c samples in class c and n_max in the largest, class c is raised (never lowered) to

    - ``majority``: n_max;
    - ``sqrt``: round(sqrt(n_c n_max)), half the way on a log scale;
    - ``median``: the median of the n_c;
    - ``cap``: min(n_max, cap);
    - ``table``: table[c]; a class that is not in the table stays as it is.
    """
    largest = max(counts.values())
    half_way = {group: round(math.sqrt(n * largest)) for group, n in counts.items()}
    same = {"majority": largest, "median": _median(counts), "cap": min(largest, cap)}
    wanted, notes = _wanted(counts, balance, half_way, same, table)
    low = [group for group in wanted if balance == "table" and wanted[group] < counts[group]]
    if low:
        raise _refused(low[0], wanted, counts, "adds: ask for at least as many, or use sampler=random_under")
    return {group: n - counts[group] for group, n in wanted.items() if n > counts[group]}, notes


def counts_to_keep(
    counts: Mapping[int, int], balance: str, cap: int, table: Mapping[int, int]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return label -> samples to keep (classes that keep all left out) and notes, for a sampler that only removes.

    Class c is lowered (never raised, never emptied) to ``minority``: n_min, the smallest class; ``sqrt``:
    round(sqrt(n_c n_min)); ``median``: the median of the n_c; ``cap``: cap; ``table``: table[c].
    """
    smallest = min(counts.values())
    half_way = {group: round(math.sqrt(n * smallest)) for group, n in counts.items()}
    same = {"minority": smallest, "median": max(1, _median(counts)), "cap": cap}
    wanted, notes = _wanted(counts, balance, half_way, same, table)
    high = [group for group in wanted if balance == "table" and wanted[group] > counts[group]]
    if high:
        raise _refused(high[0], wanted, counts, "removes: ask for at most as many, or use sampler=random_over")
    return {group: n for group, n in wanted.items() if n < counts[group]}, notes


def common_count(
    counts: Mapping[int, int], balance: str, cap: int, table: Mapping[int, int]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return label -> draws and notes, for a sampler that both adds and removes: one count for all classes.

    ``mean`` or ``median`` of the n_c, ``cap``: cap; ``table``: table[c], and a class that is not in it stays.
    """
    mean = max(1, round(sum(counts.values()) / len(counts)))
    return _wanted(counts, balance, {}, {"mean": mean, "median": max(1, _median(counts)), "cap": cap}, table)


def _median(counts: Mapping[int, int]) -> int:
    return round(float(np.median(list(counts.values()))))


def _wanted(
    counts: Mapping[int, int], balance: str, half_way: dict[int, int], same: Mapping[str, int], table: Mapping[int, int]
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return label -> draws as ``balance`` asks, the ones of ``same`` being equal for all classes, and notes."""
    if balance == "table":
        return _from_table(counts, table)
    return half_way if balance == "sqrt" else dict.fromkeys(counts, same[balance]), ()


def _refused(group: int, wanted: Mapping[int, int], counts: Mapping[int, int], only: str) -> ConfigError:
    return ConfigError(
        f"sampler.table asks for {wanted[group]} draws of group {group}, which has {counts[group]} training samples; "
        f"this sampler only {only}"
    )


def _from_table(counts: Mapping[int, int], table: Mapping[int, int]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the table's counts for the groups present, with a note on the others."""
    if not table:
        raise ConfigError("sampler.balance=table needs sampler.table, for example '+sampler.table={14:500,225:300}'")
    for group, n in table.items():
        if n < 1:
            raise ConfigError(f"sampler.table asks for {n} draws of group {group}; no class may be emptied, give >= 1")
    absent = sorted(set(table) - set(counts))
    notes = (f"sampler.table names groups without training samples, left out: {listed(absent)}.",) if absent else ()
    return {group: int(n) for group, n in sorted(table.items()) if group in counts}, notes
