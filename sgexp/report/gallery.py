"""A few patterns kept in the run folder, so that a report shows what the network saw without needing the data set.

``gallery.npz`` holds judged test stacks, right and wrong, and the parents of mixed samples, at most ``SIDE`` pixels
wide and as bytes: under a megabyte. All else about a stack (label, probabilities) the predictions tell, by its row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from sgexp.errors import DataError
from sgexp.evaluation.predictions import Predictions
from sgexp.npz import load_npz, save_npz
from sgexp.sampling.plan import ResamplingPlan

SCHEMA_VERSION = 1
SIDE = 64  # pixels: wider patterns are averaged down to it
SHOWN = 12  # right ones and as many wrong ones, of each test set
MIXED = 10
MOST = 500  # stacks of one kind in a file that is read


@dataclass(frozen=True)
class Gallery:
    """Kept stacks: S judged ones and the two parents of M mixed samples.

    ``patterns``, ``base``, ``partner`` (S or M, 3, p, p) uint8 are coded patterns, 0 ... 1 told as 0 ... 255. ``row``,
    ``base_row``, ``partner_row`` are the catalog's rows, ``formula``, ``base_formula``, ``partner_formula`` what the
    crystals are made of, ``space_group`` (M,) the group of both parents, ``weight`` (M,) the way from base to partner.
    """

    row: np.ndarray
    patterns: np.ndarray
    formula: np.ndarray
    base: np.ndarray
    partner: np.ndarray
    weight: np.ndarray
    space_group: np.ndarray
    base_row: np.ndarray
    partner_row: np.ndarray
    base_formula: np.ndarray
    partner_formula: np.ndarray

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together: a file may come from anywhere."""
        stacks_of = ("patterns", "base", "partner")
        for item in fields(self):
            if item.name not in stacks_of and getattr(self, item.name).ndim != 1:
                raise ValueError(f"gallery: {item.name} must be one-dimensional")
        if np.ndim(self.base) != 4 or np.shape(self.base) != np.shape(self.partner):
            raise ValueError("gallery: base and partner differ in shape")
        judged, mixed = ("row", "patterns", "formula"), [item.name for item in fields(self)][3:]
        for names in (judged, mixed):
            if len({len(getattr(self, name)) for name in names}) != 1:
                raise ValueError(f"gallery: {', '.join(names)} differ in length")
        for name in stacks_of:
            stacks = getattr(self, name)
            if (
                stacks.ndim != 4
                or stacks.dtype != np.uint8
                or not 1 <= min(stacks.shape[1:]) <= max(stacks.shape[1:]) <= SIDE
            ):
                raise ValueError(f"gallery: {name} are no small stacks of patterns")
            if len(stacks) > MOST:
                raise ValueError(f"gallery: {len(stacks)} {name} are more than sgexp keeps")
        if not np.isfinite(self.weight.astype(np.float64)).all():
            raise ValueError("gallery: weights are no finite numbers")
        for name in ("row", "base_row", "partner_row", "space_group"):
            object.__setattr__(self, name, getattr(self, name).astype(np.int64))

    @property
    def mixed(self) -> np.ndarray:
        """The mixed samples themselves, (M, 3, p, p) uint8: what the network was trained on, to half a grey level."""
        base, partner = self.base.astype(np.float64), self.partner.astype(np.float64)
        return np.rint(base + self.weight.reshape(-1, 1, 1, 1) * (partner - base)).clip(0, 255).astype(np.uint8)

    def save(self, path: Path) -> None:
        """Write an npz without pickle: the arrays and ``schema_version``."""
        arrays = {item.name: getattr(self, item.name) for item in fields(self)}
        save_npz(path, SCHEMA_VERSION, **arrays)

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Read what ``save`` wrote; anything else is a `DataError`."""
        arrays = load_npz(path, SCHEMA_VERSION)
        try:
            return cls(**{item.name: arrays[item.name] for item in fields(cls)})
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} holds no gallery as sgexp writes it ({error})") from error


def as_bytes(coded: np.ndarray) -> np.ndarray:
    """Return coded patterns, 0 ... 1, as uint8."""
    return np.rint(coded * 255).clip(0, 255).astype(np.uint8)


def choose_judged(predictions: Predictions, seed: int, most: int = SHOWN) -> np.ndarray:
    """Return positions of ``most`` right and as many wrong answers, drawn blindly: right ones first."""
    order = np.random.default_rng(seed).permutation(len(predictions))
    right = (predictions.predicted == predictions.label)[order]
    return np.concatenate([order[right][:most], order[~right][:most]])


def choose_mixed(plan: ResamplingPlan, group_of_row: np.ndarray, seed: int, most: int = MIXED) -> np.ndarray:
    """Return draws of ``plan`` that mix two samples, of as many different groups as there are.

    None where intensities are mixed: the mixtures are computed from the two parents' codes when they are shown.
    """
    if plan.mix_in != "coded":
        return np.zeros(0, np.int64)
    draws = np.random.default_rng(seed).permutation(np.flatnonzero(plan.weight))
    _, first = np.unique(group_of_row[plan.base[draws]], return_index=True)
    of_each_group = np.random.default_rng(seed).permutation(first)
    return np.sort(draws[np.concatenate([of_each_group, np.setdiff1d(np.arange(len(draws)), first)])[:most]])
