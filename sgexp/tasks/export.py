"""``task=export``: a data set as a folder that an archive can take: data, parts, checksums, metadata, datasheet."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sgexp
from sgexp.console import console, progress
from sgexp.crystallography.groups import space_group
from sgexp.data.catalog import Catalog
from sgexp.data.split import PARTS, Split
from sgexp.errors import ConfigError, DataError
from sgexp.report.croissant import CLASSES, SAMPLES, croissant
from sgexp.report.datasheet import datasheet
from sgexp.runs import write_json, write_text
from sgexp.schema import build, plain
from sgexp.tasks.prepare import Data, prepare_data
from sgexp.tasks.schema import ExportTask
from sgexp.tasks.score import sample_ids

if TYPE_CHECKING:
    from sgexp.config import Config

SUMS = "SHA256SUMS"
_SEALED = {"test_material": "sealed_material", "test_family": "sealed_family"}
_BLOCK = 2**20


@dataclass(frozen=True)
class File:
    """A file of the archive."""

    name: str
    sha256: str
    bytes: int


def export(config: Config) -> None:
    """Make the data set where it is not made yet, and write its archive; the list of checksums comes last."""
    task = config.task
    assert isinstance(task, ExportTask)
    data = prepare_data(config)
    title = data.title or f"sgexp {config.name}"
    folder = Path(task.folder) if task.folder else Path(config.output_dir) / "export" / title.replace(" ", "-")
    _make_empty(folder)
    parts = parts_of(config, data.catalog)
    copy_data(data.catalog, folder)
    write_tables(data.catalog, parts, folder)
    write_words(config, data, parts, title, folder)
    described = listed(folder)
    told = croissant(
        title,
        _description(data.catalog),
        version_of(title),
        date.today().isoformat(),
        task.url,
        _citation(title),
        [vars(file) for file in described],
    )
    write_text(folder / "croissant.json", json.dumps(told, indent=2) + "\n")
    described = listed(folder)
    write_text(folder / SUMS, "".join(f"{file.sha256}  {file.name}\n" for file in described))
    size = sum(file.bytes for file in described)
    console.print(f"[bold]{title}[/bold] {len(described)} files, {size / 2**20:,.1f} MB: {folder}", soft_wrap=True)
    console.print(f"check it with: cd {folder} && sha256sum -c {SUMS}", soft_wrap=True)


def parts_of(config: Config, catalog: Catalog) -> np.ndarray:
    """Return the part of each row, (N,) str, the sealed ones by name; '' for rows that no part uses."""
    method = build(config.split)
    names = np.array([*PARTS, ""])
    split: Split = method.make(catalog)
    found = names[split.part].astype("<U20")
    if hasattr(method, "sealed"):
        opened = method.sealed(catalog)
        for part, name in _SEALED.items():
            found[opened.rows(part)] = name
    return found


def copy_data(catalog: Catalog, folder: Path) -> None:
    """Link the HDF5 files into ``folder/data``, or copy them where no link can be made."""
    names = sorted(set(catalog.path.tolist()))
    with progress(transient=True) as bar:
        task = bar.add_task("copying patterns", total=len(names))
        for name in names:
            target = folder / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = catalog.root / name
            try:
                os.link(source.resolve(), target)
            except OSError:
                _copy(source, target)
            bar.advance(task)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror}): free space or choose task.folder") from error


def write_tables(catalog: Catalog, parts: np.ndarray, folder: Path) -> None:
    """Write who belongs to which part, and the classes."""
    columns = (
        *(sample_ids(catalog), np.char.add("data/", catalog.path), catalog.key, catalog.material, catalog.family),
        *(catalog.space_group, catalog.energy_kev, parts),
    )
    _write_csv(folder / "split.csv", list(SAMPLES), zip(*(column.tolist() for column in columns), strict=True))
    groups = [space_group(number) for number in range(1, 231)]
    rows = [(group.number, group.symbol, group.crystal_system, group.point_group) for group in groups]
    _write_csv(folder / "classes.csv", list(CLASSES), rows)


def write_words(config: Config, data: Data, parts: np.ndarray, title: str, folder: Path) -> None:
    """Write recipe, datasheet, licence and notices."""
    assert isinstance(config.task, ExportTask)
    recipe = {
        "title": title,
        "sgexp": sgexp.__version__,
        "fingerprint": data.catalog.fingerprint,
        "dataset": {key: value for key, value in plain(config.dataset).items() if key != "root"},
        "split": plain(config.split),
        "simulation": plain(config.simulation) if config.dataset.simulates else None,
    }
    write_json(folder / "recipe.json", recipe)
    counts = dict(zip(*np.unique(parts[parts != ""], return_counts=True), strict=True))
    write_text(
        folder / "DATASHEET.md",
        datasheet(
            title, data.catalog, counts, config.simulation if config.dataset.simulates else None, config.task.url
        ),
    )
    write_text(folder / "NOTICE", files("sgexp.crystallography.library").joinpath("NOTICE").read_text(encoding="utf-8"))
    write_text(folder / "LICENSE", _licence())


def listed(folder: Path) -> list[File]:
    """Return every file below ``folder`` with its checksum, but the list of checksums itself."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != SUMS]
    found = []
    with progress(transient=True) as bar:
        task = bar.add_task("checksums", total=len(names))
        for name in names:
            found.append(File(name, _sha256(folder / name), (folder / name).stat().st_size))
            bar.advance(task)
    return found


def version_of(title: str) -> str:
    """Return the version that a title names, as metadata want it: three numbers."""
    found = [word[1:] for word in title.split() if word[:1] == "v" and word[1:2].isdigit()]
    return f"{found[0]}.0" if found else "0.0.0"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): choose task.folder=DIR") from error
    if taken is not None:
        raise ConfigError(f"{folder} is not empty: delete it, or choose another with task.folder=DIR")


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _licence() -> str:
    text = metadata.distribution("sgexp").read_text("licenses/LICENSE")
    own = Path(sgexp.__file__).parents[1] / "LICENSE"
    return text or own.read_text(encoding="utf-8")


def _description(catalog: Catalog) -> str:
    return (
        f"{len(catalog):,} simulated samples of three convergent-beam electron diffraction patterns each, of "
        f"{len(np.unique(catalog.material)):,} crystals in {len(np.unique(catalog.space_group))} space groups, in the "
        "HDF5 layout of SMC-19, with parts that keep crystals and structure families apart."
    )


def _citation(title: str) -> str:
    return f"@misc{{cbed230, title={{{title}}}, author={{The sgexp developers}}, year={{{date.today().year}}}}}"
