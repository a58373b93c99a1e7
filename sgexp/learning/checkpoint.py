"""Writing checkpoints so that a crash or a full disk leaves the old one whole; reading them without running code.

A checkpoint is the zip archive that torch writes, with a digest of it in the archive's comment (torch ignores that).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from torch.distributed.fsdp import FSDPModule

from sgexp.console import interrupts_later
from sgexp.errors import DataError

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # what a run goes on from: the newest, and the one before it
_MARK = b"sgexp sha256="
_COMMENT = len(_MARK) + 64  # bytes
_NOT_PLAIN = (
    "The checkpoint {path} would hold more than tensors and plain values, so that it could not be read without running "
    "code ({reason}): keep only numbers, strings, lists and dictionaries in hyperparameters and states of callbacks."
)


def write_checkpoint(checkpoint: dict[str, Any], path: Path, *, prove: bool = False) -> None:
    """Write to a temporary file in the same folder, flush it to the disk, then rename it over ``path``.

    An old ``last.ckpt`` is kept as ``previous.ckpt``. ``prove`` first reads the new file back, without its numbers.
    Ctrl-C waits until the file is whole and in its place: torch would turn it into an error of its writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with interrupts_later():
            with open(temporary, "w+b") as file:
                torch.save(checkpoint, file)
                _append_digest(file)
                file.flush()
                os.fsync(file.fileno())
            if prove:
                _prove(temporary, path)
            if path.name == LAST and path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        raise DataError(f"Cannot write the checkpoint {path} ({error}): free some space and resume the run.") from error
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Return a checkpoint's tensors and plain values; nothing in the file can run code (``weights_only``)."""
    refuse_damaged(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # what a file says wrongly may fail anywhere in its reader
        raise _unreadable(path, error) from error


def refuse_damaged(path: Path) -> None:
    """Refuse a checkpoint that is not there, cut short, altered, or unpacks to more than it holds."""
    if not path.is_file():
        raise DataError(f"There is no checkpoint {path}.")
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _refuse_inflating(archive, path)
            damaged = _differs_from_digest(file)
            if damaged is None and (member := archive.testzip()) is not None:  # torch does not compare the checksums
                damaged = repr(member)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if damaged:
        raise DataError(f"The checkpoint {path} is damaged (in {damaged}): use another one.")


def newest_whole(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest checkpoint to go on from that is whole, and what is wrong with those newer than it.

    None: there is no checkpoint at all. Are there some, and is none of them whole, it is a ``DataError``.
    """
    skipped: dict[Path, str] = {}
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            refuse_damaged(path)
            return path, skipped
        except DataError as error:
            skipped[path] = str(error)
    if skipped:
        raise DataError(f"No checkpoint in {folder} is whole, so the run cannot go on: {' '.join(skipped.values())}")
    return None, skipped


def _append_digest(file: IO[bytes]) -> None:
    """Make the SHA-256 of the archive its comment; an archive's last two bytes are the length of its comment."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(-2, os.SEEK_END)
    file.write(_COMMENT.to_bytes(2, "little") + _MARK + digest.encode())


def _differs_from_digest(file: IO[bytes]) -> str | None:
    """Return "" when a file is what its digest says, "its digest" when not, None when it has none."""
    size = file.seek(0, os.SEEK_END) - _COMMENT
    file.seek(max(0, size))
    comment = file.read()
    if not comment.startswith(_MARK):
        return None
    digest = hashlib.sha256()
    file.seek(0)
    left = size - 2
    while left > 0 and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    digest.update(bytes(2))  # the archive had no comment when it was digested
    return "" if digest.hexdigest().encode() == comment[len(_MARK) :] else "its digest"


def _prove(temporary: Path, path: Path) -> None:
    try:
        torch.load(temporary, map_location="meta", weights_only=True)
    except Exception as error:
        raise DataError(_NOT_PLAIN.format(path=path, reason=_reason(error))) from error


def _reason(error: Exception) -> str:
    """Return the line of torch's advice that names what is not plain."""
    lines = [line for line in str(error).splitlines() if "GLOBAL" in line] or [type(error).__name__]
    return lines[0].partition(". ")[0].strip()[:200]


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    return DataError(f"The checkpoint {path} cannot be read ({reason}): use another one.")


def _refuse_inflating(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that would take more memory than its file is long; torch compresses nothing."""
    members = archive.infolist()
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise DataError(f"The checkpoint {path} is refused: it unpacks to more than it holds, as torch never writes.")


def load_weights(module: pl.LightningModule, path: Path) -> None:
    """Give a module, or each process's share of it, a checkpoint's weights (``on_load_checkpoint`` may refuse)."""
    checkpoint = read_checkpoint(path)
    module.on_load_checkpoint(checkpoint)
    if not any(isinstance(part, FSDPModule) for part in module.modules()):
        module.load_state_dict(checkpoint["state_dict"])
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict  # slow to import

    set_model_state_dict(module, checkpoint["state_dict"], options=StateDictOptions(full_state_dict=True))


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
    """Lightning's checkpoint reading and writing, through the two functions above.

    The first checkpoint of a training is read back, so that one that holds more than plain values is noticed before it
    is needed.
    """

    def __init__(self) -> None:
        self._proven = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write atomically."""
        write_checkpoint(checkpoint, Path(path), prove=not self._proven)
        self._proven = True

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read, whatever is asked, without unpickling objects."""
        return read_checkpoint(Path(path), "cpu" if map_location is None else map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
