"""The knobs of ``task=report``."""

from __future__ import annotations

from dataclasses import dataclass

from sgexp.schema import bounded, one_of


@dataclass(kw_only=True)
class ReportConfig:
    """Which runs are shown, where, and how much of each."""

    runs: list[str] | None = None  # folders or patterns; None: everything below output_dir
    folder: str | None = None  # where the pages go; None: output_dir/report
    pages: int | None = bounded(None, low=0)  # of how many runs there are pages with details; None: of all
    compare: int = bounded(12, low=0, high=1000)  # experiments of a test set that are compared with its best
    figures: str = one_of("best", "none", "best", "all")  # PNG and SVG for papers
    watch: bool = False
    watch_seconds: float = bounded(5.0, low=0.1, high=3600.0)


GROUPS: dict[str, tuple[type, ...]] = {"report": (ReportConfig,)}
