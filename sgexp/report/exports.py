"""The leaderboard as tables for other programs and other texts: CSV, a row a run, and Markdown, a row an experiment."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from sgexp.report.collect import Run
from sgexp.report.leaderboard import COLUMNS, GROUPS_SHOWN, Cell, Row, TestSet, cell, show
from sgexp.report.terminal import METRIC_TITLES

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a text that begins so


def csv_text(sets: Sequence[TestSet]) -> str:
    """Return every run with figures: who it is, its settings that differ, each figure with its interval."""
    differing = list(dict.fromkeys(key for item in sets for key in item.differing))
    figures = [f"{part}.{metric}{end}" for part, metric in COLUMNS for end in ("", ".low", ".high")]
    head = ("test_set", "name", "folder", "task", "seed", "config_hash", "data_fingerprint", "split", "split_digest")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*head, "leaky", "stamps", *GROUPS_SHOWN, *differing, *figures, "seconds"])
    for item in sets:
        for row in item.rows:
            run, told = row.runs[0], dict(row.differences)
            who = (item.letter, run.name, str(run.folder), run.task, show(run.seed), run.config_hash, run.fingerprint)
            where = (run.split, run.split_digest, show(item.leaky), "; ".join(row.stamps))
            settings = [*(run.choice(group) for group in GROUPS_SHOWN), *(told.get(key, "") for key in differing)]
            seconds = "" if run.seconds is None else f"{run.seconds:g}"
            texts = [harmless(text) for text in (*who, *where, *settings)]
            writer.writerow([*texts, *_figures(run), seconds])
    return stream.getvalue()


def _figures(run: Run) -> list[str]:
    told: list[str] = []
    for part, metric in COLUMNS:
        figure = run.figure(part, metric) or (None, None, None)
        told += ["" if value is None else f"{value:.6g}" for value in figure]
    return told


def harmless(text: str) -> str:
    """Keep a spreadsheet from running a text: one that begins as a formula gets an apostrophe before it."""
    return f"'{text}" if text.startswith(_FORMULA) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text) else text


def markdown_text(sets: Sequence[TestSet]) -> str:
    """Return a table a test set: a row an experiment, its seeds together, and the baselines; stamps above the table."""
    lines = ["# Leaderboard", ""]
    if len(sets) > 1:
        lines += [f"**{len(sets)} different test sets: figures of different tables cannot be compared.**", ""]
    for item in sets:
        lines += [f"## Test set {item.letter}: {_text(item.split)} split, data `{_code(item.fingerprint[:12])}`", ""]
        lines += [f"**{_text(stamp)}**\n" for stamp in item.stamps]
        titles = [f"{part} {METRIC_TITLES[metric]}" for part, metric in COLUMNS]
        head = ["run", *GROUPS_SHOWN, "what differs", "seeds", *titles]
        lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        lines += [_markdown_row(row) for row in item.experiments]
        for name, figures in item.baselines.items():
            cells = [cell([figures.get(part, {}).get(metric)]) for part, metric in COLUMNS]
            empty = [""] * (len(GROUPS_SHOWN) + 2)
            lines.append(f"| {' | '.join([f'*{_text(name)}*', *empty, *map(_cell, cells)])} |")
        lines += ["", "In brackets: intervals over families; ±: standard deviation between seeds.", ""]
    return "\n".join(lines)


def _markdown_row(row: Row) -> str:
    run = row.runs[0]
    differs = ", ".join(f"{key}={value}" for key, value in row.differences)
    words: list[Any] = [run.name, *(run.choice(group) for group in GROUPS_SHOWN), differs]
    words.append(", ".join(map(str, row.seeds)))
    return f"| {' | '.join([*map(_text, words), *(_cell(row.cell(*column)) for column in COLUMNS)])} |"


def _cell(told: Cell | None) -> str:
    if told is None:
        return "-"
    spread = f" ± {told.spread:.3f}" if told.spread is not None else ""
    interval = f" [{told.low:.2f}, {told.high:.2f}]" if told.low is not None and told.high is not None else ""
    return f"{told.value:.3f}{spread}{interval}"


def _text(text: Any) -> str:
    """Keep a text from being read as Markdown or HTML, or from breaking the table's line."""
    escaped = re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", str(text))
    return re.sub(r"\s+", " ", escaped.replace("&", "&amp;"))


def _code(text: str) -> str:
    return re.sub(r"[^\w.-]", "", text)
