"""How a packed store is made: one pass over the files, in blocks, that can be killed at any moment and go on later.

``patterns.npy.part`` has its full length from the start (so that a full disk is noticed before hours of work), each
finished block is noted in ``progress.jsonl``, and the final names appear only when all is there. A lock keeps two jobs
from making the same store twice.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from sgexp.console import console
from sgexp.console import progress as progress_display
from sgexp.data.catalog import BadSample, Catalog, enforce_bad_limit
from sgexp.data.contents import pixel_fault
from sgexp.data.formats import smc19
from sgexp.data.transforms import Transform
from sgexp.errors import DataError

STORE_VERSION = 1
PATTERNS_FILE = "patterns.npy"
STORE_FILE = "store.json"
JOURNAL_FILE = "progress.jsonl"
_BLOCK_BYTES = 32 * 2**20  # of stored patterns that a worker holds at once
_BLOCK_ROWS = 256
_SPARE_BYTES = 32 * 2**20
# Every sync costs milliseconds on a disk; this much work is lost at most when the machine goes down.
_SYNC_BYTES = 256 * 2**20
_SYNC_SECONDS = 5.0

BadRows = list[tuple[int, str]]


@dataclass(frozen=True)
class _Block:
    """Catalog rows of one file that are packed together."""

    path: str
    rows: NDArray[np.int64]


def pack(
    catalog: Catalog,
    transform: Transform,
    folder: Path,
    is_done: Callable[[], bool],
    workers: int,
    max_bad_fraction: float,
    progress: bool,
) -> None:
    """Make the store in ``folder``, or wait for another job that is making it; ``is_done`` says that it is there."""
    largest = int(catalog.pixels.max())
    if largest < transform.pixels:
        raise DataError(
            f"The patterns in {catalog.root} have {largest} x {largest} pixels and cannot be enlarged to "
            f"{transform.pixels}: set transform.pixels (or size.train_pixels) to {largest} or less."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The cache folder {folder} cannot be made ({error.strerror}).") from error
    with _only_one(folder):
        if not is_done():
            _pack_locked(catalog, transform, folder, max(1, workers), max_bad_fraction, progress)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        console.print("Another job is packing the same patterns: waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _pack_locked(
    catalog: Catalog, transform: Transform, folder: Path, workers: int, max_bad_fraction: float, progress: bool
) -> None:
    blocks = _blocks(catalog)
    part = folder / f"{PATTERNS_FILE}.part"
    patterns = _Patterns(part, (len(catalog), smc19.PATTERNS, transform.pixels, transform.pixels))
    try:
        with (
            _Journal(folder / JOURNAL_FILE, blocks, go_on=patterns.went_on) as journal,
            progress_display(transient=True) if progress else nullcontext() as display,
        ):
            bad = journal.bad()
            rows = sum(len(blocks[number].rows) for number in journal.done)
            task = display.add_task("Packing patterns", total=len(catalog), completed=rows) if display else None
            with _Syncing(patterns, journal) as syncing:
                for number, found in _packed_blocks(catalog, transform, patterns, blocks, set(journal.done), workers):
                    rows = len(blocks[number].rows)
                    syncing.add(number, found, rows)
                    bad += found
                    if found:
                        _stop_at_limit(catalog, bad, max_bad_fraction)
                    if display and task is not None:
                        display.advance(task, rows)
        _finish(catalog, transform, folder, part, sorted(bad))
    except OSError as error:
        raise _disk_error(folder, patterns.nbytes, error) from error
    finally:
        patterns.close()


def _packed_blocks(
    catalog: Catalog,
    transform: Transform,
    patterns: _Patterns,
    blocks: list[_Block],
    done: set[int],
    workers: int,
) -> Iterator[tuple[int, BadRows]]:
    """Pack the blocks that are not ``done`` and yield each one's number and bad rows when its pixels are written."""
    todo = [number for number in range(len(blocks)) if number not in done]
    if workers == 1:
        for number in todo:
            yield number, _pack_block(catalog, transform, patterns, blocks[number])
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        futures = {pool.submit(_pack_block, catalog, transform, patterns, blocks[number]): number for number in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:  # also on Ctrl-C and when the limit of bad samples is passed
            pool.shutdown(wait=True, cancel_futures=True)


def _blocks(catalog: Catalog) -> list[_Block]:
    """Cut the catalog into runs of rows of one file, small enough for memory; the same for the same catalog."""
    stack_bytes = smc19.PATTERNS * int(catalog.pixels.max()) ** 2 * 4
    length = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // stack_bytes))
    order = np.argsort(catalog.path, kind="stable")
    paths = catalog.path[order]
    files = np.split(order, np.flatnonzero(paths[1:] != paths[:-1]) + 1)
    return [
        _Block(str(catalog.path[rows[0]]), rows[start : start + length])
        for rows in files
        for start in range(0, len(rows), length)
    ]


def _pack_block(catalog: Catalog, transform: Transform, patterns: _Patterns, block: _Block) -> BadRows:
    """Read, check, code and write one block; return the rows that cannot be used, with reasons."""
    bad: BadRows = []
    good: dict[int, NDArray[np.float32]] = {}
    try:
        file = smc19.open_file(catalog.root / block.path)
    except DataError as error:
        return [(row, f"is unreadable: {error}") for row in block.rows.tolist()]
    with file:
        for row in block.rows.tolist():
            stack, reason = _checked_stack(file, str(catalog.key[row]), transform.pixels)
            if stack is None:
                bad.append((row, reason))
            else:
                good[row] = stack
    for size in {stack.shape[-1] for stack in good.values()}:  # one but in odd files
        rows = [row for row, stack in good.items() if stack.shape[-1] == size]
        with torch.inference_mode():
            coded = transform.encode(torch.from_numpy(np.stack([good[row] for row in rows])))
        for row, values in zip(rows, coded.to(torch.float16).numpy(), strict=True):
            patterns.write(row, values)
    return bad


def _checked_stack(file: h5py.File, key: str, pixels: int) -> tuple[NDArray[np.float32] | None, str]:
    """Return a sample's patterns, or ``None`` and the reason why they cannot be used."""
    try:
        stack = smc19.read_patterns(file, key)
    except DataError as error:
        return None, str(error).removeprefix(f"{file.filename}:{key}").strip().rstrip(".")
    if fault := pixel_fault(stack):
        return None, fault
    if stack.shape[-1] < pixels:
        return None, f"has {stack.shape[-1]} pixels a side, fewer than transform.pixels={pixels}"
    return stack, ""


def _stop_at_limit(catalog: Catalog, bad: BadRows, limit: float) -> None:
    """Stop early, rather than after hours, when too many samples are bad.

    Counted first: there may be ten thousands of blocks, and copying a large catalog takes a quarter of a second.
    """
    earlier = sum(bool(sample.key) for sample in catalog.bad)
    if len(bad) < len(catalog) and earlier + len(bad) <= limit * (earlier + len(catalog)):
        return
    found = [BadSample(str(catalog.path[row]), str(catalog.key[row]), reason) for row, reason in sorted(bad)]
    good = np.setdiff1d(np.arange(len(catalog)), [row for row, _ in bad])
    enforce_bad_limit(catalog.take(good).with_bad(found), limit)


def _finish(catalog: Catalog, transform: Transform, folder: Path, part: Path, bad: BadRows) -> None:
    """Give the files their final names: from here on the store is whole."""
    os.replace(part, folder / PATTERNS_FILE)
    facts = {
        "schema_version": STORE_VERSION,
        "fingerprint": catalog.fingerprint,
        "transform": transform.digest(),
        "rows": len(catalog),
        "pixels": transform.pixels,
        "bytes": os.path.getsize(folder / PATTERNS_FILE),
        "bad": bad,
    }
    temporary = folder / f"{STORE_FILE}.part"
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(temporary, folder / STORE_FILE)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)


def _disk_error(folder: Path, needed: int, error: OSError | None = None) -> DataError:
    free = shutil.disk_usage(folder).free
    reason = f" ({error.strerror or error})" if error is not None and error.errno != errno.ENOSPC else ""
    return DataError(
        f"The packed patterns need {needed / 2**20:,.0f} MB in {folder}, where {free / 2**20:,.0f} MB are free{reason}:"
        " free some space, choose another data_dir, or lower transform.pixels; what is packed so far is kept."
    )


def _allocate(file: int, nbytes: int) -> None:
    """Take the space now, so that no later write finds the disk full; not every system and file system can."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, nbytes)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise


class _Patterns:
    """The array on disk while it is being filled: plain writes at known places, in any order, from any thread.

    Not a writable memory map: on a full disk a map kills the process without a word.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * 2
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f2", "fortran_order": False, "shape": shape})
        self._offset = header.tell()
        self.nbytes = self._offset + shape[0] * self._row_bytes
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _disk_error(path.parent, self.nbytes, error) from error
        try:
            state = os.fstat(self._file)
            self.went_on = state.st_size == self.nbytes
            if shutil.disk_usage(path.parent).free + state.st_blocks * 512 < self.nbytes + _SPARE_BYTES:
                raise _disk_error(path.parent, self.nbytes)
            os.ftruncate(self._file, self.nbytes)
            _allocate(self._file, self.nbytes)
            os.pwrite(self._file, header.getvalue(), 0)
        except OSError as error:
            self.close()
            raise _disk_error(path.parent, self.nbytes, error) from error
        except DataError:
            self.close()
            raise

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self._row_bytes

    def write(self, row: int, values: NDArray[np.float16]) -> None:
        """Write one row; safe from several threads, as rows do not overlap."""
        data = memoryview(values.astype("<f2", copy=False).tobytes())
        place = self._offset + row * self._row_bytes
        while data:
            written = os.pwrite(self._file, data, place)
            data, place = data[written:], place + written

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class _Journal:
    """Which blocks are done: a line of JSON each, after a line that names the cut into blocks."""

    def __init__(self, path: Path, blocks: list[_Block], go_on: bool) -> None:
        self.done: dict[int, BadRows] = {}
        cut = {"blocks": len(blocks), "version": STORE_VERSION}
        if go_on and path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if lines and lines[0] == json.dumps(cut):
                self._recall(lines[1:], len(blocks))
        # Written anew, since a kill may have left half a line.
        temporary = path.with_name(f"{path.name}.part")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(cut) + "\n")
            for number, bad in self.done.items():
                file.write(json.dumps([number, bad]) + "\n")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")

    def bad(self) -> BadRows:
        """Return the rows of the finished blocks that cannot be used."""
        return [(row, reason) for rows in self.done.values() for row, reason in rows]

    def _recall(self, lines: list[str], count: int) -> None:
        for line in lines:
            try:
                number, bad = json.loads(line)
                if 0 <= number < count:
                    self.done[number] = [(int(row), str(reason)) for row, reason in bad]
            except (ValueError, TypeError):
                continue

    def add(self, number: int, bad: BadRows) -> None:
        """Note a block whose pixels are on the disk."""
        self.done[number] = bad
        self._file.write(json.dumps([number, bad]) + "\n")
        self._file.flush()

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Syncing:
    """Notes blocks in the journal after their pixels are on the disk, which is asked for once for many of them.

    The journal must not promise what the disk does not have. What waits is noted on the way out too, also when that
    is Ctrl-C or an error.
    """

    def __init__(self, patterns: _Patterns, journal: _Journal) -> None:
        self._patterns, self._journal = patterns, journal
        self._waiting: list[tuple[int, BadRows]] = []
        self._bytes, self._since = 0, time.monotonic()

    def add(self, number: int, bad: BadRows, rows: int) -> None:
        """Take note of a block whose pixels are written."""
        self._waiting.append((number, bad))
        self._bytes += rows * self._patterns.row_bytes
        if self._bytes >= _SYNC_BYTES or time.monotonic() - self._since >= _SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        if self._waiting:
            self._patterns.sync()
            for number, bad in self._waiting:
                self._journal.add(number, bad)
        self._waiting, self._bytes, self._since = [], 0, time.monotonic()

    def __enter__(self) -> _Syncing:
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
