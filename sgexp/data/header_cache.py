"""Headers of many files: read once, in parallel, and kept file by file under size and modification time."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.console import interrupts_not_inherited
from sgexp.console import progress as progress_display
from sgexp.data.formats import smc19
from sgexp.data.proxy_families import proxy_family
from sgexp.data.samples import BadSample, SampleHeader
from sgexp.errors import DataError
from sgexp.machine import available_cores

CACHE_VERSION = 2  # 2: with cells
_FILES_A_PROCESS = 8  # fewer new files than this are not worth a process, which takes about a second to start


@dataclass(frozen=True)
class FileHeaders:
    """The headers of one file as columns (n,), what was set aside, and ``probe``, a digest of a few of its pixels.

    ``guessed`` marks rows whose family is the proxy; ``cell`` (n, 6) is NaN where the file gives none that can be used.
    """

    key: NDArray[np.str_]
    space_group: NDArray[np.int16]
    material: NDArray[np.str_]
    family: NDArray[np.str_]
    energy_kev: NDArray[np.float32]
    formula: NDArray[np.str_]
    pixels: NDArray[np.int16]
    cell: NDArray[np.float32]
    guessed: NDArray[np.bool_]
    bad: tuple[BadSample, ...]
    probe: str


def read_headers(
    root: Path, names: Sequence[str], cache_dir: Path, progress: bool = True, processes: int | None = None
) -> list[FileHeaders]:
    """Return the headers of each file, from the cache where the file has not changed since."""
    cached = {name: _load(_cache_file(root, name, cache_dir), name) for name in names}
    missing = [name for name, table in cached.items() if table is None]
    if missing:
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"The cache folder {cache_dir} cannot be made ({error.strerror}).") from error
        with progress_display(transient=True) if progress else contextlib.nullcontext() as display:
            task = display.add_task("Reading headers", total=len(missing)) if display else None
            done: Callable[[], None] = (lambda: display.advance(task)) if display else (lambda: None)  # type: ignore
            cached.update(_scan_all(root, missing, cache_dir, done, processes))
    return [table for table in cached.values() if table is not None]


def _scan_all(
    root: Path, names: Sequence[str], cache_dir: Path, done: Callable[[], None], processes: int | None
) -> dict[str, FileHeaders]:
    tables: dict[str, FileHeaders] = {}
    workers = min(processes or available_cores(), len(names) // _FILES_A_PROCESS)
    if workers < 2:
        for name in names:
            tables[name] = scan_file(root, name, cache_dir)
            done()
        return tables
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with interrupts_not_inherited():  # submitting starts the processes
            futures = {pool.submit(scan_file, root, name, cache_dir): name for name in names}
        try:
            for future in as_completed(futures):
                tables[futures[future]] = future.result()
                done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tables


def scan_file(root: Path, name: str, cache_dir: Path) -> FileHeaders:
    """Read one file's headers and put them into the cache."""
    cache_file = _cache_file(root, name, cache_dir)  # before reading: a file that changes meanwhile is read again
    headers: list[SampleHeader] = []
    bad: list[BadSample] = []
    for found in smc19.scan(root / name, name):
        if isinstance(found, BadSample):
            bad.append(found)
        else:
            headers.append(found)
    guessed = [not header.family for header in headers]
    table = FileHeaders(
        key=_text_column(header.key for header in headers),
        space_group=np.array([header.space_group for header in headers], dtype=np.int16),
        material=_text_column(header.material for header in headers),
        family=_text_column(
            header.family or proxy_family(header.space_group, header.formula, header.abc, header.angles)
            for header in headers
        ),
        energy_kev=np.array([header.energy_kev for header in headers], dtype=np.float32),
        formula=_text_column(header.formula for header in headers),
        pixels=np.array([header.pixels for header in headers], dtype=np.int16),
        cell=np.array([_cell(header) for header in headers], dtype=np.float32).reshape(-1, 6),
        guessed=np.array(guessed, dtype=np.bool_),
        bad=tuple(bad),
        probe=smc19.pixel_digest(root / name, [header.key for header in headers]),
    )
    _save(cache_file, table)
    return table


def _cell(header: SampleHeader) -> tuple[float, ...]:
    return (*(header.abc or (math.nan,) * 3), *(header.angles or (math.nan,) * 3))


def _text_column(values: object) -> NDArray[np.str_]:
    return np.array(list(values), dtype=np.str_)  # type: ignore[call-overload]


def _cache_file(root: Path, name: str, cache_dir: Path) -> Path:
    state = (root / name).stat()
    facts = f"{CACHE_VERSION}|{(root / name).resolve()}|{state.st_size}|{state.st_mtime_ns}"
    return cache_dir / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npz"


def _save(path: Path, table: FileHeaders) -> None:
    columns = {name: value for name, value in vars(table).items() if name not in {"bad", "probe"}}
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                **columns,
                bad_key=_text_column(bad.key for bad in table.bad),
                bad_reason=_text_column(bad.reason for bad in table.bad),
                probe=np.array(table.probe),
            )
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"The header cache {path} cannot be written ({error.strerror}): free some space.") from error


def _load(path: Path, name: str) -> FileHeaders | None:
    """Return a file's cached headers, or ``None`` where there are none or they are damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            data = dict(arrays)
        bad = zip(data.pop("bad_key").tolist(), data.pop("bad_reason").tolist(), strict=True)
        probe = str(data.pop("probe"))
        return FileHeaders(**data, bad=tuple(BadSample(name, key, reason) for key, reason in bad), probe=probe)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
