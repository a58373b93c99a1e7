"""Many crystals to a folder of SMC-19 files: in parallel processes, resumable after a kill, made by one job at a time.

The unit of work is one file, ``batch_train_N.h5`` with ``materials_per_file`` crystals. A file gets its name when it is
whole, so what a killed job leaves behind is a number of whole files and a few ``.part`` files that the next job makes
again. The values do not depend on the number of processes. Many jobs can share the files of one folder (``Shard``):
each file has a lock while it is made, and the job that finds all of them there finishes the folder's records.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import multiprocessing
import os
import queue
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import sgexp
from sgexp import console
from sgexp.crystallography.crystal import Crystal
from sgexp.errors import DataError, UserError
from sgexp.machine import available_cores
from sgexp.runs import as_before
from sgexp.schema import Component, build, plain
from sgexp.simulation import protocol
from sgexp.simulation.schema import SAME_RESULT, SimulationConfig, engine_version
from sgexp.simulation.shards import WHOLE, Shard

SCHEMA_VERSION = 1
MANIFEST, FAILED, LOCK = "manifest.json", "failed.csv", ".generating.lock"
_PIECE = ".failed_{}.csv"  # the failures of one file, until the folder is finished
_FAILED_COLUMNS = ("material", "family", "space_group", "reason")
_FEW = 200  # samples; fewer are not worth a forecast
_RESERVE_BYTES = 64 * 2**20  # left free on the disk


@dataclass(frozen=True)
class Failure:
    """A crystal that could not be simulated, and why."""

    material: str
    family: str
    space_group: int
    reason: str


@dataclass(frozen=True)
class Generated:
    """What a folder holds after ``generate``: files, samples, crystals left out, and the time this call took.

    Of a shard these are its own files, with what is in them; ``missing`` is how many of the folder's are still to come
    from others.
    """

    folder: Path
    files: tuple[str, ...]
    materials: int
    samples: int
    failed: tuple[Failure, ...]
    seconds: float
    missing: int = 0


@dataclass(frozen=True)
class _File:
    """One file to make: its number and its crystals, each with its energies."""

    number: int
    crystals: tuple[Crystal, ...]
    energies_kev: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> str:
        return f"batch_train_{self.number}.h5"


def generate(
    crystals: Sequence[Crystal],
    folder: Path,
    config: SimulationConfig,
    engine: Component | None = None,
    progress: bool = True,
    wait_seconds: float = -1.0,
    shard: Shard = WHOLE,
) -> Generated:
    """Simulate ``crystals`` into ``folder``; whole files of an earlier job with the same settings are kept.

    Another job that makes the same folder is waited for (``wait_seconds`` < 0: as long as it takes) and its result
    used. ``shard``: make only these files, while other jobs make theirs. ``progress`` shows a bar. Crystals that cannot
    be simulated are listed in ``failed.csv``. ``DataError``: the folder holds data of other settings, or the disk is
    full.
    """
    engine = engine or config.engine
    protocol.check_sampling(config)
    _check_names(crystals)
    folder = Path(folder)
    started = time.monotonic()
    files = _plan(crystals, config)
    mine = shard.share(files)
    record = _Record(folder, crystals, config, engine, tuple(file.name for file in files))
    with ExitStack() as held:
        lock = held.enter_context(_locked(folder, wait_seconds))
        status = record.status()
        left = _missing(mine, folder)
        if left or status != "complete":
            if left or status is None:
                record.write("unfinished")
            _check_room(folder, left, config)
            if not shard.whole:
                lock.release()  # the other shards work meanwhile; each file has a lock of its own
            if progress:
                _announce(left, config, engine)
            zones, aside = _run(left, folder, config, engine, progress)
            if aside and progress:
                console.console.print(
                    f"[yellow]{aside:,} of {zones:,} zones were left to multislice: their cells are too large for "
                    f"{_name(engine)}, or their slabs too thick ('fallback' of each sample says which).[/yellow]"
                )
            if not shard.whole:
                held.enter_context(_locked(folder, wait_seconds))
            if not (missing := sum(not (folder / file.name).is_file() for file in files)):
                record.write("complete", failed=len(_settle_failures(folder, crystals)))
        else:
            missing = 0
        failures = read_failures(folder)
    bad = {failure.material for failure in failures}
    energies = [e for file in mine for c, e in zip(file.crystals, file.energies_kev, strict=True) if c.name not in bad]
    own = {crystal.name for file in mine for crystal in file.crystals}
    return Generated(
        folder=folder,
        files=tuple(file.name for file in mine),
        materials=len(energies),
        samples=sum(map(len, energies)),
        failed=tuple(failure for failure in failures if failure.material in own),
        seconds=time.monotonic() - started,
        missing=missing,
    )


def settings_fingerprint(crystals: Sequence[Crystal], config: SimulationConfig, engine: Component) -> str:
    """Return 16 hexadecimal digits that name the values of a generated folder: crystals, protocol and engine."""
    digest = hashlib.sha256(json.dumps(_settings(config, engine), sort_keys=True).encode())
    for crystal in crystals:
        digest.update(f"{crystal.name}|{crystal.parent}|{crystal.family}|{crystal.space_groups}|".encode())
        for array in (crystal.cell, crystal.numbers, crystal.positions):
            digest.update(np.ascontiguousarray(array).tobytes())
        if config.file_displacement:
            digest.update(repr(crystal.displacements).encode())
    return digest.hexdigest()[:16]


def _settings(config: SimulationConfig, engine: Component) -> dict[str, Any]:
    chosen = as_before(plain(config) | {"engine": plain(engine)}, "simulation")
    computing = chosen.pop("engine")
    computing["target"] = computing.pop("_target_")
    parts = {"simulation": chosen, "engine": computing}
    return {"schema_version": SCHEMA_VERSION, "engine_version": engine_version(config, engine)} | {
        part: {name: value for name, value in values.items() if name not in SAME_RESULT}
        for part, values in parts.items()
    }


def energies_of(config: SimulationConfig, material: int) -> tuple[float, ...]:
    """Return the beam energies of the ``material``-th crystal in keV, rising: as many as asked for, chosen by seed."""
    count = min(config.energies_per_material, len(config.energies_kev))
    rng = np.random.default_rng([config.seed, material])
    chosen = np.sort(rng.choice(len(config.energies_kev), size=count, replace=False))
    return tuple(config.energies_kev[index] for index in chosen)


def _plan(crystals: Sequence[Crystal], config: SimulationConfig) -> list[_File]:
    """Deal the crystals into files; neighbours go to different files, so that no file holds only large cells."""
    count = -(-len(crystals) // config.materials_per_file)
    return [
        _File(
            number,
            tuple(crystals[index] for index in range(number, len(crystals), count)),
            tuple(energies_of(config, index) for index in range(number, len(crystals), count)),
        )
        for number in range(count)
    ]


def _missing(files: Sequence[_File], folder: Path) -> list[_File]:
    """Return the files that have to be made; those that are there but damaged are deleted.

    HDF5 notes a file's length in the file and refuses one that was cut, so that opening it is the test.
    """
    from sgexp.data.formats.smc19 import open_file

    left = []
    for file in files:
        path = folder / file.name
        if path.is_file():
            try:
                open_file(path).close()
            except DataError as error:
                if isinstance(error.__cause__, PermissionError):
                    raise
                console.console.print(f"[yellow]{error} Its patterns are simulated again.[/yellow]")
                path.unlink()
        if not path.is_file():
            left.append(file)
    return left


def _check_names(crystals: Sequence[Crystal]) -> None:
    if not crystals:
        raise DataError("there is no crystal to simulate: give a folder with CIF files, or use the built-in library.")
    names: set[str] = set()
    for crystal in crystals:
        if crystal.name in names:
            raise DataError(f"two crystals are called '{crystal.name}': every material needs its own name.")
        names.add(crystal.name)


@contextmanager
def _locked(folder: Path, wait_seconds: float) -> Iterator[FileLock]:
    """Hold the folder's lock, or wait for the job that holds it; the lock goes with the process, killed or not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=1.0)  # shards hold it for moments only
        except Timeout:
            console.console.print(f"Another job is simulating into {folder}: waiting for it.")
            lock.acquire(timeout=wait_seconds)
    except Timeout:
        raise DataError(f"another job is still simulating into {folder}: try again later.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error
    try:
        yield lock
    finally:
        lock.release()


# --- processes -------------------------------------------------------------------------------------------------------


def _run(
    files: list[_File], folder: Path, config: SimulationConfig, engine: Component, progress: bool
) -> tuple[int, int]:
    """Make the files, several at once; the first error that concerns everyone ends all.

    Return how many zones were simulated, and how many of these the engine left to multislice.
    """
    zones, aside = 0, 0
    if not files:
        return zones, aside
    context = multiprocessing.get_context("spawn")  # fork and torch's threads do not go together
    count = min(config.processes or available_cores(), len(files))
    events = context.Queue()
    following = context.Value("i", 0)
    workers: list[BaseProcess] = [
        context.Process(target=_work, args=(files, following, events, folder, config, engine), daemon=True)
        for _ in range(count)
    ]
    total = sum(len(energies) for file in files for energies in file.energies_kev)
    try:
        with _one_thread_each(), console.interrupts_not_inherited():
            for worker in workers:
                worker.start()
        with console.progress() if progress else nullcontext() as bar:
            task = bar.add_task("Simulating CBED stacks", total=total) if bar else None
            for done, simulated, left in _until_done(workers, events, folder):
                zones, aside = zones + simulated, aside + left
                if bar is not None and task is not None:
                    bar.advance(task, done)
    finally:
        started = [worker for worker in workers if worker.pid is not None]
        for worker in started:
            worker.kill()  # its unfinished file is a .part; nothing whole can be lost
        for worker in started:
            worker.join()
    return zones, aside


def _name(engine: Component) -> str:
    return engine.target.rpartition(".")[2].lower()


def _announce(files: list[_File], config: SimulationConfig, engine: Component) -> None:
    """Say how long many samples will take, and what the engine leaves to another."""
    samples = sum(len(energies) for file in files for energies in file.energies_kev)
    if samples < _FEW:
        return
    from sgexp.simulation.forecast import forecast

    found = forecast([crystal for file in files for crystal in file.crystals], config, build(engine))
    if found is None:
        return
    processes = min(config.processes or available_cores(), len(files))
    console.console.print(
        f"[bold]simulation[/bold] {samples:,} samples by {_name(engine)} in {processes} processes: about [bold]"
        f"{console.duration(found.seconds * samples / processes)}[/bold]{found.aside} (from {found.measured} of them)"
    )


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give the processes started inside one thread each for their matrix products: they share the cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _until_done(workers: list[BaseProcess], events: Any, folder: Path) -> Iterator[tuple[int, int, int]]:
    """Yield the samples, their zones and those left to multislice of each event; raise a worker's error or death."""
    finished = 0
    while finished < len(workers):
        try:
            kind, value = events.get(timeout=0.5)
        except queue.Empty:
            dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
            if dead:
                raise DataError(
                    f"a simulating process ended with code {dead[0].exitcode} (out of memory?): what is whole in "
                    f"{folder} is kept; give the same command again, with fewer simulation.processes if memory is short"
                ) from None
            continue
        if kind == "samples":
            yield value
        elif kind == "finished":
            finished += 1
        else:
            raise value


def _work(
    files: list[_File], following: Any, events: Any, folder: Path, config: SimulationConfig, engine: Component
) -> None:
    """Make file after file until none is left; the body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a wave's tails are denormal numbers, which are a hundred times slower
    try:
        computing = build(engine)
        while True:
            with following.get_lock():
                index = following.value
                following.value += 1
            if index >= len(files):
                break
            _make_file(files[index], folder, config, computing, events)
        events.put(("finished", None))
    except UserError as error:
        events.put(("error", error))
    except Exception as error:
        events.put(("error", RuntimeError(f"simulation failed in a worker process: {error!r}")))


def _make_file(file: _File, folder: Path, config: SimulationConfig, engine: Any, events: Any) -> None:
    """Make one file, unless another job makes it at this moment or has just made it."""
    path = folder / file.name
    with _own(path):
        if path.is_file():
            events.put(("samples", (sum(map(len, file.energies_kev)), 0, 0)))
        else:
            _write_file(file, path, config, engine, events)


def _write_file(file: _File, path: Path, config: SimulationConfig, engine: Any, events: Any) -> None:
    from sgexp.data.formats.smc19 import Writer
    from sgexp.simulation.stack import simulate

    failures: list[Failure] = []
    with Writer(path) as writer:
        for index, (crystal, energies) in enumerate(zip(file.crystals, file.energies_kev, strict=True)):
            _exit_with_parent()
            stacks = []
            try:
                stacks = [simulate(crystal, config, engine, energy) for energy in energies]
            except DataError as error:
                failures.append(Failure(crystal.name, crystal.family, crystal.space_group, str(error)))
            else:
                for stack in stacks:
                    k = config.energies_kev.index(stack.energy_kev)
                    writer.add(f"sample_{index}_{k}", stack.patterns, stack.attributes(crystal), stack.extra(crystal))
            left = [int(stack.fallback.sum()) for stack in stacks]
            events.put(("samples", (len(energies), protocol.ZONES * len(stacks), sum(left))))
        _exit_with_parent()
        if failures:  # before the file gets its name, so that no failure is lost by a kill
            _write_failures(path.parent / _PIECE.format(file.number), failures)


@contextmanager
def _own(path: Path) -> Iterator[None]:
    """Hold the lock of one file. It goes with the process, killed or not; it is deleted when the file is there.

    Who waited for a lock that is deleted meanwhile, or makes it anew, finds the file there and does nothing.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=1.0)
            break
        except Timeout:
            _exit_with_parent()
    try:
        yield
        if path.is_file():
            Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()


def _exit_with_parent() -> None:
    """End this process at once if its parent was killed: a new job may already be making the same files."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


# --- the folder's own records ----------------------------------------------------------------------------------------


def _check_room(folder: Path, files: list[_File], config: SimulationConfig) -> None:
    samples = sum(len(energies) for file in files for energies in file.energies_kev)
    needed = samples * (protocol.ZONES * config.pixels**2 * 4 + 12_000) + _RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder} needs {needed / 2**20:,.0f} MB and its disk has {free / 2**20:,.0f} MB free: free some space, "
            "choose another folder, or a smaller size=."
        )


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write a list of failures, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_FAILED_COLUMNS)
        writer.writerows(dataclasses.astuple(failure) for failure in failures)
    os.replace(part, path)


def read_failures(folder: Path) -> list[Failure]:
    """Return the crystals that ``failed.csv`` of a folder lists, by name; lines of another form are passed over.

    In a folder that is not finished each file has a list of its own.
    """
    unique: dict[str, Failure] = {}
    for path in (folder / FAILED, *sorted(folder.glob(_PIECE.format("*")))):
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.reader(file):
                if len(row) == len(_FAILED_COLUMNS) and row[2].isascii() and row[2].isdigit():
                    unique[row[0]] = Failure(row[0], row[1], int(row[2]), row[3])
    return sorted(unique.values(), key=lambda failure: failure.material)


def _settle_failures(folder: Path, crystals: Sequence[Crystal]) -> list[Failure]:
    """Put all lists into failed.csv, a line a crystal, sorted; there is none when nothing failed."""
    failed = read_failures(folder)
    if not failed:
        return []
    if len(failed) == len(crystals):
        raise DataError(f"none of the {len(crystals)} crystals can be simulated; the first: {failed[0].reason}")
    _write_failures(folder / FAILED, failed)
    for piece in folder.glob(_PIECE.format("*")):
        piece.unlink(missing_ok=True)
    return failed


@dataclass(frozen=True)
class _Record:
    """``manifest.json``: what a folder is made from, and whether it is finished."""

    folder: Path
    crystals: Sequence[Crystal]
    config: SimulationConfig
    engine: Component
    files: tuple[str, ...]

    def status(self) -> str | None:
        """Return "unfinished" or "complete", None where nothing was begun; refuse what other settings have made."""
        manifest = _read_manifest(self.folder)
        if manifest and manifest.get("fingerprint") != self.fingerprint:
            raise DataError(
                f"{self.folder} holds data made from other crystals or settings ({MANIFEST}): choose another folder, "
                "or delete it."
            )
        return str(manifest.get("status")) if manifest else None

    @cached_property
    def fingerprint(self) -> str:
        """What names the values of the folder."""
        return settings_fingerprint(self.crystals, self.config, self.engine)

    def write(self, status: str, failed: int = 0) -> None:
        """Write the manifest, whole or not at all."""
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "status": status,
            "version": sgexp.__version__,
            "fingerprint": self.fingerprint,
            "settings": _settings(self.config, self.engine),
            "materials": len(self.crystals),
            "failed": failed,
            "files": list(self.files),
        }
        part = self.folder / (MANIFEST + ".part")
        try:
            part.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            os.replace(part, self.folder / MANIFEST)
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written ({error.strerror}): free some space or choose another folder."
            ) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder / MANIFEST} cannot be read ({error}): delete the folder or choose another."
        ) from error
    return manifest if isinstance(manifest, dict) else {}
