"""The plan of an epoch: for every draw the rows to read and the weight between them, and no pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sgexp.errors import DataError
from sgexp.npz import load_npz, save_npz
from sgexp.sampling.recipe import Recipe, step_numbers

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ResamplingPlan:
    """What one epoch draws: draw ``d`` is ``x[base[d]] + weight[d] * (x[partner[d]] - x[base[d]])``.

    ``base`` and ``partner`` (D,) int64 are rows of the array that the plan was made for; ``weight`` (D,) float64 is the
    way from base to partner, 0 where a draw is simply the sample ``base``. Base and partner share one label, so the
    label of a draw is that of its base. ``kind`` is "static": the same draws in every epoch (their order is the
    loader's affair); or "recipe": the draws are candidates, ``recipe`` says which of them an epoch draws, and
    ``expected`` (D,) how often each is drawn in one; where the recipe has ``steps``, ``weight`` is the longest way and
    how much of it a draw goes is drawn too. ``notes`` say in whole sentences what was done for classes too small for
    the method. ``mix_in``: what is mixed, the "coded" patterns as they are, or their "intensity" or its "log".
    """

    base: np.ndarray
    partner: np.ndarray
    weight: np.ndarray
    kind: str = "static"
    notes: tuple[str, ...] = ()
    recipe: Recipe | None = None
    expected: np.ndarray | None = None
    mix_in: str = "coded"

    def __post_init__(self) -> None:
        """Refuse arrays that could not be drawn from."""
        if not self.base.ndim == self.partner.ndim == self.weight.ndim == 1:
            raise ValueError("base, partner and weight must be one-dimensional")
        if not len(self.base) == len(self.partner) == len(self.weight):
            raise ValueError(
                f"base, partner and weight differ in length: {len(self.base)}, {len(self.partner)}, {len(self.weight)}"
            )
        object.__setattr__(self, "base", self.base.astype(np.int64, copy=False))
        object.__setattr__(self, "partner", self.partner.astype(np.int64, copy=False))
        object.__setattr__(self, "weight", self.weight.astype(np.float64, copy=False))
        if len(self.base) and (min(self.base.min(), self.partner.min()) < 0 or not np.isfinite(self.weight).all()):
            raise ValueError("rows must not be negative and weights must be finite")
        if self.recipe is not None:
            object.__setattr__(self, "expected", self.recipe.mean)
        if self.expected is not None and self.expected.shape != self.base.shape:
            raise ValueError(f"base and expected differ in length: {len(self.base)}, {len(self.expected)}")

    def __len__(self) -> int:
        return len(self.base)

    @classmethod
    def selection(cls, rows: np.ndarray, notes: tuple[str, ...] = ()) -> ResamplingPlan:
        """Return the plan that draws ``rows`` as they are, in this order."""
        return cls(rows, rows, np.zeros(len(rows)), notes=notes)

    @property
    def draws(self) -> int:
        """Draws of an epoch, unless the trainer sets another length."""
        return len(self) if self.expected is None else round(float(self.expected.sum()))

    @property
    def nbytes(self) -> int:
        """Memory of the three arrays, in bytes (24 a draw)."""
        return self.base.nbytes + self.partner.nbytes + self.weight.nbytes

    @property
    def rows(self) -> np.ndarray:
        """The distinct rows that an epoch reads, ascending."""
        return np.union1d(self.base, self.partner)

    def drawn_counts(self, labels_N: np.ndarray) -> dict[int, int]:
        """Return how often each label is drawn in an epoch (``labels_N`` as given to the sampler), at least once."""
        groups, number = np.unique(labels_N[self.base], return_inverse=True)
        counts = _whole(np.bincount(number, self.expected))
        return dict(zip(groups.tolist(), counts.tolist(), strict=True))

    def counts(self, class_of_row: np.ndarray, n_classes: int) -> np.ndarray:
        """Return how often each of the class numbers 0, 1, ... of rows is drawn in an epoch, (n_classes,) int64.

        A class that a recipe draws less than once an epoch counts as one.
        """
        return _whole(np.bincount(class_of_row[self.base], self.expected, minlength=n_classes))

    def at_rows(self, rows_N: np.ndarray) -> ResamplingPlan:
        """Return the same plan with row ``i`` renamed to ``rows_N[i]`` (for example the catalog's row of sample i)."""
        return replace(self, base=rows_N[self.base], partner=rows_N[self.partner])

    def take(self, draws: np.ndarray, notes: tuple[str, ...] = ()) -> ResamplingPlan:
        """Return some of the draws, in this order, and further notes."""
        base, partner, weight = self.base[draws], self.partner[draws], self.weight[draws]
        return replace(self, base=base, partner=partner, weight=weight, notes=self.notes + notes)

    def epoch(self, seed: int, epoch: int) -> ResamplingPlan:
        """Return what one epoch draws of this plan, as a static plan in the epoch's order."""
        if self.recipe is None:
            return self
        draws = self.recipe.order(seed, epoch, self.draws)
        weight = self.weight[draws]
        if self.recipe.steps:
            weight = weight * (step_numbers(seed, epoch, len(draws)) / self.recipe.steps)
        return ResamplingPlan(self.base[draws], self.partner[draws], weight, notes=self.notes, mix_in=self.mix_in)

    def mix(self, x_N: np.ndarray) -> np.ndarray:
        """Return the drawn values of ``x_N`` (N, ...) in its own dtype, rounded once, as imbalanced-learn does."""
        weight = self.weight.reshape(-1, *[1] * (x_N.ndim - 1))
        return (x_N[self.base] + weight * (x_N[self.partner] - x_N[self.base])).astype(x_N.dtype)

    def save(self, path: Path) -> None:
        """Write the plan as an npz without pickle: base, partner, weight, kind, schema_version; a recipe's expected.

        What a recipe draws follows from the config and the seed.
        """
        columns = {"base": self.base, "partner": self.partner, "weight": self.weight}
        if self.expected is not None:
            columns["expected"] = self.expected
        if self.mix_in != "coded":
            columns["mix_in"] = np.array(self.mix_in)
        save_npz(path, SCHEMA_VERSION, **columns, kind=np.array(self.kind))

    @classmethod
    def load(cls, path: Path) -> ResamplingPlan:
        """Read a plan that ``save`` wrote; anything else is a `DataError`."""
        arrays = load_npz(path, SCHEMA_VERSION)
        try:
            draws = (arrays["base"], arrays["partner"], arrays["weight"], str(arrays["kind"]))
            return cls(*draws, expected=arrays.get("expected"), mix_in=str(arrays.get("mix_in", "coded")))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{path} holds no resampling plan as sgexp writes it ({error})") from error


def _whole(counts: np.ndarray) -> np.ndarray:
    """Return counts as whole numbers; what is drawn at all counts as one at least."""
    return np.where(counts > 0, np.maximum(np.rint(counts), 1), 0).astype(np.int64)
