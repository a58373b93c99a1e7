"""What ``dataset=`` builds: where the files are, how they come to be, and their catalog."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from sgexp.console import console
from sgexp.crystallography.files import structure_files
from sgexp.crystallography.library import EDITION
from sgexp.crystallography.population import POPULATION_VERSION
from sgexp.data.catalog import Catalog, build_catalog, find_files
from sgexp.errors import DataError

COMPLETE_FILE = "complete.json"
DATASET_VERSION = 1

Generate = Callable[[Path], None]


class Dataset(Protocol):
    """A choice of the group ``dataset``; a plugin's class needs these three."""

    max_bad_fraction: float

    def prepare(self, generate: Generate, recipe: Mapping[str, Any]) -> Path:
        """Make the files where there are none yet, and return their folder.

        ``generate(folder)`` simulates into a folder (it goes on where it was stopped); ``recipe`` is everything that
        its result depends on, as plain values. Data sets that are not simulated ignore both.
        """
        ...

    def catalog(self, cache_dir: Path, progress: bool = True) -> Catalog:
        """Return the catalog of the prepared files."""
        ...


class SMC19:
    """The files of SMC-19 as they are, or any others in its layout, below ``root``."""

    def __init__(self, root: str, max_bad_fraction: float) -> None:
        self.root, self.max_bad_fraction = Path(root).expanduser(), max_bad_fraction

    def prepare(self, generate: Generate | None = None, recipe: Mapping[str, Any] | None = None) -> Path:
        """Return the folder; nothing is made."""
        find_files(self.root)
        return self.root

    def catalog(self, cache_dir: Path, progress: bool = True) -> Catalog:
        """Return the catalog of the files below ``root``."""
        return build_catalog(self.root, cache_dir, progress=progress, max_bad_fraction=self.max_bad_fraction)


class Crystals:
    """Patterns simulated from real crystals, in a folder of ``root`` named after the recipe that makes them.

    Parameters
    ----------
    root
        Folder of all such data.
    materials, cifs, seed
        Which crystals: how many, from which folder of files instead of the built-in ones, drawn with which seed.
    max_bad_fraction
        Give up when more of the samples cannot be used.
    library, jitter
        Edition of the built-in crystals, and the rms displacement (angstrom) of their substituted children.
    """

    def __init__(
        self,
        root: str,
        materials: int,
        cifs: str | None,
        seed: int,
        max_bad_fraction: float,
        library: int = EDITION,
        jitter: float = 0.0,
    ) -> None:
        self.root, self.max_bad_fraction = Path(root).expanduser(), max_bad_fraction
        self.materials, self.cifs, self.seed = materials, cifs, seed
        self.library, self.jitter = library, jitter
        self._folder: Path | None = None

    def recipe(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that the files depend on: these crystals, and the simulation's ``settings``."""
        crystals: dict[str, Any] = {"materials": self.materials, "seed": self.seed}
        # Said only where they are not what they were before they could be said, so that older folders keep their names.
        crystals |= {"library": self.library} if self.library != 1 else {}
        crystals |= {"jitter": self.jitter} if self.jitter else {}
        if self.cifs is not None:
            crystals = {"cifs": str(Path(self.cifs).expanduser().resolve()), "files": _listing(Path(self.cifs))}
        crystals["version"] = POPULATION_VERSION
        return {"version": DATASET_VERSION, "crystals": crystals, "simulation": dict(settings)}

    def folder(self, settings: Mapping[str, Any]) -> Path:
        """Return the folder that the files of these settings lie in (whether they are there or not)."""
        text = json.dumps(self.recipe(settings), sort_keys=True)
        return self.root / f"{self._kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def _kind(self) -> str:
        return "cifs" if self.cifs is not None else str(self.materials)

    def is_prepared(self, settings: Mapping[str, Any]) -> bool:
        """Tell whether the files of these settings are all there."""
        return _is_complete(self.folder(settings), self.recipe(settings))

    def prepare(self, generate: Generate, recipe: Mapping[str, Any]) -> Path:
        """Simulate into the recipe's folder unless its files are all there; one job at a time, others wait.

        ``recipe`` holds the simulation's settings without those that do not change the result (processes).
        """
        folder, facts = self.folder(recipe), self.recipe(recipe)
        self._folder = folder
        if _is_complete(folder, facts):
            return folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"The folder {folder} cannot be made ({error.strerror}): choose data_dir=DIR.") from error
        with _waited_for(FileLock(f"{folder}.lock")):
            if not _is_complete(folder, facts):
                _drop_changed(folder)
                generate(folder)
                _mark_complete(folder, facts)
        return folder

    def catalog(self, cache_dir: Path, progress: bool = True) -> Catalog:
        """Return the catalog of the files that ``prepare`` made or found."""
        if self._folder is None:
            raise DataError(f"The patterns in {self.root} must be prepared before they can be listed.")
        return build_catalog(self._folder, cache_dir, progress=progress, max_bad_fraction=self.max_bad_fraction)


class Stream(Crystals):
    """The files of ``Crystals``, the very same; what is simulated beside them in training is the loading's affair.

    Parameters
    ----------
    root, materials, cifs, seed, max_bad_fraction, library, jitter
        As for ``Crystals``.
    keep, substitute, energy, cache_mb
        Of the training patterns (``sgexp.loading.stream``).
    """

    def __init__(
        self,
        root: str,
        materials: int,
        cifs: str | None,
        seed: int,
        max_bad_fraction: float,
        keep: int,
        substitute: float,
        energy: str,
        cache_mb: int,
        library: int = EDITION,
        jitter: float = 0.0,
    ) -> None:
        super().__init__(root, materials, cifs, seed, max_bad_fraction, library, jitter)
        self.keep, self.substitute, self.energy, self.cache_mb = keep, substitute, energy, cache_mb


class _waited_for:
    """Hold a lock; say so when another job has it."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            console.print("Another job is simulating the same patterns: waiting for it.")
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _listing(folder: Path) -> list[list[str | int]]:
    """Return name, size and modification time of the structure files: what tells that the folder has changed."""
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in structure_files(folder.expanduser())]


def _data_sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in find_files(folder)[0]}


def _mark_complete(folder: Path, facts: Mapping[str, Any]) -> None:
    temporary = folder / f"{COMPLETE_FILE}.part"
    text = json.dumps({"recipe": facts, "bytes": _data_sizes(folder)}, indent=1, sort_keys=True)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / COMPLETE_FILE)


def _drop_changed(folder: Path) -> None:
    """Delete the files that no longer have the size they were finished with: they are made again."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        sizes = json.loads((folder / COMPLETE_FILE).read_text(encoding="utf-8"))["bytes"]
        for name, size in sizes.items():
            path = folder / name
            if path.parent == folder and path.is_file() and path.stat().st_size != size:
                console.print(f"[yellow]{path} is damaged: its patterns are simulated again.[/yellow]")
                path.unlink()
    (folder / COMPLETE_FILE).unlink(missing_ok=True)


def _is_complete(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Tell whether the folder was finished with these facts and each file still has its size."""
    try:
        found = json.loads((folder / COMPLETE_FILE).read_text(encoding="utf-8"))
        same = found["recipe"] == json.loads(json.dumps(facts))
        return same and all((folder / name).stat().st_size == size for name, size in found["bytes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
