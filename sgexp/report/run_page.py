"""The page of one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgexp.console import duration
from sgexp.crystallography.groups import (
    CRYSTAL_SYSTEMS,
    LAUE_CLASSES,
    POINT_GROUPS,
)
from sgexp.evaluation.confusion import LEVELS
from sgexp.evaluation.predictions import Predictions
from sgexp.report.chart import Chart, symbol
from sgexp.report.charts import charts
from sgexp.report.collect import ENDS, Figure, Run
from sgexp.report.details import JUDGED, Details, PartDetails
from sgexp.report.index_page import confidence_of
from sgexp.report.leaderboard import cell, show
from sgexp.report.rendering import render
from sgexp.report.terminal import AUXILIARY_TITLES, METRIC_TITLES, figure
from sgexp.report.thumbnails import data_uri

TOP = 5


def run_page(details: Details, inputs: str, plotly: str) -> str:
    """Return the page; ``plotly``: where its script lies, from the folder of the index."""
    run = details.run
    figures = charts(details)
    judged, mixed = judged_stacks(details), mixed_samples(details)
    contents = [("figures", "Figures")] if run.metrics else []
    beside = auxiliary_table(run)
    contents += [("auxiliary", "Beside the group")] if beside[1] else []
    contents += [(chart.key, chart.title) for chart in figures]
    contents += [("confusion", "Confusion"), ("groups", "Every group")] if details.parts else []
    contents += [("gallery", "Right and wrong"), ("mixed", "Mixed samples"), ("config", "Settings")]
    return render(
        "run.html",
        "run.js",
        inputs=inputs,
        run=run,
        time="" if run.seconds is None else duration(run.seconds),
        missing=details.missing if run.status == "finished" else [],
        contents=contents,
        summary=summary(run),
        auxiliary=beside,
        confidence=confidence_of([run]),
        charts=figures,
        confusion=bool(details.parts),
        group_tables=[(part, group_table(details, part)) for part in details.parts],
        judged=judged,
        mixed=mixed,
        draws_text=draws_text(details),
        mixed_none="" if details.gallery is not None else "Patterns not at hand: this run folder holds no gallery.npz.",
        config=[(key, show(value)) for key, value in run.config.items()],
        data={"name": run.name, "charts": [drawn(chart) for chart in figures], "confusion": confusion_data(details)},
        plotly=plotly,
    )


def drawn(chart: Chart) -> dict[str, Any]:
    """Return what the page's script needs of a chart."""
    return {"key": chart.key, "data": chart.data, "layout": chart.layout}


def summary(run: Run) -> dict[str, Any]:
    """Return all figures of a run, a row a figure and a column a part, and the baselines' top-1."""
    parts = [part for part in JUDGED if part in run.metrics]
    names = [name for name in METRIC_TITLES if any(name in run.metrics[part] for part in parts)]
    names += sorted({name for part in parts for name in run.metrics[part]} - set(METRIC_TITLES))
    nouns = ("samples", "materials", "families", "classes")
    return {
        "parts": parts,
        "over": [
            (part, ", ".join(f"{run.counts[part][noun]:,} {noun}" for noun in nouns if noun in run.counts[part]))
            for part in parts
            if part in run.counts
        ],
        "rows": [
            {"title": METRIC_TITLES.get(name, name), "cells": [cell([run.figure(part, name)]) for part in parts]}
            for name in names
        ],
        "baselines": [
            {
                "title": f"{name.replace('_', ' ')}, top-1",
                "cells": [cell([told.get(part, {}).get("top1")]) for part in parts],
            }
            for name, told in run.baselines.items()
        ],
    }


def auxiliary_table(run: Run) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of what was answered beside the space group, above one answer for all; maybe no rows."""
    metrics, constant = run.auxiliary.get("metrics", {}), run.auxiliary.get("constant", {})
    parts = [part for part in JUDGED if metrics.get(part)]
    rows = []
    for name, title in AUXILIARY_TITLES.items():
        if any(name in metrics[part] for part in parts):
            rows.append([title, *(_shown(metrics[part].get(name)) for part in parts)])
            rows.append(["same for all", *(_shown(constant.get(part, {}).get(name)) for part in parts)])
    return ["figure", *parts], rows


def _shown(told: Figure | None) -> str:
    return figure(None if told is None else dict(zip(ENDS, told, strict=True)))


def group_table(details: Details, part: str) -> list[tuple[str, ...]]:
    """Return the recall of every group of a part with its interval."""
    found = details.parts[part].recall["space_group"]
    told = found.recall
    return [
        (
            symbol(group),
            f"{details.train_families.get(group, 0)}",
            f"{told.samples[index]}",
            f"{told.families[index]}",
            f"{told.share[index]:.2f} [{told.low[index]:.2f}, {told.high[index]:.2f}]",
        )
        for index, group in enumerate(found.classes.tolist())
    ]


def confusion_data(details: Details) -> dict[str, Any] | None:
    """Return the confusion of each part as pairs of groups, and the tree of classes to look into it by."""
    if not details.parts:
        return None
    groups = {number: [int(LEVELS[level][number]) for level in LEVELS] for number in range(1, 231)}
    return {
        "levels": list(LEVELS),
        "classes": [
            *(list(names) for names in (CRYSTAL_SYSTEMS, LAUE_CLASSES, POINT_GROUPS)),
            ["", *(symbol(number) for number in range(1, 231))],
        ],
        "groups": groups,
        "parts": {part: _part_data(found) for part, found in details.parts.items()},
    }


def _part_data(found: PartDetails) -> dict[str, Any]:
    pairs, counts = found.pairs
    return {
        "pairs": np.column_stack([pairs, counts]).tolist(),
        "recall": [_recall_data(found, level) for level in LEVELS],
    }


def _recall_data(found: PartDetails, level: str) -> dict[int, list[float]]:
    classes, told = found.recall[level].classes, found.recall[level].recall
    columns = (told.share, told.low, told.high)
    figures = np.round(np.column_stack(columns), 4).tolist()
    counts = np.column_stack([told.samples, told.families]).tolist()
    return {key: [*a, *b] for key, a, b in zip(classes.tolist(), figures, counts, strict=True)}


def judged_stacks(details: Details) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the kept stacks that predictions are at hand for, by test set, right ones apart from wrong ones."""
    gallery, found = details.gallery, []
    if gallery is None:
        return []
    for part, told in details.parts.items():
        place_of = {row: place for place, row in enumerate(told.predictions.row.tolist())}
        known = [(index, place_of[row]) for index, row in enumerate(gallery.row.tolist()) if row in place_of]
        items = [_stack(told.predictions, at, index, details) for index, at in known]
        for right in (True, False):
            own = [item for item in items if item["right"] == right]
            if own:
                found.append((f"{part}: {'named right' if right else 'named wrong'}", own))
    return found


def _stack(predictions: Predictions, at: int, index: int, details: Details) -> dict[str, Any]:
    assert details.gallery is not None
    probabilities = predictions.take(np.array([at])).probabilities[0]
    label, answer = int(predictions.label[at]), int(predictions.predicted[at])
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    return {
        "image": data_uri(details.gallery.patterns[index]),
        "formula": str(details.gallery.formula[index])[:60],
        "material": str(predictions.material[at])[:80],
        "right": label == answer,
        "truth": symbol(label),
        "answer": symbol(answer),
        "top": [
            (symbol(group), float(probabilities[column]), group == label)
            for column, group in zip(best.tolist(), predictions.classes[best].tolist(), strict=True)
        ],
    }


def draws_text(details: Details) -> str:
    """Return a sentence on what an epoch draws."""
    draws = details.draws
    if draws is None:
        return ""
    plain = draws.draws - draws.mixed
    repeated = plain - draws.distinct
    return (
        f"One epoch draws {draws.draws:,} times: {draws.distinct:,} training samples as they are"
        f"{f', {repeated:,} repetitions of them' if repeated else ''}"
        f"{f', and {draws.mixed:,} mixed samples' if draws.mixed else '; none is mixed'}."
    )


def mixed_samples(details: Details) -> list[dict[str, Any]]:
    """Return the kept mixed samples with both parents."""
    gallery = details.gallery
    if gallery is None:
        return []
    mixed = gallery.mixed
    trios = [np.stack(trio) for trio in zip(gallery.base, mixed, gallery.partner, strict=True)]
    return [
        {
            "group": _group(int(gallery.space_group[index])),
            "weight": float(gallery.weight[index]),
            **{name: data_uri(stack, trio) for name, stack in zip(("base", "drawn", "partner"), trio, strict=True)},
            "base_formula": str(gallery.base_formula[index])[:60],
            "partner_formula": str(gallery.partner_formula[index])[:60],
            "base_row": int(gallery.base_row[index]),
            "partner_row": int(gallery.partner_row[index]),
        }
        for index, trio in enumerate(trios)
    ]


def _group(number: int) -> str:
    return symbol(number) if 1 <= number <= 230 else str(number)
