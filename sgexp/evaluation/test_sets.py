"""Whether several runs were judged on the same test samples; if not, a refusal, or what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from sgexp.errors import DataError
from sgexp.evaluation.predictions import Predictions

_MUST_AGREE = ("key", "material", "family", "energy_kev", "label")
ALLOW = "allow different test sets (task.allow_different=true) to compare on what they have in common, with a stamp"


def aligned(
    runs: Sequence[Predictions], names: Sequence[str], allow_different: bool = False
) -> tuple[list[Predictions], tuple[str, ...]]:
    """Return the runs with their samples in one order, and stamps that every reader of a comparison must see.

    The same row must be the same sample everywhere: key, material, family, energy and label. Samples or output classes
    that differ raise DataError; with ``allow_different`` the samples common to all runs (by material, key, energy and
    label) are kept instead, and a stamp says how many.
    """
    ordered = [run.take(np.argsort(run.row, kind="stable")) for run in runs]
    first = ordered[0]
    stamps: list[str] = []
    for name, run in zip(names, ordered, strict=True):
        if (difference := _difference(first, run)) is not None:
            if not allow_different:
                raise DataError(f"{names[0]} and {name} have different test sets: {difference}; {ALLOW}")
            ordered, stamp = _in_common(ordered, names)
            stamps.append(stamp)
            break
    for name, run in zip(names, ordered, strict=True):
        if (difference := _other_classes(first, run)) is not None:
            if not allow_different:
                raise DataError(f"{names[0]} and {name} choose between different space groups: {difference}; {ALLOW}")
            stamps.append(f"DIFFERENT CLASSES: {names[0]} and {name} choose between different space groups")
    if not len(ordered[0]):
        raise DataError(f"there is nothing to compare: {names[0]} has no test sample in common with the others")
    return ordered, tuple(stamps)


def _difference(a: Predictions, b: Predictions) -> str | None:
    """Say in what the samples of two runs differ, in their order of rows; ``None`` if in nothing."""
    if not np.array_equal(a.row, b.row):
        shared = len(np.intersect1d(a.row, b.row))
        return f"{len(a):,} and {len(b):,} samples, {shared:,} rows in common"
    for column in _MUST_AGREE:
        one, other = getattr(a, column), getattr(b, column)
        unequal = ~((one == other) | ((one != one) & (other != other)))  # an unknown energy is nan
        if unequal.any():
            row = int(np.flatnonzero(unequal)[0])
            return (
                f"the {column} of {np.count_nonzero(unequal):,} of {len(a):,} samples differs, first in row "
                f"{a.row[row]} ({str(one[row])[:60]!r} and {str(other[row])[:60]!r})"
            )
    return None


def _other_classes(a: Predictions, b: Predictions) -> str | None:
    only_a, only_b = np.setdiff1d(a.classes, b.classes), np.setdiff1d(b.classes, a.classes)
    if not len(only_a) and not len(only_b):
        return None
    return f"{len(only_a)} groups only the first can answer, {len(only_b)} only the other"


def _in_common(runs: Sequence[Predictions], names: Sequence[str]) -> tuple[list[Predictions], str]:
    """Return the samples that all runs judged under one label, in one order, families as the first run has them."""
    identities = []
    for name, run in zip(names, runs, strict=True):
        columns = (run.material, run.key, run.energy_kev.astype(str), run.label.astype(str))
        identity = reduce(np.char.add, (np.char.add(column, "\0 ") for column in columns))
        if len(np.unique(identity)) != len(identity):
            raise DataError(f"{name} has samples of equal material, key, energy and label: they cannot be matched")
        identities.append(identity)
    common = reduce(np.intersect1d, identities)
    kept = []
    for run, identity in zip(runs, identities, strict=True):
        order = np.argsort(identity)
        kept.append(run.take(order[np.searchsorted(identity[order], common)]))
    judged = ", ".join(dict.fromkeys(f"{len(run):,}" for run in runs))
    stamp = f"DIFFERENT TEST SETS: compared on the {len(common):,} samples that all judged, of {judged}"
    return kept, stamp
