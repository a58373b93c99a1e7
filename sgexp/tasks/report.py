"""``task=report``: run folders to a dashboard of pages, tables and figures. It makes no run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sgexp.console import console
from sgexp.report.collect import collect, find_folders

if TYPE_CHECKING:
    from sgexp.config import Config


def report(config: Config) -> None:
    """Show the runs that the config names."""
    output_dir = Path(config.output_dir)
    folder = Path(config.report.folder or output_dir / "report")
    found = collect(find_folders(config.report.runs, output_dir, folder))
    console.print(f"{len(found.runs):,} runs, {len(found.left_out):,} folders left out")
