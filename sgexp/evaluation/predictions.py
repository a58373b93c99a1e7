"""What a classifier answered, a row a sample: figures, intervals and pictures are computed from this, now or later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sgexp.errors import DataError
from sgexp.npz import load_npz, save_npz

SCHEMA_VERSION = 1
COLUMNS = ("row", "key", "material", "family", "energy_kev", "label", "logits")


@dataclass(frozen=True)
class Predictions:
    """The answers for N samples among K classes.

    ``row`` (N,) int64, the catalog's row; ``key``, ``material``, ``family`` (N,) str ("" for an unknown family);
    ``energy_kev`` (N,) float32; ``label`` (N,) int64, the true space-group number; ``logits`` (N, K) float32, scores
    whose softmax are the probabilities; ``classes`` (K,) int64, the space-group number of each column.
    """

    row: np.ndarray
    key: np.ndarray
    material: np.ndarray
    family: np.ndarray
    energy_kev: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        """Bring every column to its type and refuse columns that do not belong together."""
        types = {"row": np.int64, "energy_kev": np.float32, "label": np.int64, "logits": np.float32}
        for name in COLUMNS:
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(types.get(name, np.str_), copy=False))
            if getattr(self, name).ndim == 0 or len(getattr(self, name)) != len(np.atleast_1d(self.row)):
                raise ValueError(f"predictions: {name} has not as many rows as 'row'")
        object.__setattr__(self, "classes", np.asarray(self.classes).astype(np.int64, copy=False))
        flat = [name for name in (*COLUMNS, "classes") if name != "logits" and getattr(self, name).ndim != 1]
        if flat:
            raise ValueError(f"predictions: {flat[0]} must be one-dimensional")
        if self.logits.shape != (len(self.row), len(self.classes)):
            raise ValueError(f"predictions: logits are {self.logits.shape}, not {(len(self.row), len(self.classes))}")
        for name in ("label", "classes"):
            groups = getattr(self, name)
            if len(groups) and not 1 <= groups.min() <= groups.max() <= 230:
                raise ValueError(f"predictions: {name} are no space-group numbers, which go from 1 to 230")
        if len(np.unique(self.classes)) != len(self.classes):
            raise ValueError("predictions: a space group occurs twice among the classes")

    def __len__(self) -> int:
        return len(self.row)

    @property
    def predicted(self) -> np.ndarray:
        """The space group with the largest logit, (N,) int64; the first of equals."""
        return self.classes[self.logits.argmax(axis=1)]

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, K) float64."""
        powers = np.exp(self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def take(self, rows: np.ndarray) -> Predictions:
        """Return some of the samples, chosen by position or by a mask (N,)."""
        return Predictions(**{name: getattr(self, name)[rows] for name in COLUMNS}, classes=self.classes)

    def answered_by(self, logits_NK: np.ndarray) -> Predictions:
        """Return what another classifier answers for the same samples and classes (a baseline's scores)."""
        return replace(self, logits=logits_NK)

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """Return the samples of all ``parts`` (one or more, over the same classes), one after another."""
        if any(not np.array_equal(part.classes, parts[0].classes) for part in parts):
            raise ValueError("predictions over different classes cannot be joined")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
        return cls(**columns, classes=parts[0].classes)

    def save(self, path: Path) -> None:
        """Write an npz without pickle: the columns, ``classes`` and ``schema_version``."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        save_npz(path, SCHEMA_VERSION, **columns, classes=self.classes)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read predictions that ``save`` wrote; anything else is a `DataError`."""
        arrays = load_npz(path, SCHEMA_VERSION)
        try:
            return cls(**{name: arrays[name] for name in (*COLUMNS, "classes")})
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{path} holds no predictions as sgexp writes them ({error})") from error
