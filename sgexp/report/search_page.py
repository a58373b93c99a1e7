"""The page of searches: how the best value came about, which parameters mattered, and the trials as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sgexp.errors import UserError
from sgexp.report.chart import Chart
from sgexp.report.rendering import render
from sgexp.report.run_page import drawn
from sgexp.search.record import NAME, Record, Trial, read
from sgexp.search.table import short, title_of, value_of

MOST_ROWS = 200  # trials of a search that are listed, best first


def find_searches(output_dir: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """Read the records of searches below ``output_dir``, newest first; what cannot be read stands with the reason."""
    found, left_out = [], []
    paths = [path for path in (output_dir / "sweeps").glob(f"*/{NAME}") if path.is_file()]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found.append(read(path))
        except UserError as error:
            left_out.append((path, str(error)))
    return found, left_out


def search_page(records: Sequence[Record], left_out: Sequence[tuple[Path, str]], plotly: str) -> str:
    """Return the page; ``plotly``: where its script lies, from the folder of the page."""
    charts = [charts_of(record, place) for place, record in enumerate(records)]
    return render(
        "search.html",
        "run.js",
        inputs="search",
        searches=[_section(record, made) for record, made in zip(records, charts, strict=True)],
        left_out=[(str(path), reason) for path, reason in left_out],
        data={"name": "search", "charts": [drawn(chart) for made in charts for chart in made], "confusion": None},
        plotly=plotly,
    )


def _section(record: Record, charts: Sequence[Chart]) -> dict[str, Any]:
    objectives = [title_of(name) for name, _ in record.objectives]
    rows = [
        [
            f"{trial.number}{' (best)' if trial.number in record.best else ''}",
            *_values(trial, record),
            *_params(trial, record),
        ]
        for trial in record.ranked()[:MOST_ROWS]
    ]
    others = [
        [str(trial.number), trial.state, trial.reason, *_params(trial, record)]
        for trial in record.trials
        if trial.state != "finished"
    ]
    return {
        "record": record,
        "objectives": ", ".join(f"{title_of(name)} ({way})" for name, way in record.objectives),
        "counts": _counts(record),
        "charts": charts,
        "columns": ["trial", *objectives, *record.space],
        "rows": rows,
        "other_columns": ["trial", "state", "why", *record.space],
        "others": others[:MOST_ROWS],
    }


def _counts(record: Record) -> str:
    counts: dict[str, int] = {}
    for trial in record.trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    return ", ".join(f"{count:,} {state}" for state, count in counts.items()) or "no trial yet"


def _values(trial: Trial, record: Record) -> list[str]:
    return [value_of(trial, index, name) for index, (name, _) in enumerate(record.objectives)]


def _params(trial: Trial, record: Record) -> list[str]:
    return [short(trial.params.get(name, "-")) for name in record.space]


def charts_of(record: Record, place: int) -> list[Chart]:
    """Return the charts of one search: history and importance of each objective, and the front of two."""
    made = [history(record, index, f"s{place}-history-{index}") for index in range(len(record.objectives))]
    if len(record.objectives) == 2:
        made.append(front(record, f"s{place}-front"))
    shares = [importance(record, index, f"s{place}-importance-{index}") for index in range(len(record.importance))]
    return [chart for chart in [*made, *shares] if chart is not None]


def history(record: Record, index: int, key: str) -> Chart | None:
    """The value of each trial, and the best so far."""
    trials = sorted(record.finished, key=lambda trial: trial.number)
    if not trials:
        return None
    name, way = record.objectives[index]
    better = max if way == "maximize" else min
    values = [trial.values[index] for trial in trials]
    best = _running(values, better)
    numbers = [trial.number for trial in trials]
    points = {"x": numbers, "y": values, "mode": "markers", "type": "scatter", "name": "finished trial"}
    line = {"x": numbers, "y": best, "mode": "lines", "type": "scatter", "name": "best so far"}
    data = [
        points | {"marker": {"color": "@accent", "size": 7}},
        line | {"line": {"color": "@ink", "shape": "hv", "width": 1.5}},
    ]
    pruned = [trial for trial in record.trials if trial.state == "pruned" and trial.curve]
    if pruned and index == 0:
        last = [trial.curve[-1][1] for trial in pruned]
        ended = {"x": [trial.number for trial in pruned], "y": last, "mode": "markers", "type": "scatter"}
        data.append(
            ended | {"name": "pruned, at its last epoch", "marker": {"color": "@muted", "size": 7, "symbol": "x"}}
        )
    return Chart(
        key=key,
        title=f"History of {title_of(name)}",
        caption=f"The value of each finished trial, and the best so far ({way}).",
        data=data,
        layout={"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": title_of(name)}}},
        columns=("trial", title_of(name), "best so far"),
        rows=[(str(n), f"{value:.4g}", f"{top:.4g}") for n, value, top in zip(numbers, values, best, strict=True)],
    )


def _running(values: Sequence[float], better: Any) -> list[float]:
    found: list[float] = []
    for value in values:
        found.append(better(found[-1], value) if found else value)
    return found


def front(record: Record, key: str) -> Chart | None:
    """Two objectives against each other; the trials that none beats in both are joined."""
    trials = record.finished
    if not trials:
        return None
    (first, _), (second, _) = record.objectives
    on_front = sorted((trial for trial in trials if trial.number in record.best), key=lambda trial: trial.values[1])
    text = [f"trial {trial.number}" for trial in trials]
    data: list[dict[str, Any]] = [
        _points([(trial.values[1], trial.values[0]) for trial in trials], "finished trial", "@accent") | {"text": text},
        _points([(trial.values[1], trial.values[0]) for trial in on_front], "none beats it in both", "@ink")
        | {"mode": "lines+markers", "line": {"color": "@ink", "shape": "hv", "width": 1.5}},
    ]
    return Chart(
        key=key,
        title=f"{title_of(first)} against {title_of(second)}".capitalize(),
        caption="Each point is a trial. On the line: those that no other trial beats in both.",
        data=data,
        layout={"xaxis": {"title": {"text": title_of(second)}}, "yaxis": {"title": {"text": title_of(first)}}},
        columns=("trial", title_of(first), title_of(second)),
        rows=[(str(trial.number), *(f"{value:.4g}" for value in trial.values)) for trial in on_front],
    )


def _points(places: Sequence[tuple[float, float]], name: str, colour: str) -> dict[str, Any]:
    return {
        "x": [x for x, _ in places],
        "y": [y for _, y in places],
        "mode": "markers",
        "type": "scatter",
        "name": name,
        "marker": {"color": colour, "size": 7},
    }


def importance(record: Record, index: int, key: str) -> Chart | None:
    """How much each parameter matters to one objective, as Optuna reckons it from the finished trials."""
    shares = sorted(record.importance[index].items(), key=lambda item: item[1])
    if not shares or index >= len(record.objectives):
        return None
    name, _ = record.objectives[index]
    bars = {"x": [share for _, share in shares], "y": [escaped(key) for key, _ in shares], "type": "bar"}
    return Chart(
        key=key,
        title=f"What {title_of(name)} hangs on",
        caption=(
            "Importance of each parameter (shares of 1, PED-ANOVA over finished trials): how much the better trials "
            "differ in it. From few trials it is a hint only."
        ),
        data=[bars | {"orientation": "h", "marker": {"color": "@accent"}, "name": "importance"}],
        layout={"xaxis": {"title": {"text": "importance"}, "range": [0, 1]}, "yaxis": {"type": "category"}},
        columns=("parameter", "importance"),
        rows=[(name, f"{share:.3f}") for name, share in reversed(shares)],
    )


def escaped(text: str) -> str:
    """Return a text that plotly shows as it is: it reads tags in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
