"""Arrays in files: npz without pickle, written whole or not at all, each with the version of its schema."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sgexp.errors import DataError

_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, NotImplementedError, MemoryError)
MOST_BYTES = 4 * 1024**3  # unpacked; no honest file of ours comes near it, a hostile one may claim anything


def save_npz(path: Path, schema_version: int, **arrays: np.ndarray) -> None:
    """Write ``arrays`` and ``schema_version`` compressed, through a temporary file beside ``path``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:  # a file object: savez would add ".npz" to a name without it
            np.savez_compressed(file, **arrays, schema_version=np.array(schema_version))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_npz(path: Path, newest_version: int) -> dict[str, np.ndarray]:
    """Return the arrays that ``save_npz`` wrote; a damaged or foreign file, or a newer schema, is a `DataError`."""
    arrays = load_arrays(path)
    try:
        version = int(arrays.pop("schema_version"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read: it is damaged, or was written by something else") from error
    if version > newest_version:
        raise DataError(
            f"{path} has schema_version {version}; this sgexp reads up to {newest_version}: install a newer one"
        )
    return arrays


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of anybody's npz file; nothing in it is run, and one that is no such file is a `DataError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise DataError(f"{path} would take {size / 1024**3:.0f} GiB of memory: it was not written by sgexp")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or was written by something else"
        raise DataError(f"{path} cannot be read: {reason}") from error
