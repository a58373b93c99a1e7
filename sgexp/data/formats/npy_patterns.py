"""Patterns in a .npy file: (N, P, H, W) are N crystals, (P, H, W) is one crystal, (H, W) one pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgexp.data.formats.pattern_files import Refused, as_patterns, check_kind


class NpyPatterns:
    """An open .npy file, mapped and not loaded; pickled objects are refused."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                magic = file.read(6)
            if magic != b"\x93NUMPY":  # numpy.load would take this for a pickle
                raise Refused("is no .npy file, whatever its name says")
            self._array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        except Refused:
            raise
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror or error})") from error
        except Exception as error:  # a header can be wrong in any way
            said = str(error).partition("\n")[0][:100]
            why = "holds pickled objects, which could run code" if "object" in said.lower() else f"is damaged ({said})"
            raise Refused(why) from error
        check_kind(self._array.shape, self._array.dtype)

    def __len__(self) -> int:
        return self._array.shape[0] if self._array.ndim == 4 else 1

    def name(self, index: int) -> str:
        """Return the index of a crystal among several."""
        return str(index) if self._array.ndim == 4 else ""

    def read(self, index: int) -> NDArray[np.float32]:
        """Return one crystal's patterns."""
        return as_patterns(self._array[index] if self._array.ndim == 4 else self._array)

    def scale(self, index: int, patterns_PHW: NDArray[np.float32]) -> dict[str, float]:
        """Return the mean intensity; a .npy file says no more."""
        return {"mean_intensity": float(patterns_PHW.mean(dtype=np.float64))}

    def __enter__(self) -> NpyPatterns:
        return self

    def __exit__(self, *_: object) -> None:
        del self._array
