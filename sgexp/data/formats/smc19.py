"""SMC-19's HDF5 layout (OLCF DOI 10.13139/OLCF/1510313): scan headers, read one sample's patterns, write new files.

A file ``batch_{train,dev,test}_N.h5`` holds one group a sample, ``sample_{i}_{k}`` (material i of the file, energy k),
with the data set ``cbed_stack`` (3, H, H) float32 and ten attributes (``ATTRIBUTES``). Files that sgexp wrote carry a
sub-group ``sgexp`` beside the data set (family, parent, calibration ...); the originals do not.

The originals have gaps in their indices, byte strings for numbers, denormal and NaN values: the scan takes what can be
used. Files come from strangers, so nothing here follows a soft or external link, reads raw storage outside the file,
or allocates memory before shape and type were checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from sgexp.data.formats.fault_keeping_file import FaultKeepingFile
from sgexp.data.samples import BadSample, SampleHeader, Triple, natural_order
from sgexp.errors import DataError

SUFFIX = ".h5"
STACK = "cbed_stack"
OURS = "sgexp"
ATTRIBUTES = (
    "space_group",
    "material",
    "energy_keV",
    "z_dirs",
    "y_dirs",
    "semi_angles_rad",
    "d_hkls_angstrom",
    "abc_angstrom",
    "angles_degree",
    "formula",
)
PATTERNS = 3
MAX_PIXELS = 2048  # the originals have 512; more than this would be 50 MB a sample and is taken for damage
_MAX_ATTRIBUTE_VALUES = 64
_MAX_ATTRIBUTE_BYTES = 4096
_PLAIN_KINDS = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING}
_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError)


class _Unusable(Exception):
    """Why one sample cannot be used; becomes the reason of a BadSample."""


# --- reading ---------------------------------------------------------------------------------------------------------


def open_file(path: Path) -> h5py.File:
    """Open a file for reading; a missing, foreign or truncated file raises DataError with one sentence."""
    try:
        # No locks: complete files never change, and read-only network mounts refuse them.
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} {_open_reason(path, error)}.") from error


def _open_reason(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    if path.is_file() and not h5py.is_hdf5(path):
        return "is not an HDF5 file (or its beginning is lost)"
    if "truncated" in str(error):
        return "is cut short (an interrupted copy or download): fetch it again"
    return f"cannot be opened as HDF5 ({str(error).splitlines()[0][:120]})"


def scan(path: Path, name: str = "") -> Iterator[SampleHeader | BadSample]:
    """Yield a header or a BadSample for every group of a file, in natural order of the keys, reading no pixels.

    ``name`` is the path written into BadSamples (default: the file's name). A file that does not open yields one
    BadSample with an empty key.
    """
    name = name or path.name
    try:
        file = open_file(path)
    except DataError as error:
        yield BadSample(name, "", str(error).removeprefix(str(path)).strip().rstrip("."))
        return
    with file:
        try:
            keys = sorted((os.fsdecode(key) for key in file.id), key=natural_order)
        except _FAULTS:
            yield BadSample(name, "", "is damaged: its list of samples cannot be read")
            return
        for key in keys:
            try:
                yield _header(file.id, key)
            except _Unusable as error:
                yield BadSample(name, key, str(error))
            except _FAULTS as error:
                yield BadSample(name, key, f"cannot be read ({type(error).__name__})")


def read_patterns(file: h5py.File, key: str) -> np.ndarray:
    """Return one sample's patterns, (3, H, H) float32 as stored (NaN included); an unusable sample raises DataError."""
    try:
        group = _open_group(file.id, key)
        dataset_id, _ = _checked_stack(group)
        return h5py.Dataset(dataset_id)[()].astype(np.float32, copy=False)
    except _Unusable as error:
        raise DataError(f"{file.filename}:{key} {error}.") from error
    except _FAULTS as error:
        raise DataError(f"{file.filename}:{key} cannot be read ({type(error).__name__}: {error}).") from error


def read_numbers(file: h5py.File, key: str, names: Sequence[str], ours: bool = True) -> dict[str, np.ndarray]:
    """Return those of the named attributes of a sample that are there and are numbers.

    ``ours``: look in the sub-group ``sgexp``, else among SMC-19's own attributes.
    """
    found: dict[str, np.ndarray] = {}
    with contextlib.suppress(_Unusable, *_FAULTS):
        group = _open_group(file.id, key)
        group = _open_group(group, OURS) if ours else group
        for name in names:
            values = _attribute(group, name)
            if values is not None and values.dtype.kind in "fiu" and values.size:
                found[name] = values.astype(np.float64)
    return found


def pixel_digest(path: Path, keys: Sequence[str]) -> str:
    """Return a digest of the middle rows of the first and the last sample: tells data apart whose headers are equal.

    Simulating again with other settings leaves the headers as they were; a few kilobytes a file notice it.
    """
    digest = hashlib.sha256()
    for key in sorted({*keys[:1], *keys[-1:]}):
        with contextlib.suppress(_Unusable, DataError, *_FAULTS), open_file(path) as file:
            dataset, pixels = _checked_stack(_open_group(file.id, key))
            digest.update(h5py.Dataset(dataset)[:, pixels // 2].astype(np.float32).tobytes())
    return digest.hexdigest()[:16]


def _header(parent: h5py.h5g.GroupID, key: str) -> SampleHeader:
    """Read one sample's header through h5py's low-level calls (several times faster than ``.attrs``)."""
    group = _open_group(parent, key)
    _, pixels = _checked_stack(group)
    space_group = _space_group(_attribute(group, "space_group"))
    material = _text(_attribute(group, "material"))
    if not material:
        raise _Unusable("has no 'material' (its samples could not be kept on one side of a split)")
    family = parent_name = ""
    if OURS.encode() in group:
        ours = _open_group(group, OURS)
        family, parent_name = _text(_attribute(ours, "family")), _text(_attribute(ours, "parent"))
    return SampleHeader(
        key=key,
        space_group=space_group,
        material=material,
        energy_kev=_energy(_attribute(group, "energy_keV"), key),
        formula=_text(_attribute(group, "formula")),
        abc=_triple(_attribute(group, "abc_angstrom"), low=0.1, high=1e4),
        angles=_triple(_attribute(group, "angles_degree"), low=1.0, high=179.0),
        pixels=pixels,
        family=family,
        parent=parent_name,
    )


def _require_hard_link(parent: h5py.h5g.GroupID, name: bytes, what: str) -> None:
    try:
        kind = parent.links.get_info(name).type
    except (KeyError, RuntimeError):  # HDF5 answers either, by the way the group is stored
        raise _Unusable(f"has no {what}") from None
    if kind != h5py.h5l.TYPE_HARD:
        raise _Unusable(f"is refused: its {what} is a link to somewhere else")


def _open_group(parent: h5py.h5g.GroupID, key: str) -> h5py.h5g.GroupID:
    name = os.fsencode(key)
    if b"/" in name or name in {b".", b""}:
        raise _Unusable("is refused: its name is a path")
    _require_hard_link(parent, name, "group")
    try:
        return h5py.h5g.open(parent, name)
    except _FAULTS:
        raise _Unusable("is not a group") from None


def _checked_stack(group: h5py.h5g.GroupID) -> tuple[h5py.h5d.DatasetID, int]:
    """Open ``cbed_stack`` after checking, before any pixel is read, that it is what it should be and lies in here."""
    _require_hard_link(group, STACK.encode(), f"'{STACK}'")
    try:
        dataset = h5py.h5d.open(group, STACK.encode())
    except _FAULTS:
        raise _Unusable(f"has no '{STACK}' that can be opened") from None
    shape, dtype = dataset.shape, dataset.dtype
    if len(shape) != 3 or shape[0] != PATTERNS or shape[1] != shape[2] or not 1 <= shape[1] <= MAX_PIXELS:
        raise _Unusable(f"has the shape {shape} instead of ({PATTERNS}, H, H) with H up to {MAX_PIXELS}")
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise _Unusable(f"holds {dtype} instead of float32")
    layout = dataset.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise _Unusable("is refused: its pixels lie outside this file")
    if layout.get_layout() == h5py.h5d.CHUNKED and math.prod(layout.get_chunk()) > PATTERNS * MAX_PIXELS**2:
        raise _Unusable("is refused: its chunks are larger than any sample")
    return dataset, int(shape[1])


def _attribute(group: h5py.h5g.GroupID, name: str) -> np.ndarray | None:
    """Read a small attribute as an array; ``None`` when it is missing, large, or of a kind no header uses.

    HDF5 does not tell the length of text of variable length before it is read. So only one such text is read, which
    cannot be longer than the file, and a long one is dropped at once.
    """
    try:
        attribute = h5py.h5a.open(group, name.encode())
    except KeyError:
        return None
    shape = attribute.shape
    kind = attribute.get_type()
    if shape is None or kind.get_class() not in _PLAIN_KINDS:
        return None
    count = math.prod(shape)
    if count > _MAX_ATTRIBUTE_VALUES or count * kind.get_size() > _MAX_ATTRIBUTE_BYTES:
        return None
    dtype = kind.dtype
    if dtype.hasobject and count != 1:
        return None
    values = np.empty(shape, dtype=dtype)
    # Text of variable length is an object array of str or bytes; its memory type must say so.
    attribute.read(values, mtype=h5py.h5t.py_create(dtype) if dtype.hasobject else kind)
    return None if dtype.hasobject and len(values.reshape(-1)[0]) > _MAX_ATTRIBUTE_BYTES else values


def _text(values: np.ndarray | None) -> str:
    if values is None or values.size != 1:
        return ""
    value = values.reshape(-1)[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().strip("\0")[:200]


def _space_group(values: np.ndarray | None) -> int:
    text = _text(values)
    if not text:
        raise _Unusable("has no 'space_group'")
    try:
        number = float(text)
    except ValueError:
        raise _Unusable(f"has the space group {text[:20]!r}, which is not a number") from None
    if not (math.isfinite(number) and number.is_integer()):
        raise _Unusable(f"has the space group {text[:20]!r}, which is not a whole number")
    if not 1 <= number <= 230:
        raise _Unusable(f"has the space group {int(number)}, outside 1..230")
    return int(number)


def _energy(values: np.ndarray | None, key: str) -> float:
    """Beam energy in keV; where the attribute is unusable, SMC-19's index ``k`` of the key says it (100 + 10 k)."""
    with contextlib.suppress(ValueError):
        energy = float(_text(values))
        if 1.0 <= energy <= 10_000.0:
            return energy
    match = re.fullmatch(r"sample_\d+_(\d)", key)
    return 100.0 + 10.0 * int(match[1]) if match else math.nan


def _triple(values: np.ndarray | None, low: float, high: float) -> Triple | None:
    if values is None or values.size != 3 or values.dtype.kind not in "fiu":
        return None
    numbers = values.reshape(3).astype(float).tolist()
    return (numbers[0], numbers[1], numbers[2]) if all(low <= number <= high for number in numbers) else None


# --- writing ---------------------------------------------------------------------------------------------------------


class Writer:
    """Write one file in SMC-19's layout; the file appears under its name only when it is whole.

    Use as a context manager. Samples go into ``<path>.part``, which is flushed to the disk and renamed at the end; an
    exception (or a kill) leaves no file of the final name, so whatever has its name can be trusted.
    """

    _disk: FaultKeepingFile
    _file: h5py.File

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._disk = FaultKeepingFile(self._part)
            self._file = h5py.File(self._disk, "w")
        except OSError as error:
            raise self._disk_error(error) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(
        self,
        key: str,
        patterns: np.ndarray,
        attributes: Mapping[str, object],
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Add one sample: ``patterns`` (3, H, H) >= 0, the ten ``attributes``, and ``extra`` for the sub-group sgexp.

        ``attributes`` may be plain Python values; they are stored as SMC-19 stores them (``space_group`` and
        ``material`` as bytes, ``z_dirs`` and ``y_dirs`` as (1, 3, 3)).
        """
        patterns = np.asarray(patterns, dtype=np.float32)
        if patterns.ndim != 3 or patterns.shape[0] != PATTERNS or patterns.shape[1] != patterns.shape[2]:
            raise ValueError(f"patterns must have the shape ({PATTERNS}, H, H), not {patterns.shape}")
        if not np.isfinite(patterns).all() or patterns.min() < 0:
            raise ValueError(f"{key}: patterns must be finite and not negative")
        if set(attributes) != set(ATTRIBUTES):
            raise ValueError(f"{key}: the attributes must be exactly {ATTRIBUTES}, not {tuple(attributes)}")
        group = self._file.create_group(key)
        group.create_dataset(STACK, data=patterns)
        for name, value in attributes.items():
            group.attrs[name] = _as_stored(name, value)
        if extra is not None:
            ours = group.create_group(OURS)
            for name, value in extra.items():
                ours.attrs[name] = value
        self._check_disk()

    def close(self) -> None:
        """Flush, sync and rename to the final name."""
        self._file.close()
        self._disk.close()
        self._check_disk()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            raise self._disk_error(error) from error

    def abort(self) -> None:
        """Drop what was written."""
        self._disk.swallow = True
        with contextlib.suppress(*_FAULTS):
            self._file.close()
        self._disk.close()
        self._part.unlink(missing_ok=True)

    def _check_disk(self) -> None:
        if self._disk.error is not None:
            failure = self._disk_error(self._disk.error)
            self.abort()
            raise failure from self._disk.error

    def _disk_error(self, error: OSError) -> DataError:
        folder = self.path.parent
        free = shutil.disk_usage(folder).free / 2**20 if folder.is_dir() else 0.0
        return DataError(
            f"{self.path} cannot be written ({error.strerror or error}; {free:,.0f} MB free in {folder}): "
            "free some space or choose another folder, then give the same command again."
        )


def _as_stored(name: str, value: object) -> object:
    if name in {"space_group", "material"}:
        text = value if isinstance(value, bytes) else str(value).encode()
        if not text:
            raise ValueError(f"the attribute {name!r} must not be empty")
        return np.bytes_(text)
    if name == "energy_keV":
        energy = float(str(value))
        return int(energy) if energy.is_integer() else energy
    if name in {"z_dirs", "y_dirs"}:
        return np.asarray(value, dtype=np.float64).reshape(1, 3, 3)
    if name == "formula":
        return str(value)
    return np.asarray(value, dtype=np.float64).reshape(3)
