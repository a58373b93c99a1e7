"""The catalog: one row a sample, from file headers alone, cached file by file and named by a fingerprint.

Rows are in natural order of path and key, so that the same files give the same rows anywhere. Samples that cannot be
used are set aside as ``bad``, with the reason; ``enforce_bad_limit`` says when there are too many of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.data.formats import smc19
from sgexp.data.header_cache import FileHeaders, read_headers
from sgexp.data.samples import BadSample, natural_order
from sgexp.errors import DataError

__all__ = ["BadSample", "Catalog", "build_catalog", "enforce_bad_limit", "unique_rows"]

# What the fingerprint is made of; the cell came later, and says nothing that a pixel or a name does not stand for.
_ROW_FIELDS = ("path", "key", "space_group", "material", "family", "energy_kev", "formula", "released", "pixels")
_COLUMNS = (*_ROW_FIELDS, "cell")


@dataclass(frozen=True, eq=False)
class Catalog:
    """One row a sample (N rows); every array is read-only in spirit.

    Attributes
    ----------
    root
        Folder that ``path`` is relative to.
    path, key
        (N,) str: file and group name of the sample.
    space_group
        (N,) int16, 1..230; the same for all samples of a material.
    material, family
        (N,) str; a material belongs to one family. ``family_is_proxy`` says that families were guessed from headers.
    energy_kev
        (N,) float32, NaN where unknown.
    formula, released
        (N,) str; ``released`` is 'train', 'dev' or 'test' as the file's name says, else ''.
    pixels
        (N,) int16: width of the stored patterns.
    fingerprint
        Hex digest of everything above but ``root`` (and of a few pixels of each file).
    bad
        Samples and files that were set aside.
    cell
        (N, 6) float32: a, b, c in Å and alpha, beta, gamma in degrees as the file says; NaN where it does not.
    """

    root: Path
    path: NDArray[np.str_]
    key: NDArray[np.str_]
    space_group: NDArray[np.int16]
    material: NDArray[np.str_]
    family: NDArray[np.str_]
    energy_kev: NDArray[np.float32]
    formula: NDArray[np.str_]
    released: NDArray[np.str_]
    pixels: NDArray[np.int16]
    fingerprint: str
    family_is_proxy: bool = False
    bad: tuple[BadSample, ...] = ()
    cell: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 6), np.float32))

    def __post_init__(self) -> None:
        if not len(self.cell):
            object.__setattr__(self, "cell", np.full((len(self.path), 6), np.nan, np.float32))
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns of a catalog must be equally long, not {lengths}")

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: NDArray[np.int64]) -> Catalog:
        """Return the catalog of these rows (in this order), under a fingerprint of its own."""
        rows = np.asarray(rows, dtype=np.int64)
        digest = hashlib.sha256(self.fingerprint.encode() + rows.tobytes()).hexdigest()[:32]
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return replace(self, **columns, fingerprint=digest)

    def with_bad(self, more: Iterable[BadSample]) -> Catalog:
        """Return the catalog with more samples in its list of those set aside (rows stay as they are)."""
        return replace(self, bad=self.bad + tuple(more))


def build_catalog(
    root: Path, cache_dir: Path, progress: bool = True, processes: int | None = None, max_bad_fraction: float = 1.0
) -> Catalog:
    """Scan the headers of every ``*.h5`` below ``root`` and return its catalog.

    Headers are cached in ``cache_dir`` file by file under size and modification time, so that a second call reads
    only what changed and an interrupted one goes on where it stopped. More than ``max_bad_fraction`` unusable samples
    (or files) raise DataError.
    """
    root = Path(root)
    names, refused = find_files(root)
    tables = read_headers(root, names, Path(cache_dir) / "headers", progress, processes)
    catalog = _assemble(root, names, tables, refused)
    if not len(catalog) and not catalog.bad:
        raise DataError(f"{root} holds {len(names)} HDF5 files but not one sample (a group 'sample_i_k') in them.")
    enforce_bad_limit(catalog, max_bad_fraction)
    return catalog


def find_files(root: Path) -> tuple[list[str], list[BadSample]]:
    """Return the data files below ``root`` (relative, natural order), and those refused because they link out of it."""
    if not root.exists():
        raise DataError(f"There is no folder {root}: give the folder that holds the .h5 files (dataset.root=DIR).")
    if not root.is_dir():
        raise DataError(f"{root} is a file: give the folder that holds the .h5 files (dataset.root=DIR).")
    home = root.resolve()
    names: list[str] = []
    refused: list[BadSample] = []
    for folder, _, files in os.walk(root, followlinks=False):
        for file in files:
            path = Path(folder) / file
            if path.suffix != smc19.SUFFIX or file.startswith("."):
                continue
            name = path.relative_to(root).as_posix()
            if not path.is_file():
                refused.append(BadSample(name, "", "is not a file"))
            elif path.resolve().is_relative_to(home):
                names.append(name)
            else:
                refused.append(BadSample(name, "", f"is a link out of {root}: copy the file or give its own folder"))
    if not names and not refused:
        raise DataError(f"{root} holds no data: not one file there ends in {smc19.SUFFIX}.")
    return sorted(names, key=natural_order), sorted(refused, key=lambda bad: natural_order(bad.path))


def enforce_bad_limit(catalog: Catalog, limit: float, listed_in: str = "") -> None:
    """Raise DataError when more than ``limit`` of the samples (or files) were set aside, or when none is left."""
    bad_samples = [bad for bad in catalog.bad if bad.key]
    bad_files = {bad.path for bad in catalog.bad if not bad.key}
    n_samples = len(catalog) + len(bad_samples)
    n_files = len(set(catalog.path.tolist()) | {bad.path for bad in catalog.bad})
    files_first = len(bad_files) * max(n_samples, 1) > len(bad_samples) * max(n_files, 1)
    count, total, what = (len(bad_files), n_files, "files") if files_first else (len(bad_samples), n_samples, "samples")
    if len(catalog) and count <= limit * total:
        return
    first = next((bad for bad in catalog.bad if bool(bad.key) != files_first), catalog.bad[0])
    more = f" ({listed_in} lists all)" if listed_in else ""
    raise DataError(
        f"{count:,} of {total:,} {what} in {catalog.root} cannot be used, more than dataset.max_bad_fraction={limit:g} "
        f"allows; the first: {first}{more}. Mend or remove them, or raise the limit."
    )


def unique_rows(values: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each distinct value its first row (ascending), and for each row the position of its value there."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


def _released(name: str) -> str:
    """Return the part that SMC-19's file name tells (batch_train_3.h5 -> 'train'), else ''."""
    pieces = Path(name).stem.split("_")
    return pieces[1] if len(pieces) > 1 and pieces[0] == "batch" and pieces[1] in {"train", "dev", "test"} else ""


def _assemble(root: Path, names: Sequence[str], tables: Sequence[FileHeaders], refused: list[BadSample]) -> Catalog:
    counts = [len(table.key) for table in tables]
    columns = {
        column.name: np.concatenate([getattr(table, column.name) for table in tables])
        for column in fields(FileHeaders)
        if column.name not in {"bad", "probe"}
    }
    guessed = columns.pop("guessed")
    catalog = Catalog(
        root=root,
        path=np.repeat(np.array(names, dtype=np.str_), counts),
        released=np.repeat(np.array([_released(name) for name in names], dtype=np.str_), counts),
        **columns,
        fingerprint="",
        family_is_proxy=bool(guessed.any()),
        bad=(*refused, *(bad for table in tables for bad in table.bad)),
    )
    if len(catalog):
        catalog = _one_group_and_family_a_material(catalog)
    return replace(catalog, fingerprint=_fingerprint(catalog, [table.probe for table in tables]))


def _one_group_and_family_a_material(catalog: Catalog) -> Catalog:
    """Set aside samples whose group disagrees with their material's first one; give a material its first family.

    One sample of a material may lack a usable cell (denormal numbers) and so fall into another proxy family than the
    material's other energies; a material on two sides would be a leak.
    """
    first, of_row = unique_rows(catalog.material)
    expected = catalog.space_group[first][of_row]
    wrong = np.flatnonzero(catalog.space_group != expected)
    bad = tuple(
        BadSample(
            str(catalog.path[row]),
            str(catalog.key[row]),
            f"has the space group {catalog.space_group[row]}, but {expected[row]} is that of the first sample of "
            f"its material {catalog.material[row]}",
        )
        for row in wrong.tolist()
    )
    catalog = replace(catalog, family=catalog.family[first][of_row], bad=catalog.bad + bad)
    return catalog.take(np.setdiff1d(np.arange(len(catalog)), wrong)) if len(wrong) else catalog


def _fingerprint(catalog: Catalog, probes: Sequence[str]) -> str:
    digest = hashlib.sha256(b"sgexp catalog 1")
    for name in _ROW_FIELDS:
        column = getattr(catalog, name)
        digest.update(name.encode())
        digest.update("\n".join(column.tolist()).encode() if column.dtype.kind == "U" else column.tobytes())
    digest.update("\n".join(probes).encode())
    return digest.hexdigest()[:32]
