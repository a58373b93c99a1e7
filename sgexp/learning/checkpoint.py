"""Writing checkpoints so that a crash or a full disk leaves the old one whole; reading them without running code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from sgexp.console import interrupts_later
from sgexp.errors import DataError


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write to a temporary file in the same folder, flush it to the disk, then rename it over ``path``.

    Ctrl-C waits until the file is whole and in its place: torch would turn it into an error of its writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with interrupts_later():
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        raise DataError(f"Cannot write the checkpoint {path} ({error}): free some space and resume the run.") from error
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Return a checkpoint's tensors and plain values; nothing in the file can run code (``weights_only``)."""
    if not path.is_file():
        raise DataError(f"There is no checkpoint {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_inflating(archive, path)
            damaged = archive.testzip()  # torch itself does not compare the checksums
        if damaged is not None:
            raise DataError(f"The checkpoint {path} is damaged (in {damaged!r}): use another one.")
        return torch.load(path, map_location=map_location, weights_only=True)
    except DataError:
        raise
    except Exception as error:  # what a file says wrongly may fail anywhere in its reader
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise DataError(f"The checkpoint {path} cannot be read ({reason}): use another one.") from error


def _refuse_inflating(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that would take more memory than its file is long; torch compresses nothing."""
    members = archive.infolist()
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise DataError(f"The checkpoint {path} is refused: it unpacks to more than it holds, as torch never writes.")


def load_weights(module: pl.LightningModule, path: Path) -> None:
    """Give a module the weights of a checkpoint; the module may refuse it (``on_load_checkpoint``)."""
    checkpoint = read_checkpoint(path)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def _flush_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut (Windows has no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SafeCheckpointIO(CheckpointIO):
    """Lightning's checkpoint reading and writing, through the two functions above."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write atomically."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read, whatever is asked, without unpickling objects."""
        return read_checkpoint(Path(path), "cpu" if map_location is None else map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
