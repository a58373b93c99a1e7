"""The figures of a run's page: plotly's own JSON (data and layout), and each figure's numbers as a table.

Colours are names that start with "@" (``@test_family``, ``@test_family/0.2`` with opacity): the page puts in those of
the light or the dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgexp.crystallography.groups import space_group
from sgexp.evaluation.confusion import FamilyBin
from sgexp.report.details import Details, PartDetails

TITLES = {"test_family": "families never seen", "test_material": "new crystals of known families"}
TITLES["validation"] = "validation"
TESTS = ("test_family", "test_material")
NOTHING = 0.5  # where a count of 0 stands on a logarithmic axis


@dataclass(frozen=True)
class Chart:
    """A figure: what it is called, a sentence that says what it shows, how plotly draws it, its numbers as a table."""

    key: str
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    wide: bool = False


def charts(details: Details) -> list[Chart]:
    """Return the figures that the run's files allow."""
    makers: tuple[Callable[[Details], Chart | None], ...] = (
        *(losses, scores, recall_by_families, error_kinship, reliability, risk_coverage, class_counts),
    )
    return [chart for chart in (maker(details) for maker in makers) if chart is not None]


def losses(details: Details) -> Chart | None:
    """Training and validation loss against the epoch."""
    names = {"train/loss": ("training", "@drawn", "dot"), "val/loss": ("validation", "@accent", "solid")}
    return _curves(details, "loss", "Loss", "What training minimises, after each epoch.", names)


def scores(details: Details) -> Chart | None:
    """Scores on training and validation against the epoch, and the judged one with its interval."""
    names = {
        "val/macro_f1": ("validation macro-F1", "@accent", "solid"),
        "val/top1": ("validation top-1", "@validation", "solid"),
        "val/top5": ("validation top-5", "@validation", "dash"),
        "train/top1": ("training top-1", "@drawn", "dot"),
    }
    caption = "Scores after each epoch. The point with a bar is the checkpoint that was judged, with its interval."
    chart = _curves(details, "scores", "Scores while training", caption, names)
    judged, curve = details.run.figure("validation", "macro_f1"), details.curves.get("val/macro_f1", [])
    known = [(value, epoch) for epoch, value in enumerate(curve) if value is not None]
    if chart is None or judged is None or not known:
        return chart
    value, low, high = judged
    point = {
        "x": [_epochs(details)[max(known)[1]]],
        "y": [value],
        "error_y": _error([value], [low], [high], "@ink"),
        "mode": "markers",
        "marker": {"color": "@ink", "size": 8},
        "name": "judged checkpoint, macro-F1",
        "type": "scatter",
    }
    chart.data.append(point)
    chart.layout["yaxis"] |= {"rangemode": "tozero"}
    return chart


def _epochs(details: Details) -> list[float]:
    length = len(next(iter(details.curves.values())))
    told = details.curves.get("epoch", [])
    return [float(index if epoch is None else epoch) + 1 for index, epoch in enumerate(told or [None] * length)]


def _curves(
    details: Details, key: str, title: str, caption: str, names: dict[str, tuple[str, str, str]]
) -> Chart | None:
    shown = {name: told for name, told in names.items() if name in details.curves}
    if not shown:
        return None
    epochs = _epochs(details)
    data = [
        {
            "x": epochs,
            "y": details.curves[name],
            "name": label,
            "type": "scatter",
            "mode": "lines+markers" if len(epochs) < 4 else "lines",
            "line": {"color": colour, "width": 2, "dash": dash},
        }
        for name, (label, colour, dash) in shown.items()
    ]
    rows = [
        (f"{epoch:g}", *(_number(details.curves[name][index]) for name in shown)) for index, epoch in enumerate(epochs)
    ]
    layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": key if key == "loss" else "score"}}}
    return Chart(key, title, caption, data, layout, ("epoch", *(label for label, *_ in shown.values())), rows)


def recall_by_families(details: Details) -> Chart | None:
    """Recall of each group against how many families it was trained on, and the mean of groups with a like number."""
    data: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for part, found in _tests(details):
        recall = found.recall["space_group"]
        trained = [details.train_families.get(group, 0) for group in recall.classes.tolist()]
        data.append(_group_points(part, recall.classes.tolist(), trained, found))
        bins = found.by_families
        figures = [item.recall for item in bins]
        data.append(
            {
                "x": [max(item.typical, NOTHING) for item in bins],
                "y": [figure.value for figure in figures],
                "error_y": _error(*_ends(figures), f"@{part}"),
                "name": f"{part}, mean",
                "type": "scatter",
                "mode": "lines+markers",
                "line": {"color": f"@{part}", "width": 2},
                "marker": {"color": f"@{part}", "size": 8},
                "text": [_bin_text(item) for item in bins],
                "hovertemplate": "%{text}: mean recall %{y:.3f}<extra>" + part + "</extra>",
            }
        )
        rows += [
            (part, _bin_text(item), f"{item.groups}", _interval(item.recall.value, item.recall.low, item.recall.high))
            for item in bins
        ]
    if not data:
        return None
    layout = {
        "xaxis": {
            "title": {"text": "families that the group was trained on"},
            "type": "log",
            "tickvals": [NOTHING, 1, 2, 4, 8, 16, 32, 64],
            "ticktext": ["0", "1", "2", "4", "8", "16", "32", "64"],
        },
        "yaxis": {"title": {"text": "recall"}, "range": [-0.04, 1.04]},
    }
    caption = (
        "Dots: one space group each, larger with more test samples. Lines: the mean over groups trained on a like "
        "number of families, with its bootstrap interval over test families. A dot's own interval shows when it is "
        "pointed at, and stands in the table of groups below."
    )
    columns = ("test set", "training families", "groups", "mean recall")
    return Chart("recall", "Recall against training families", caption, data, layout, columns, rows)


def _group_points(part: str, groups: list[int], trained: list[int], found: PartDetails) -> dict[str, Any]:
    recall = found.recall["space_group"].recall
    jitter = np.random.default_rng(0).uniform(0.9, 1.1, len(groups))  # dots of equal count would hide one another
    text = [
        f"{symbol(group)}: recall {_interval(*ends)}<br>{samples} samples, {families} test families, trained on {known}"
        for group, *ends, samples, families, known in zip(
            *(groups, recall.share, recall.low, recall.high, recall.samples, recall.families, trained), strict=True
        )
    ]
    return {
        "x": [max(known, NOTHING) * float(shift) for known, shift in zip(trained, jitter, strict=True)],
        "y": recall.share.tolist(),
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "name": f"{part}, groups",
        "type": "scatter",
        "mode": "markers",
        "marker": {
            "color": f"@{part}/0.35",
            "size": [min(20.0, 4 + 2.5 * math.sqrt(n)) for n in recall.samples.tolist()],
        },
    }


def error_kinship(details: Details) -> Chart | None:
    """Which share of errors stays close in symmetry, beside what shuffled wrong answers would give."""
    data: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for part, found in _tests(details):
        if not found.errors:
            continue
        names = [item.relation for item in found.errors]
        figures = [item.share for item in found.errors]
        bar = {"y": names, "x": [figure.value for figure in figures], "orientation": "h", "type": "bar", "name": part}
        data.append(bar | {"marker": {"color": f"@{part}/0.75"}, "error_x": _error(*_ends(figures), "@ink")})
        data.append(
            {
                "y": names,
                "x": [item.by_chance for item in found.errors],
                "type": "scatter",
                "mode": "markers",
                "marker": {"symbol": "line-ns-open", "size": 14, "color": f"@{part}", "line": {"width": 3}},
                "name": f"{part}, answers shuffled",
            }
        )
        rows += [
            (
                *(part, item.relation, f"{item.errors}"),
                *(_interval(item.share.value, item.share.low, item.share.high), f"{item.by_chance:.3f}"),
            )
            for item in found.errors
        ]
    if not data:
        return None
    layout = {
        "xaxis": {"title": {"text": "share of errors"}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "barmode": "group",
        "height": 420,
    }
    caption = (
        "How the answered group is related to the true one where the answer is wrong; the first relation that holds "
        "counts. Upright marks: what the same wrong answers would give, shuffled among the errors."
    )
    columns = ("test set", "the answer is", "errors", "share of errors", "shuffled")
    return Chart("kinship", "How far off errors are in symmetry", caption, data, layout, columns, rows)


def reliability(details: Details) -> Chart | None:
    """How often answers of each confidence are right."""
    ideal: dict[str, Any] = {"x": [0, 1], "y": [0, 1], "mode": "lines", "type": "scatter", "name": "ideal"}
    data = [ideal | {"line": {"color": "@muted", "dash": "dot", "width": 1}, "hoverinfo": "skip"}]
    rows: list[tuple[str, ...]] = []
    for part, found in _tests(details):
        told = found.reliability
        filled = np.flatnonzero(told.accuracy.samples).tolist()
        share, low, high = (getattr(told.accuracy, name)[filled].tolist() for name in ("share", "low", "high"))
        samples = told.accuracy.samples[filled].tolist()
        data.append(
            {
                "x": told.confidence[filled].tolist(),
                "y": share,
                "error_y": _error(share, low, high, f"@{part}"),
                "text": [f"{count} samples" for count in samples],
                "hovertemplate": "confidence %{x:.2f}, right %{y:.2f}, %{text}<extra>" + part + "</extra>",
                "name": part,
                "type": "scatter",
                "mode": "lines+markers",
                "line": {"color": f"@{part}", "width": 2},
                "marker": {"color": f"@{part}", "size": [min(16.0, 4 + math.sqrt(count)) for count in samples]},
            }
        )
        rows += [
            (
                *(part, f"{told.edges[index]:.2f} to {told.edges[index + 1]:.2f}", f"{count}"),
                *(f"{told.confidence[index]:.3f}", _interval(*ends)),
            )
            for index, count, *ends in zip(filled, samples, share, low, high, strict=True)
        ]
    if not rows:
        return None
    layout = {
        "xaxis": {"title": {"text": "confidence (largest probability)"}, "range": [0, 1.02]},
        "yaxis": {"title": {"text": "share of right answers"}, "range": [0, 1.02]},
    }
    caption = (
        "Answers in equal bins of confidence. Above the dotted line the network is surer than it says, below less."
    )
    caption = caption.replace("surer than it says, below less", "right more often than it says, below less often")
    columns = ("test set", "confidence", "samples", "mean confidence", "right")
    return Chart("reliability", "Reliability", caption, data, layout, columns, rows)


def risk_coverage(details: Details) -> Chart | None:
    """The error rate among the most confident answers against how many are answered."""
    data: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    areas = []
    for part, found in _tests(details):
        risk = found.risk
        coverage = risk.coverage.tolist()
        line = {"x": coverage, "type": "scatter", "mode": "lines", "legendgroup": part}
        edge = line | {"showlegend": False, "hoverinfo": "skip", "line": {"width": 0, "color": f"@{part}"}}
        data += [
            edge | {"y": risk.low.tolist()},
            edge | {"y": risk.high.tolist(), "fill": "tonexty", "fillcolor": f"@{part}/0.15"},
            line | {"y": risk.risk.tolist(), "name": part, "line": {"color": f"@{part}", "width": 2}},
        ]
        area = _interval(risk.area.value, risk.area.low, risk.area.high)
        areas.append(f"{part} {area} (answers in the best order {risk.best_area:.3f}, in no order {risk.risk[-1]:.3f})")
        rows += [
            (part, f"{coverage[index]:.2f}", _interval(risk.risk[index], risk.low[index], risk.high[index]))
            for index in range(4, len(coverage), 5)
        ]
    if not rows:
        return None
    layout = {
        "xaxis": {"title": {"text": "coverage: share answered, surest first"}, "range": [0, 1.01]},
        "yaxis": {"title": {"text": "risk: share of these that is wrong"}, "range": [0, 1.02]},
    }
    caption = f"What leaving unsure samples unanswered would buy. Mean risk over all coverages: {'; '.join(areas)}."
    return Chart("risk", "Risk and coverage", caption, data, layout, ("test set", "coverage", "risk"), rows)


def class_counts(details: Details) -> Chart | None:
    """Training samples of each group, and how often an epoch draws them."""
    classes = details.classes
    if not classes:
        return None
    groups, train, drawn = classes["space_group"], classes["train"], classes["drawn"]
    names = [symbol(group) for group in groups]
    before: dict[str, Any] = {"x": groups, "y": train, "type": "bar", "name": "training samples", "text": names}
    after: dict[str, Any] = {"x": groups, "y": drawn, "type": "scatter", "mode": "markers", "name": "draws an epoch"}
    after["text"] = names
    hover = {"hovertemplate": "%{text}: %{y:,}<extra>%{fullData.name}</extra>", "textposition": "none"}
    data = [
        before | hover | {"marker": {"color": "@train/0.7"}},
        after | {"hovertemplate": hover["hovertemplate"], "marker": {"color": "@drawn", "size": 5}},
    ]
    layout = {
        "xaxis": {"title": {"text": "space group"}, "range": [0, 231]},
        "yaxis": {"title": {"text": "samples"}, "type": "log", "rangemode": "tozero", "tickformat": "~s", "dtick": 1},
        "height": 340,
    }
    caption = (
        f"{sum(train):,} training samples of {sum(n > 0 for n in train)} groups become {sum(drawn):,} draws an epoch."
    )
    if details.draws is not None and details.draws.mixed:
        caption += f" {details.draws.mixed:,} of the draws mix two samples of a group."
    rows = [(name, f"{a:,}", f"{b:,}") for name, a, b in zip(names, train, drawn, strict=True)]
    columns = ("space group", "training samples", "draws an epoch")
    return Chart("classes", "Class counts before and after sampling", caption, data, layout, columns, rows, wide=True)


def symbol(group: int) -> str:
    """Return how people call a space group: ``P2_1/c (14)``."""
    return f"{space_group(group).symbol.replace(' ', '')} ({group})"


def _tests(details: Details) -> Iterator[tuple[str, PartDetails]]:
    shown = [part for part in TESTS if part in details.parts] or [part for part in details.parts]
    return ((part, details.parts[part]) for part in shown)


def _bin_text(item: FamilyBin) -> str:
    if item.last is None:
        return f"{item.first} and more"
    return f"{item.first}" if item.first == item.last else f"{item.first} to {item.last}"


def _ends(figures: Iterable[Any]) -> tuple[list[float], list[float], list[float]]:
    known = list(figures)
    return [item.value for item in known], [item.low for item in known], [item.high for item in known]


def _error(
    values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None], colour: str
) -> dict[str, Any]:
    """Return plotly's description of error bars that reach from ``lows`` to ``highs``."""
    above = [0.0 if high is None else high - value for value, high in zip(values, highs, strict=True)]
    below = [0.0 if low is None else value - low for value, low in zip(values, lows, strict=True)]
    bars = {"array": above, "arrayminus": below, "color": colour, "thickness": 1.2, "width": 3}
    return {"type": "data", "symmetric": False} | bars


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return _number(value)
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"
