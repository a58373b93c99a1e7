"""The charts of answers: recall against training families, kinship of errors, and whether the confidence holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sgexp.evaluation.confusion import FamilyBin
from sgexp.report.chart import Chart, ends, error_bars, interval, symbol
from sgexp.report.details import Details, PartDetails

TESTS = ("test_family", "test_material")
NOTHING = 0.5  # where a count of 0 stands on a logarithmic axis


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
                "error_y": error_bars(*ends(figures), f"@{part}"),
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
            (part, _bin_text(item), f"{item.groups}", interval(item.recall.value, item.recall.low, item.recall.high))
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
        f"{symbol(group)}: recall {interval(*span)}<br>{samples} samples, {families} test families, trained on {known}"
        for group, *span, samples, families, known in zip(
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
        data.append(bar | {"marker": {"color": f"@{part}/0.75"}, "error_x": error_bars(*ends(figures), "@ink")})
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
                *(interval(item.share.value, item.share.low, item.share.high), f"{item.by_chance:.3f}"),
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
                "error_y": error_bars(share, low, high, f"@{part}"),
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
                *(f"{told.confidence[index]:.3f}", interval(*span)),
            )
            for index, count, *span in zip(filled, samples, share, low, high, strict=True)
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
        area = interval(risk.area.value, risk.area.low, risk.area.high)
        areas.append(f"{part} {area} (answers in the best order {risk.best_area:.3f}, in no order {risk.risk[-1]:.3f})")
        rows += [
            (part, f"{coverage[index]:.2f}", interval(risk.risk[index], risk.low[index], risk.high[index]))
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


def _tests(details: Details) -> Iterator[tuple[str, PartDetails]]:
    shown = [part for part in TESTS if part in details.parts] or [part for part in details.parts]
    return ((part, details.parts[part]) for part in shown)


def _bin_text(item: FamilyBin) -> str:
    if item.last is None:
        return f"{item.first} and more"
    return f"{item.first}" if item.first == item.last else f"{item.first} to {item.last}"
