"""Patterns in a .tif file: its grey pages (or the planes of a page) are the patterns of one crystal."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from sgexp.data.formats.pattern_files import (
    MOST_PATTERNS,
    MOST_VALUES,
    Refused,
    as_patterns,
    check_kind,
    unpacks_beyond,
)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, by us
_NONE, _DEFLATE = (1,), (8, 32946)  # values of the tag Compression
_SEPARATE = 2  # of the tag PlanarConfiguration: channels one after another, not side by side


class TiffPatterns:
    """An open .tif file, of which only the chain of pages is looked at."""

    def __init__(self, path: Path) -> None:
        self._size = path.stat().st_size
        try:
            self._file = tifffile.TiffFile(path)
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror or error})") from error
        except Exception as error:  # tags can be wrong in any way
            raise Refused(f"is no TIFF file, or a damaged one ({type(error).__name__})") from error

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        """The file is one crystal."""
        return ""

    def read(self, index: int) -> NDArray[np.float32]:
        """Return the pages as patterns."""
        try:
            pages = [page.aspage() for page in itertools.islice(self._file.pages, MOST_PATTERNS + 1)]
            for page in pages:
                self._check(page)
            sizes = {page.shape[-2:] for page in pages}
            if len(sizes) != 1:
                raise Refused(f"has {len(pages)} pages of different sizes: give the patterns of one crystal one size")
            planes = sum(page.shape[0] if page.ndim == 3 else 1 for page in pages)
            check_kind((planes, *sizes.pop()), np.dtype(np.float32))
            return np.concatenate([as_patterns(page.asarray(maxworkers=1)) for page in pages])
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"cannot be read as TIFF ({type(error).__name__}: {str(error)[:80]})") from error

    def _check(self, page: tifffile.TiffPage) -> None:
        """Refuse a page that is no grey picture of real numbers, or would take more memory than it should."""
        planes = page.ndim == 3 and page.planarconfig == _SEPARATE  # as which some programs save a few grey pictures
        if not (page.ndim == 2 or planes) or page.dtype is None:
            raise Refused(f"has a page of the shape {page.shape}: patterns are grey pictures, one a page")
        check_kind(page.shape, page.dtype)
        if page.is_tiled and page.tilewidth * page.tilelength > MOST_VALUES:
            raise Refused("has tiles larger than any pattern")
        packed = sum(page.databytecounts)
        if page.compression in _NONE:
            if page.nbytes > self._size:
                raise Refused(f"claims a page of {page.nbytes:,} bytes, but has {self._size:,} in all: it is cut short")
        elif page.compression not in _DEFLATE:
            raise Refused(f"is compressed by {str(page.compression)[:30]}: save it uncompressed, or by deflate")
        elif packed > self._size or any(
            self._bomb(*place, page.nbytes) for place in zip(page.dataoffsets, page.databytecounts, strict=True)
        ):
            raise Refused("unpacks to more than its pages need: it is damaged, or meant to fill the memory")

    def _bomb(self, offset: int, length: int, nbytes: int) -> bool:
        handle = self._file.filehandle
        handle.seek(offset)
        return unpacks_beyond(handle.read(length), 4 * nbytes + 2**20)  # tiles reach beyond the picture's edge

    def scale(self, index: int, patterns_PHW: NDArray[np.float32]) -> dict[str, float]:
        """Return the mean intensity; the tags of a .tif file say nothing reliable of scales."""
        return {"mean_intensity": float(patterns_PHW.mean(dtype=np.float64))}

    def __enter__(self) -> TiffPatterns:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
