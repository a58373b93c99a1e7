"""From run folders to a folder of pages: the leaderboard at once, then each run's page where it is out of date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sgexp.errors import UserError
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.report import exports
from sgexp.report.collect import Collection, Run
from sgexp.report.details import read_details
from sgexp.report.index_page import index_page
from sgexp.report.leaderboard import TestSet
from sgexp.report.rendering import inputs_of, place_plotly, write_page
from sgexp.report.run_page import run_page
from sgexp.report.search_page import find_searches, search_page
from sgexp.report.updates import inputs_digest
from sgexp.report.verdicts import Verdicts, verdicts
from sgexp.runs import write_text

SEARCHES = "search.html"
Progress = Callable[[int], None]


def in_a_line(error: Exception) -> str:
    """Return an exception of any kind as one short line; a sentence for people as it is."""
    said = " ".join(str(error).split())[:200]
    kind = type(error).__name__
    return said if isinstance(error, UserError) else f"{kind}: {said}" if said else kind


@dataclass
class Report:
    """What a report shows, and the folder that it is written to; ``root`` is where its paths start."""

    folder: Path
    root: Path
    found: Collection
    sets: list[TestSet]
    evaluation: EvaluationConfig
    figures: list[str]
    said: dict[str, Verdicts] = field(default_factory=dict)
    searches: int = 0  # on the page of searches
    not_made: list[tuple[Path, str]] = field(default_factory=list)  # runs that have no page of what is there, and why

    def write_tables(self) -> None:
        """Write the leaderboard as a page, as CSV and as Markdown; pages of runs are linked where they are."""
        there = {run.page for run in self.found.runs if self.page(run).exists()}
        pages = [(folder, f"its page was not made: {reason}") for folder, reason in self.not_made]
        listed = Collection(self.found.runs, self.found.left_out + pages)
        index = index_page(self.sets, listed, there, self.figures, self.root, self.said, self.searches)
        write_page(self.folder / "index.html", index)
        for name, text in (("csv", exports.csv_text(self.sets)), ("md", exports.markdown_text(self.sets))):
            write_text(self.folder / f"leaderboard.{name}", text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def write_searches(self) -> None:
        """Write the page of the searches below ``root``, where there are any."""
        records, left_out = find_searches(self.root)
        if records or left_out:
            write_page(self.folder / SEARCHES, search_page(records, left_out, place_plotly(self.folder)))
            self.searches = len(records)
        else:
            (self.folder / SEARCHES).unlink(missing_ok=True)

    def compare(self, most: int) -> None:
        """Compare the ``most`` best experiments of each test set with its best."""
        self.said = {item.letter: verdicts(item, most, self.evaluation) for item in self.sets}

    def page(self, run: Run) -> Path:
        """Return where a run's page lies."""
        return self.folder / "runs" / f"{run.page}.html"

    def best_first(self) -> list[Run]:
        """Return all runs: those with figures in turn from each table, best first, then the others."""
        columns = [[row.runs[0] for row in item.rows] for item in self.sets]
        longest = max(map(len, columns), default=0)
        ranked = [column[place] for place in range(longest) for column in columns if place < len(column)]
        return ranked + [run for run in self.found.runs if not run.metrics]

    def out_of_date(self, most: int | None) -> list[tuple[Run, str]]:
        """Return the runs, of the best ``most``, whose page is missing or older than their files; and its new mark."""
        marked = [(run, inputs_digest(run, self.evaluation)) for run in self.best_first()[:most]]
        return [(run, mark) for run, mark in marked if inputs_of(self.page(run)) != mark]

    def write_pages(self, runs: Sequence[tuple[Run, str]], progress: Progress | None = None) -> None:
        """Write the pages of these runs; what is written stays, so an interrupted report goes on where it stopped.

        Files may hold anything: a run whose page cannot be made is noted, and the next goes on.
        """
        plotly = place_plotly(self.folder)
        for number, (run, mark) in enumerate(runs, start=1):
            try:
                write_page(self.page(run), run_page(read_details(run, self.evaluation), mark, plotly))
            except Exception as error:
                self.not_made.append((run.folder, in_a_line(error)))
            if progress is not None:
                progress(number)
