"""Training patterns that are simulated as they are needed, by whoever loads the batch.

Draw d of the plan begins with the stored patterns of its row, its variant 0. Every ``keep`` epochs a new variant takes
their place, of the same training crystal, and with its label: variant (epoch + d mod keep) div keep in each epoch, so
that the work is spread evenly over the epochs. A variant is decided by (seed, draw, variant) alone, and simulated with
one thread: any number of ranks or workers, and a run that is resumed, sees the same patterns to the bit. Validation and
test rows are never asked for here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from sgexp.crystallography.crystal import Crystal
from sgexp.data.contents import pixel_fault
from sgexp.loading.slots import Slots
from sgexp.simulation.variants import Variants, one_thread

_OF_THE_STREAM = 0x73_7472  # keeps these random numbers apart from all others of a seed
_MOST_WORKERS = 1024


class Encode(Protocol):
    """What codes intensities as the packed store does (``sgexp.data.transforms.Transform.encode``)."""

    def __call__(self, patterns_BCHW: Tensor, /) -> Tensor:
        """Return the coded patterns in [0, 1]."""


class Stream:
    """The variants of a plan's draws.

    Parameters
    ----------
    crystals : the crystal of every training row.
    energy_kev : beam energy of every catalog row, (N,).
    variants : makes them.
    encode : codes them as the store does.
    seed : with draw and variant it decides everything.
    keep : epochs that a variant is used for.
    slots : where variants stay between epochs; None: each is simulated as often as it is drawn.
    """

    def __init__(
        self,
        crystals: Mapping[int, Crystal],
        energy_kev: NDArray[np.floating],
        variants: Variants,
        encode: Encode,
        *,
        seed: int,
        keep: int,
        slots: Slots | None = None,
    ) -> None:
        self.crystals, self.energy_kev, self.variants, self.encode = crystals, energy_kev, variants, encode
        self.seed, self.keep, self.slots = seed, keep, slots
        self._done = torch.zeros(_MOST_WORKERS + 1, 2, dtype=torch.float64).share_memory_()  # a row for each process

    def fill(
        self, patterns_BCHW: NDArray[np.float32], rows_B: NDArray[np.int64], draws_B: NDArray[np.int64], epoch: int
    ) -> NDArray[np.float32]:
        """Return the stored patterns of these rows with their variants of this epoch in place of them."""
        variants_B = self.variant(draws_B, epoch)
        out = patterns_BCHW if patterns_BCHW.flags.writeable else patterns_BCHW.copy()
        for place in np.flatnonzero(variants_B).tolist():
            fresh = self.patterns(int(rows_B[place]), int(draws_B[place]), int(variants_B[place]))
            if fresh is not None:
                out[place] = fresh
        return out

    def variant(self, draws_B: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return the number of the variant of each draw in an epoch, (B,); 0 is what is stored."""
        return (epoch + draws_B % self.keep) // self.keep

    def patterns(self, row: int, draw: int, variant: int) -> NDArray[np.float16] | None:
        """Return the coded patterns of a variant, (C, p, p); None where none of the crystal can be simulated."""
        found = None if self.slots is None else self.slots.read(draw, variant)
        if found is None:
            started = time.perf_counter()
            found = self._simulated(row, draw, variant)
            self._count(time.perf_counter() - started)
            if found is not None and self.slots is not None:
                self.slots.write(draw, variant, found)
        return found

    def _simulated(self, row: int, draw: int, variant: int) -> NDArray[np.float16] | None:
        rng = np.random.default_rng([self.seed, _OF_THE_STREAM, draw, variant])
        made = self.variants.make(self.crystals[row], float(self.energy_kev[row]), rng)
        if made is None or pixel_fault(made[1].patterns):
            return None
        with torch.inference_mode(), one_thread():
            return self.encode(torch.from_numpy(made[1].patterns)[None])[0].to(torch.float16).numpy()

    def _count(self, seconds: float) -> None:
        worker = get_worker_info()
        mine = self._done[0 if worker is None else 1 + worker.id % _MOST_WORKERS]
        mine += torch.tensor([1.0, seconds], dtype=torch.float64)

    @property
    def done(self) -> Tensor:
        """How many variants this rank and its workers have simulated, and in how many seconds, (2,)."""
        return self._done.sum(0)

    def close(self) -> None:
        """Delete what was kept between epochs."""
        if self.slots is not None:
            self.slots.remove()
