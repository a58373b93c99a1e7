"""Reading a batch in one go, mixing its pixels as the plan says, and a loader that can go on in mid-epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sgexp.console import STOP_REQUESTS, interrupts_not_inherited
from sgexp.loading.samplers import Recipe, TrainingBatches, epoch_of

Blend = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Base and partner (B, 3, p, p), coded, and weights (B,) -> mixtures, coded."""

Batch = dict[str, Tensor]
"""patterns (B, 3, p, p) float32 coded; label (B,) class index; row (B,) of the catalog; draw (B,); all int64.

Where a plan mixes, ``partner`` (B,) is the row that was mixed into each draw, its own where none was.
Where draws are mixed, ``other`` (M,) are the places of the partners of the first M; the rest is there for them alone.
"""


class Store(Protocol):
    """What batches are read from (``sgexp.data.packed.PackedStore``)."""

    def read(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return the coded patterns of catalog rows, (B, 3, p, p)."""
        ...


class Plan(Protocol):
    """What is drawn, x[base] + weight (x[partner] - x[base]), at catalog rows: a ``ResamplingPlan`` of sampling."""

    @property
    def base(self) -> NDArray[np.int64]:
        """Catalog row of each draw, (D,)."""

    @property
    def partner(self) -> NDArray[np.int64]:
        """Catalog row mixed in, (D,)."""

    @property
    def weight(self) -> NDArray[np.float64]:
        """Share of the partner, (D,); 0 is plain selection."""

    @property
    def mix_in(self) -> str:
        """What is mixed: "coded" patterns as they are, or their "intensity" or its "log"."""

    @property
    def recipe(self) -> Recipe | None:
        """What each epoch draws of these; None: all of them."""

    @property
    def draws(self) -> int:
        """Draws of an epoch."""


class Fresh(Protocol):
    """What puts new patterns in the place of stored ones (``sgexp.loading.stream.Stream``)."""

    def fill(
        self, patterns: NDArray[np.float32], rows: NDArray[np.int64], draws: NDArray[np.int64], epoch: int, /
    ) -> NDArray[np.float32]:
        """Return the stored patterns (B, 3, p, p) of these rows as these draws of this epoch have them."""
        ...


def blend_coded(
    base_BCHW: NDArray[np.float32], partner_BCHW: NDArray[np.float32], weight_B: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what lies so far on the way from base to partner."""
    return base_BCHW + weight_B[:, None, None, None] * (partner_BCHW - base_BCHW)


class PatternDraws(Dataset[Batch]):
    """The draws of a plan, read a whole batch at a time (``__getitems__``): one fancy index on the memory map.

    Only arrays and the store are kept, and a forked worker shares the pages of both. With ``fresh`` the base of a draw
    is what that makes of it in the epoch; what is mixed into it stays the stored pattern. ``steps``: where it
    is not 0, a draw's number tells how much of its ``weight`` it goes, so many whole plans in ``steps``. ``blend``:
    base, partner and weights -> mixtures.
    """

    def __init__(
        self,
        store: Store,
        class_of_row: NDArray[np.integer],
        base: NDArray[np.integer],
        partner: NDArray[np.integer] | None = None,
        weight: NDArray[np.floating] | None = None,
        fresh: Fresh | None = None,
        steps: int = 0,
        blend: Blend = blend_coded,
    ) -> None:
        self.store, self.fresh, self.steps, self.blend = store, fresh, steps, blend
        self.class_of_row = np.asarray(class_of_row, dtype=np.int64)
        self.base = np.asarray(base, dtype=np.int64)
        mixes = partner is not None and weight is not None and bool(np.any(weight))
        self.partner = np.asarray(partner, dtype=np.int64) if mixes else None
        self.weight = np.asarray(weight, dtype=np.float32) if mixes else None

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, draw: int) -> Batch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: list[int]) -> Batch:
        """Return the draws as one batch. A draw's number is its place in the plan, plus so many whole plans."""
        draws_B = np.asarray(draws, dtype=np.int64)
        place_B = draws_B % len(self.base)
        rows_B = self.base[place_B]
        patterns_BCHW = np.ascontiguousarray(self.store.read(rows_B), dtype=np.float32)
        if self.fresh is not None:
            patterns_BCHW = self.fresh.fill(patterns_BCHW, rows_B, draws_B, epoch_of(draws))
        more: Batch = {}
        if self.partner is not None and self.weight is not None:
            weight_B = self._weights(draws_B, place_B)
            mixed = np.flatnonzero(weight_B)
            more = {"partner": torch.from_numpy(np.where(weight_B != 0, self.partner[place_B], rows_B))}
            if len(mixed):
                patterns_BCHW = self._mix(patterns_BCHW, place_B[mixed], weight_B[mixed], mixed)
        return {
            "patterns": torch.from_numpy(patterns_BCHW),
            "label": torch.from_numpy(self.class_of_row[rows_B]),
            "row": torch.from_numpy(rows_B),
            "draw": torch.from_numpy(draws_B),
            **more,
        }

    def _weights(self, draws_B: NDArray[np.int64], place_B: NDArray[np.int64]) -> NDArray[np.float32]:
        assert self.weight is not None
        if not self.steps:
            return self.weight[place_B]
        return self.weight[place_B] * (draws_B // len(self.base) % self.steps / self.steps).astype(np.float32)

    def _mix(
        self,
        patterns_BCHW: NDArray[np.float32],
        place_M: NDArray[np.int64],
        weight_M: NDArray[np.float32],
        mixed: NDArray[np.intp],
    ) -> NDArray[np.float32]:
        assert self.partner is not None
        out = patterns_BCHW if patterns_BCHW.flags.writeable else patterns_BCHW.copy()
        out[mixed] = self.blend(out[mixed], self.store.read(self.partner[place_M]), weight_M)
        return out


def as_is(batch: Any) -> Batch:
    """Collate nothing: the dataset returns whole batches."""
    return batch


class PatternLoader(DataLoader[Batch]):
    """A loader of whole batches, whose workers are deaf to Ctrl-C and to a cluster's requests to stop.

    Those are sent to every process of a job, but a batch may still be needed. A worker ends when its loader tells it,
    or when the training process is no more. It is deaf before it has begun: a handler set by the worker itself would
    come too late for a request that arrives while it starts.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with interrupts_not_inherited(*STOP_REQUESTS):  # the workers start here
            return super().__iter__()


class ResumableLoader(PatternLoader):
    """A training loader whose state is the number of batches served in this epoch.

    A plain DataLoader would replay the epoch from its first batch. Batches are counted where they leave the loader, so
    reading ahead by workers does not count.
    """

    def __init__(self, dataset: Dataset[Batch], batch_sampler: TrainingBatches, **kwargs: Any) -> None:
        super().__init__(dataset, batch_sampler=batch_sampler, **kwargs)
        self._served = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        assert isinstance(self.batch_sampler, TrainingBatches)
        self._served = self.batch_sampler.start
        iterator = super().__iter__()
        self.batch_sampler.start = 0
        for batch in iterator:
            self._served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how far the epoch is."""
        return {"served": self._served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration after the batches already served (after all of them: at the first one)."""
        assert isinstance(self.batch_sampler, TrainingBatches)
        self.batch_sampler.start = state["served"] % len(self)
