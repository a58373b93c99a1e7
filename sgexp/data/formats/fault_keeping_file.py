"""A file for h5py to write through that keeps write errors for its owner instead of telling HDF5.

Told of a full disk, HDF5 (h5py 3.16 on a small tmpfs) dropped samples without an exception, printed thousands of lines
and at last crashed the process. Told nothing, it goes on in peace until the owner looks at ``error``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class FaultKeepingFile:
    """A binary file that pretends every write succeeded; ``error`` has the first one that did not."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None
        self.swallow = False

    def write(self, data: Any) -> int:
        """Write all of ``data`` unless an error came before."""
        view = memoryview(data).cast("B")
        rest = view
        try:
            while rest and not self.swallow:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            self.error, self.swallow = self.error or error, True
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """Read bytes (h5py knows a file by this name, and uses ``readinto``)."""
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``."""
        return self._file.readinto(buffer) or 0

    def seek(self, place: int, whence: int = 0) -> int:
        """Move to ``place``."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the length unless an error came before."""
        try:
            return self._file.tell() if self.swallow else self._file.truncate(size)
        except OSError as error:
            self.error, self.swallow = self.error or error, True
            return size or 0

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        try:
            if not self.swallow:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.error = self.error or error
        finally:
            self._file.close()
