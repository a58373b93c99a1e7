"""Runs in order: never across test sets, a row a run or a row an experiment (its seeds together), and what differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from sgexp.report.collect import Figure, Run

CHOSEN_BY = ("validation", "macro_f1")
"""What runs are ordered by and "the best" is chosen on: test figures are for reporting, not for choosing."""

METRICS = ("top1", "top5", "macro_f1", "balanced_accuracy")
PARTS = ("test_family", "test_material")
COLUMNS: tuple[tuple[str, str], ...] = (CHOSEN_BY, *((part, metric) for part in PARTS for metric in METRICS))
LONGEST = 300  # letters of a setting's value that are shown
GROUPS_SHOWN = ("sampler", "model", "loss")  # the choices with a column of their own


@dataclass(frozen=True)
class Cell:
    """A figure with its interval; of several seeds the means of both, with each seed's value and their spread."""

    value: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds (n - 1), where there are several."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One run, or one experiment with its runs of several seeds."""

    runs: tuple[Run, ...]
    differences: tuple[tuple[str, str], ...]  # config key, value: of the keys that differ within the test set
    repeats: int = 0  # further runs of the same seeds, left out: they are no second seed

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(sorted(run.seed for run in self.runs if run.seed is not None))

    @property
    def seconds(self) -> float | None:
        """Mean wall time."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return fmean(known) if known else None

    @property
    def stamps(self) -> tuple[str, ...]:
        """What every reader must be told of any of the runs."""
        return tuple(dict.fromkeys(stamp for run in self.runs for stamp in run.stamps))

    def cell(self, part: str, metric: str) -> Cell | None:
        """Return a figure, over the runs that have it."""
        return cell(run.figure(part, metric) for run in self.runs)


@dataclass(frozen=True)
class TestSet:
    """The runs that were judged on the very same samples; only these may be compared.

    ``rows``: a row a run; ``experiments``: a row an experiment. Both best first, by ``CHOSEN_BY``.
    ``baselines``: name -> part -> metric -> figure.
    """

    letter: str
    fingerprint: str
    split: str
    split_digest: str
    leaky: bool
    counts: dict[str, dict[str, int]]
    baselines: dict[str, dict[str, dict[str, Figure]]]
    rows: tuple[Row, ...]
    experiments: tuple[Row, ...]
    differing: tuple[str, ...]

    @property
    def stamps(self) -> tuple[str, ...]:
        """The stamps of any of its runs."""
        return tuple(dict.fromkeys(stamp for row in self.rows for stamp in row.stamps))


def cell(figures: Iterable[Figure | None]) -> Cell | None:
    """Return the mean figure of several runs, with the mean ends of their intervals.

    The runs share one test set, so the interval over its families is as wide for the mean as for one run or narrower:
    the mean of the ends never promises too much. How seeds differ is told apart, by their values.
    """
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    lows, highs = [low for _, low, _ in known if low is not None], [high for _, _, high in known if high is not None]
    values = tuple(value for value, _, _ in known)
    whole = len(lows) == len(highs) == len(known)
    return Cell(fmean(values), fmean(lows) if whole else None, fmean(highs) if whole else None, values)


def leaderboard(runs: Sequence[Run]) -> list[TestSet]:
    """Return the test sets of all runs with figures: the one with most runs first, leaky ones last."""
    together: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        if run.metrics:
            together.setdefault((run.fingerprint, run.split, run.split_digest), []).append(run)
    ordered = sorted(together.values(), key=lambda found: (found[0].leaky, -len(found), found[0].started))
    return [_test_set(letter(index), found) for index, found in enumerate(ordered)]


def letter(index: int) -> str:
    """Return A, B ... Z, AA, AB ..."""
    return (letter(index // 26 - 1) if index >= 26 else "") + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index % 26]


def _test_set(name: str, runs: list[Run]) -> TestSet:
    keys = differing_keys(runs)
    experiments: dict[str, list[Run]] = {}
    for run in runs:
        experiments.setdefault(run.experiment, []).append(run)
    rows = [_row([run], keys) for run in runs]
    grouped = [_experiment(found, keys) for found in experiments.values()]
    first = max(runs, key=lambda run: len(run.counts))
    return TestSet(
        letter=name,
        fingerprint=first.fingerprint,
        split=first.split,
        split_digest=first.split_digest,
        leaky=any(run.leaky for run in runs),
        counts=first.counts,
        baselines=strongest_baselines(runs),
        rows=tuple(sorted(rows, key=_place)),
        experiments=tuple(sorted(grouped, key=_place)),
        differing=tuple(keys),
    )


def _row(runs: Sequence[Run], keys: Sequence[str], repeats: int = 0) -> Row:
    config = runs[0].config
    return Row(tuple(runs), tuple((key, show(config[key])) for key in keys if key in config), repeats)


def _experiment(runs: Sequence[Run], keys: Sequence[str]) -> Row:
    """Return the row of one experiment: the latest run of each seed."""
    latest = {run.seed: run for run in sorted(runs, key=lambda run: run.started)}
    kept = sorted(latest.values(), key=lambda run: run.seed or 0)
    return _row(kept, keys, len(runs) - len(kept))


def _place(row: Row) -> tuple[float, str]:
    """Order by what is chosen on, else (a run judged elsewhere) by the headline; what has neither comes last."""
    found = row.cell(*CHOSEN_BY) or row.cell(PARTS[0], "macro_f1")
    return (-found.value if found else 1.0, row.runs[0].started)


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the config keys that tell these runs apart: two values or more among the runs that have the key.

    Choices that have a column are left out, and keys that merely repeat another one's values (one refers to the other).
    """
    values: dict[str, dict[int, str]] = {}
    for index, run in enumerate(runs):
        for key, value in run.config.items():
            values.setdefault(key, {})[index] = show(value)
    found, seen = [], set()
    for key, told in values.items():
        pattern = tuple(told.items())
        if key not in GROUPS_SHOWN and len(set(told.values())) > 1 and pattern not in seen:
            found.append(key)
            seen.add(pattern)
    return found


def strongest_baselines(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return each baseline at its best headline figure (it may depend on the transform): what runs are held to."""
    found: dict[str, dict[str, dict[str, Figure]]] = {}

    def strength(figures: dict[str, dict[str, Figure]]) -> float:
        return figures.get(PARTS[0], {}).get("top1", (-1.0, None, None))[0]

    for run in runs:
        for name, figures in run.baselines.items():
            if name not in found or strength(figures) > strength(found[name]):
                found[name] = figures
    return found


def show(value: Any) -> str:
    """Return a config value as it is typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
