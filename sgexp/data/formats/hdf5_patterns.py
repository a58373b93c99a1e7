"""Patterns in an HDF5 file: SMC-19's groups with a ``cbed_stack``, or plain data sets (N, P, H, W), (P, H, W), (H, W).

Only hard links are followed, few levels deep (links of groups may run in circles).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from sgexp.data.calibration import scale_of
from sgexp.data.formats import smc19
from sgexp.data.formats.pattern_files import MOST_VALUES, Refused, as_patterns, check_kind, unpacks_beyond
from sgexp.data.samples import natural_order
from sgexp.errors import DataError

_LEAST_SIDE = 16  # smaller data sets are tables, not pictures
_MOST_DEPTH = 4
_MOST_OBJECTS = 1_000_000
_UNPACKED_UNCHECKED = 2**20  # bytes of a packed chunk: deflate makes 1 GiB of them at most
_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: HDF5's own; others could load code or know no bounds


@dataclass(frozen=True)
class _Place:
    """A data set (or, with ``why``, what is refused in its place), and how many crystals it holds."""

    path: str
    crystals: int
    several: bool = False
    why: str = ""


class HDF5Patterns:
    """An open HDF5 file: which data sets are patterns is found out at once, without reading them."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = smc19.open_file(path)
        except DataError as error:
            raise Refused(str(error).removeprefix(str(path)).strip().rstrip(".")) from error
        try:
            self._places = sorted(
                _find(self._file.id, "", _MOST_DEPTH, [_MOST_OBJECTS]), key=lambda place: natural_order(place.path)
            )
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            self._file.close()
            raise Refused(f"is damaged: its contents cannot be listed ({type(error).__name__})") from error
        if not self._places:
            self._file.close()
            raise Refused(
                f"holds no patterns: no group with a '{smc19.STACK}', no data set (N, P, H, W), (P, H, W) or (H, W)"
            )
        self._ends = np.cumsum([place.crystals for place in self._places])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _at(self, index: int) -> tuple[_Place, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        place = self._places[number]
        return place, index - int(self._ends[number]) + place.crystals

    def name(self, index: int) -> str:
        """Return the path inside the file, of a data set of several crystals with the index behind it."""
        place, within = self._at(index)
        path = place.path.removesuffix(f"/{smc19.STACK}")
        return f"{path}[{within}]" if place.several else path

    def read(self, index: int) -> NDArray[np.float32]:
        """Return one crystal's patterns."""
        place, within = self._at(index)
        if place.why:
            raise Refused(place.why)
        try:
            dataset = h5py.Dataset(h5py.h5d.open(self._file.id, os.fsencode(place.path)))
            _refuse_bombs(dataset, within if place.several else None)
            return as_patterns(dataset[within] if place.several else dataset[()])
        except Refused:
            raise
        except Exception as error:  # HDF5 tells of damage in many ways
            raise Refused(f"cannot be read ({type(error).__name__}: {str(error)[:80]})") from error

    def scale(self, index: int, patterns_PHW: NDArray[np.float32]) -> dict[str, float]:
        """Return what SMC-19's layout says of the scale, else the mean intensity."""
        key = self._at(index)[0].path.removesuffix(f"/{smc19.STACK}")
        return scale_of(self._file, key, patterns_PHW)

    def __enter__(self) -> HDF5Patterns:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _find(group: h5py.h5g.GroupID | h5py.h5f.FileID, above: str, depth: int, left: list[int]) -> Iterator[_Place]:
    """Yield the data sets below a group that are, or claim to be, patterns; ``left`` counts objects down."""
    for raw in group:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("too many objects")
        path = f"{above}{os.fsdecode(raw)}"
        if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            yield _Place(path, 1, why="is refused: it is a link to somewhere else")
            continue
        found = h5py.h5o.open(group, raw)
        if isinstance(found, h5py.h5d.DatasetID):
            place = _place(found, path)
            if place is not None:
                yield place
        elif isinstance(found, h5py.h5g.GroupID) and depth > 1:
            yield from _find(found, f"{path}/", depth - 1, left)


def _place(dataset: h5py.h5d.DatasetID, path: str) -> _Place | None:
    shape = dataset.shape
    named = path.rpartition("/")[2] == smc19.STACK
    if not named and (len(shape) < 2 or min(shape[-2:]) < _LEAST_SIDE):
        return None
    try:
        check_kind(shape, dataset.dtype)
        _check_storage(dataset)
    except Refused as refused:
        return _Place(path, 1, why=str(refused)) if named or dataset.dtype.kind in "fiu" else None
    except TypeError:  # a type that NumPy has no word for
        return _Place(path, 1, why="holds values of an unknown type") if named else None
    several = len(shape) == 4
    return _Place(path, shape[0] if several else 1, several)


def _check_storage(dataset: h5py.h5d.DatasetID) -> None:
    layout = dataset.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise Refused("is refused: its pixels lie outside this file")
    if layout.get_layout() == h5py.h5d.CHUNKED and math.prod(layout.get_chunk()) > MOST_VALUES:
        raise Refused("is refused: its chunks are larger than any crystal")
    for number in range(layout.get_nfilters()):
        code, _, _, name = layout.get_filter(number)
        if code not in _FILTERS:
            raise Refused(f"is compressed by {os.fsdecode(name)[:20] or code}: save it by gzip, or uncompressed")


def _refuse_bombs(dataset: h5py.Dataset, index: int | None) -> None:
    """Unpack large packed chunks piece by piece, before HDF5 does it at once, and refuse those that never end."""
    if dataset.chunks is None or dataset.compression != "gzip":
        return
    whole = math.prod(dataset.chunks) * dataset.dtype.itemsize
    region = None if index is None else (slice(index, index + 1), *(slice(0, size) for size in dataset.shape[1:]))
    for chunk in dataset.iter_chunks(region):
        offset = tuple(part.start // size * size for part, size in zip(chunk, dataset.chunks, strict=True))
        stored = dataset.id.get_chunk_info_by_coord(offset)
        if stored.byte_offset is not None and stored.size > _UNPACKED_UNCHECKED:
            _, data = dataset.id.read_direct_chunk(offset)
            if unpacks_beyond(data, whole + 2**20):
                raise Refused("unpacks to more than its shape needs: it is damaged, or meant to fill the memory")
