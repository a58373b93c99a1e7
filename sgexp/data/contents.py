"""What the files hold beside the catalog's columns: a digest of every sample's pixels, what is wrong with them, cells.

One pass, file by file and sample by sample, so that never more than one sample is in memory. What was found in a file
is kept under its size and modification time: a pass that was stopped goes on where it was, a second one reads nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.console import interrupts_not_inherited
from sgexp.console import progress as progress_display
from sgexp.data.catalog import Catalog
from sgexp.data.formats import smc19
from sgexp.data.samples import SampleHeader
from sgexp.errors import DataError
from sgexp.machine import available_cores

CONTENTS_VERSION = 1
_FILES_A_PROCESS = 4  # fewer files than this are not worth a process, which takes about a second to start
_NAMES = ("digest", "fault", "oddity", "cell")
_Columns = dict[str, NDArray[np.str_]]  # key and _NAMES: a row a sample of one file


@dataclass(frozen=True)
class Contents:
    """A row for every row of the catalog (N,).

    ``digest``: of the pixels as float32, equal for equal patterns ("" if they were not read); ``fault``: why training
    sets the sample aside ("" if it does not); ``oddity``: what no detector counts, though it can be trained on;
    ``cell``: group, formula and cell to three digits, equal for materials that headers do not tell apart ("" where the
    file gives no usable cell).
    """

    digest: NDArray[np.str_]
    fault: NDArray[np.str_]
    oddity: NDArray[np.str_]
    cell: NDArray[np.str_]


def read_contents(catalog: Catalog, cache_dir: Path, pixels: bool = True, processes: int | None = None) -> Contents:
    """Return the contents of the catalog's samples; without ``pixels`` only headers are read again."""
    folder = Path(cache_dir) / ("contents" if pixels else "cells")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The cache folder {folder} cannot be made ({error.strerror}).") from error
    names = list(dict.fromkeys(catalog.path.tolist()))
    files: dict[str, _Columns] = {}
    with progress_display(transient=True) as display:
        what = "Reading patterns" if pixels else "Reading cells"
        task = display.add_task(f"{what}, file by file", total=len(names))
        for name, columns in _each_file(catalog.root, names, folder, pixels, processes):
            files[name] = columns
            display.advance(task)
    return _in_order(catalog, files)


def _each_file(
    root: Path, names: list[str], folder: Path, pixels: bool, processes: int | None
) -> Iterator[tuple[str, _Columns]]:
    """Yield (name, columns) of every file as soon as it is known, several files at a time where there are many."""
    workers = min(processes or available_cores(), len(names) // _FILES_A_PROCESS)
    if workers < 2:
        for name in names:
            yield name, file_contents(root, name, folder, pixels)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with interrupts_not_inherited():  # submitting starts the processes
            futures = {pool.submit(file_contents, root, name, folder, pixels): name for name in names}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def file_contents(root: Path, name: str, folder: Path, pixels: bool) -> _Columns:
    """Return the contents of one file, from ``folder`` where the file has not changed since."""
    try:
        state = (root / name).stat()
    except OSError as error:
        raise DataError(f"{root / name} is gone ({error.strerror}): start again once the folder is at rest.") from error
    facts = f"{CONTENTS_VERSION}|{(root / name).resolve()}|{state.st_size}|{state.st_mtime_ns}"
    kept = folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.npz"
    if (columns := _load(kept)) is None:
        columns = _read(root / name, pixels)
        _save(kept, columns)
    return columns


def _read(path: Path, pixels: bool) -> _Columns:
    headers = [found for found in smc19.scan(path) if isinstance(found, SampleHeader)]
    digests, faults, oddities = ([""] * len(headers) for _ in range(3))
    if pixels and headers:
        with smc19.open_file(path) as file:
            for index, header in enumerate(headers):
                try:
                    stack = smc19.read_patterns(file, header.key)
                except DataError as error:
                    faults[index] = str(error).removeprefix(f"{file.filename}:{header.key}").strip().rstrip(".")
                    continue
                digests[index] = hashlib.blake2b(np.ascontiguousarray(stack).tobytes(), digest_size=16).hexdigest()
                faults[index], oddities[index] = pixel_fault(stack), pixel_oddity(stack)
    keys, cells = [header.key for header in headers], [_cell(header) for header in headers]
    columns = {"key": keys, "digest": digests, "fault": faults, "oddity": oddities, "cell": cells}
    return {name: np.array(values, dtype=np.str_) for name, values in columns.items()}


def pixel_fault(stack: NDArray[np.float32]) -> str:
    """Say why patterns (3, H, H) cannot be trained on; "" if they can."""
    broken = int(stack.size - np.count_nonzero(np.isfinite(stack)))
    if broken:
        return f"holds {broken:,} pixels that are NaN or infinite"
    return "" if (stack > 0).any() else "holds no intensity at all"


def pixel_oddity(stack: NDArray[np.float32]) -> str:
    """Say what no detector counts in patterns that can be trained on; "" if nothing."""
    if pixel_fault(stack):
        return ""
    empty = [str(index + 1) for index, pattern in enumerate(stack) if not (pattern > 0).any()]
    if empty:
        return f"holds no intensity in pattern {' and '.join(empty)} of {len(stack)}"
    negative = int(np.count_nonzero(stack < 0))
    return f"holds {negative:,} negative pixels" if negative else ""


def _cell(header: SampleHeader) -> str:
    if header.abc is None or header.angles is None or not header.formula:
        return ""
    elements = " ".join(sorted(re.findall(r"[A-Z][a-z]?\d*\.?\d*", header.formula))) or header.formula
    lengths, angles = (",".join(f"{value:.3f}" for value in triple) for triple in (header.abc, header.angles))
    return f"{header.space_group}|{elements}|{lengths}|{angles}"


def _in_order(catalog: Catalog, files: dict[str, _Columns]) -> Contents:
    """Return what was found in the order of the catalog's rows; a sample that is gone meanwhile has a fault."""
    found: dict[str, list[str]] = {name: [] for name in _NAMES}
    index_of = {
        path: {key: index for index, key in enumerate(columns["key"].tolist())} for path, columns in files.items()
    }
    for path, key in zip(catalog.path.tolist(), catalog.key.tolist(), strict=True):
        index = index_of[path].get(key)
        for name in _NAMES:
            missing = "is no longer in its file" if name == "fault" else ""
            found[name].append(missing if index is None else str(files[path][name][index]))
    return Contents(**{name: np.array(values, dtype=np.str_) for name, values in found.items()})


def _save(path: Path, columns: _Columns) -> None:
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"The cache {path} cannot be written ({error.strerror}): free some space.") from error


def _load(path: Path) -> _Columns | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in ("key", *_NAMES)}
        if len({len(column) for column in columns.values()}) == 1:
            return columns
    return None
