"""``task=audit``: what a data set holds and what is wrong with it, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sgexp.console import console
from sgexp.data.catalog import Catalog
from sgexp.data.contents import Contents, read_contents
from sgexp.data.split import UNUSED, Split
from sgexp.data.survey import Survey, survey
from sgexp.errors import DataError
from sgexp.report import audit_page
from sgexp.runs import RunFolder, config_hash, write_json
from sgexp.schema import build, plain
from sgexp.simulation.generation import read_failures
from sgexp.simulation.unreadable import read_unreadable
from sgexp.tasks import records
from sgexp.tasks.prepare import cache_folder, simulate_into, simulation_recipe
from sgexp.tasks.schema import AuditTask

if TYPE_CHECKING:
    from sgexp.config import Config


def audit(config: Config) -> None:
    """Survey the data set, print and write what was found; a data set that is not clean ends in a DataError."""
    task = config.task
    assert isinstance(task, AuditTask)
    run = RunFolder.create(Path(config.output_dir), "audit", config.name, plain(config))
    run.describe(plain(config), records.overrides(), seeds=records.seeds(config))
    try:
        with run.recording(task="audit", name=config.name, config_hash=config_hash(plain(config))):
            found = survey_of(config, task)
            write_json(run.path("audit.json"), found.as_dict())
            audit_page.draw(found, run.path("audit.png"))
            audit_page.write_audit_page(found, run.path("audit.png"), run.path("audit.html"))
            run.update(data_fingerprint=found.fingerprint, clean=found.clean)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command reads only the files it has not read yet") from None
    for table in audit_page.tables(found):
        console.print(table)
    console.print(f"[bold]page[/bold] {run.path('audit.html')}")
    if not found.clean:
        kinds = [f"{finding.count:,} {finding.kind}" for finding in found.findings if finding.counts]
        raise DataError(f"the data in {found.root} are not clean: {', '.join(kinds)}; {run.path('audit.html')} tells")
    console.print("[green]clean[/green]: nothing was found that counts")


def survey_of(config: Config, task: AuditTask) -> Survey:
    """Read the data set (made first, where it is made) and return its survey."""
    dataset = build(config.dataset)
    folder = dataset.prepare(lambda folder: simulate_into(folder, config), simulation_recipe(config))
    dataset.max_bad_fraction = 1.0  # an audit lists them all
    cache = cache_folder(config)
    catalog = dataset.catalog(cache)
    contents = read_contents(catalog, cache, pixels=task.pixels)
    missing = {failure.material: failure.reason for failure in read_failures(folder)} | dict(read_unreadable(folder))
    return survey(catalog, contents, split_of(config, catalog, contents), task.pixels, missing)


def split_of(config: Config, catalog: Catalog, contents: Contents) -> Split:
    """Return the split that training would make, of the samples that training would keep; the others are unused."""
    usable = np.flatnonzero(contents.fault == "")
    made = build(config.split).make(catalog.take(usable))
    part = np.full(len(catalog), UNUSED, dtype=np.int8)
    part[usable] = made.part
    return Split(part, made.name, made.leaky, made.notes)
