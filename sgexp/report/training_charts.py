"""The charts of training: losses, scores, and what sampling makes of the class counts."""

from __future__ import annotations

from typing import Any

from sgexp.report.chart import Chart, error_bars, number, symbol
from sgexp.report.details import Details


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
        "error_y": error_bars([value], [low], [high], "@ink"),
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
        (f"{epoch:g}", *(number(details.curves[name][index]) for name in shown)) for index, epoch in enumerate(epochs)
    ]
    layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": key if key == "loss" else "score"}}}
    return Chart(key, title, caption, data, layout, ("epoch", *(label for label, *_ in shown.values())), rows)


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
