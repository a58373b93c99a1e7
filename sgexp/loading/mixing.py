"""Two draws in one picture, with both labels: mixup, CutMix, Remix and CMO, on the device, after augmentation.

Who is mixed with whom is decided for the *global* batch from (seed, epoch, batch), and how much from (seed, epoch,
draw): any number of ranks or workers sees the same mixtures, and so does a run that is resumed. A mixture of two
crystals' patterns is no crystal's pattern; that training on them helps is a finding, not physics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.utils.data import Dataset

from sgexp.loading.batches import Batch, PatternDraws
from sgexp.loading.counter import draw_keys, uniform
from sgexp.loading.samplers import EpochBatch, TrainingBatches, epoch_of

_OWN_STREAM = 0x6D69_7869_6E67  # keeps these numbers apart from those of augmentation
_QUANTILES = 1 << 14


@dataclass(frozen=True)
class Mixed:
    """A batch of mixtures: ``share`` (B,) is how much of each label is ``first``, the rest is ``second``."""

    patterns: Tensor
    first: Tensor
    second: Tensor
    share: Tensor

    @property
    def main(self) -> Tensor:
        """The label with the larger share, (B,)."""
        return torch.where(self.share >= 0.5, self.first, self.second)


class Mixing(nn.Module):
    """Blends each draw with its partner, or pastes a rectangle of the partner into it.

    Parameters
    ----------
    paste : paste a rectangle, the same in all patterns of a stack; else blend.
    alpha : the share of a draw itself follows Beta(alpha, alpha).
    probability : share of the draws that are mixed at all.
    rare_power : None: partners are other draws of the batch, each once; else they are drawn from the whole plan, a draw
        of a class with n draws n^-rare_power times as often.
    kappa, tau : where one class is ``kappa`` times rarer than the other or more, a blend with less than ``tau`` of the
        other is wholly of the rarer label (Remix); None: labels are shared as pictures are.
    class_counts : how often each class is drawn, (K,).
    seed : with epoch and draw it decides everything.
    """

    def __init__(
        self,
        *,
        paste: bool,
        alpha: float,
        probability: float = 1.0,
        rare_power: float | None = None,
        kappa: float | None = None,
        tau: float = 0.5,
        class_counts: ArrayLike,
        seed: int,
    ) -> None:
        super().__init__()
        self.paste, self.probability, self.rare_power = paste, probability, rare_power
        self.kappa, self.tau, self.seed = kappa, tau, seed
        middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        self.quantiles: Tensor
        self.counts: Tensor
        self.register_buffer("quantiles", torch.from_numpy(betaincinv(alpha, alpha, middles)).float(), persistent=False)
        self.register_buffer("counts", torch.as_tensor(class_counts).float(), persistent=False)

    def draw_classes(self, class_counts: ArrayLike) -> None:
        """Take it that classes are drawn so often from now on, (K,): a second stage may draw otherwise."""
        self.counts.copy_(torch.as_tensor(class_counts))

    @torch.no_grad()
    def forward(self, patterns_NCHW: Tensor, labels_N: Tensor, others_B: Tensor, draws_N: Tensor, epoch: int) -> Mixed:
        """Return the first B draws, each mixed with the one that ``others_B`` points to among all N."""
        batch = len(others_B)
        numbers = uniform(draw_keys(self.seed + _OWN_STREAM, epoch, draws_N[:batch]), 4)
        share_B = self.quantiles[(numbers[:, 0] * _QUANTILES).to(torch.int64)]
        share_B = torch.where(numbers[:, 1] < self.probability, share_B, 1.0)
        own_BCHW, other_BCHW = patterns_NCHW[:batch], patterns_NCHW[others_B]
        if self.paste:
            inside_BHW, share_B = _rectangles(share_B, numbers[:, 2], numbers[:, 3], own_BCHW.shape[-2:])
            mixed_BCHW = torch.where(inside_BHW[:, None], other_BCHW, own_BCHW)
        else:
            mixed_BCHW = torch.lerp(other_BCHW, own_BCHW, share_B.to(own_BCHW.dtype)[:, None, None, None])
        first_B, second_B = labels_N[:batch], labels_N[others_B]
        return Mixed(mixed_BCHW, first_B, second_B, self._label_share(share_B, first_B, second_B))

    def _label_share(self, share_B: Tensor, first_B: Tensor, second_B: Tensor) -> Tensor:
        if self.kappa is None:
            return share_B
        ratio_B = self.counts[first_B] / self.counts[second_B].clamp(min=0.5)
        share_B = torch.where((ratio_B >= self.kappa) & (share_B < self.tau), 0.0, share_B)
        return torch.where((ratio_B <= 1 / self.kappa) & (1 - share_B < self.tau), 1.0, share_B)


def _rectangles(share_B: Tensor, up_B: Tensor, across_B: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return rectangles of the area 1 - share around centres anywhere, cut at the edge, and the shares left outside."""
    inside = []
    side_B = (1 - share_B).sqrt()
    for length, centre_B in zip(size, (up_B, across_B), strict=True):
        middles = (torch.arange(length, device=share_B.device) + 0.5) / length
        inside.append((middles - centre_B[:, None]).abs() < side_B[:, None] / 2)
    inside_BHW = inside[0][:, :, None] & inside[1][:, None, :]
    return inside_BHW, 1 - inside_BHW.flatten(1).float().mean(1)


def none(*, class_counts: ArrayLike, seed: int) -> None:
    """Mix nothing."""


def mixup(alpha: float, *, class_counts: ArrayLike, seed: int) -> Mixing:
    """Return mixup: H. Zhang et al., ICLR 2018, arXiv:1710.09412."""
    return Mixing(paste=False, alpha=alpha, class_counts=class_counts, seed=seed)


def cutmix(alpha: float, probability: float, *, class_counts: ArrayLike, seed: int) -> Mixing:
    """Return CutMix: S. Yun et al., ICCV 2019, arXiv:1905.04899."""
    return Mixing(paste=True, alpha=alpha, probability=probability, class_counts=class_counts, seed=seed)


def remix(alpha: float, kappa: float, tau: float, *, class_counts: ArrayLike, seed: int) -> Mixing:
    """Return Remix: H.-P. Chou et al., ECCV workshops 2020, arXiv:2007.03943, eqs. 4 to 6."""
    return Mixing(paste=False, alpha=alpha, kappa=kappa, tau=tau, class_counts=class_counts, seed=seed)


def cmo(alpha: float, probability: float, power: float, *, class_counts: ArrayLike, seed: int) -> Mixing:
    """Return context-rich minority over-sampling: S. Park et al., CVPR 2022, arXiv:2112.00412.

    Rectangles of rare classes are pasted into draws of the plan, which are their context.
    """
    return Mixing(
        paste=True, alpha=alpha, probability=probability, rare_power=power, class_counts=class_counts, seed=seed
    )


class PairedBatches(TrainingBatches):
    """Batches of (draw, partner): partners are the global batch in another order, or rare draws of the whole plan.

    They are the ``batches`` given, in the same order, with the state that these have. ``class_of_draw`` (D,) and
    ``rare_power`` (see ``Mixing``) are for rare partners, and so is ``rate_of_draw`` (D,): how often each is drawn in
    an epoch, where that is not once (the candidates of a recipe).
    """

    def __init__(
        self,
        batches: TrainingBatches,
        class_of_draw: NDArray[np.int64],
        rare_power: float | None,
        rate_of_draw: NDArray[np.float64] | None = None,
    ) -> None:
        vars(self).update(vars(batches))
        self.sampler = self
        self.class_of_draw, self.rare_power = class_of_draw, rare_power
        self.rate_of_draw = np.ones(len(class_of_draw)) if rate_of_draw is None else rate_of_draw
        self._cumulative: tuple[int, NDArray[np.float64]] | None = None

    def _batch(self, order: NDArray[np.int64], number: int) -> list[Any]:
        begin = number * self.batch_size
        draws = order[begin : begin + self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, number, 1])
        partners = draws[rng.permutation(len(draws))] if self.rare_power is None else self._rare(rng, len(draws))
        share = self.batch_size // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return list(zip(draws[mine].tolist(), partners[mine].tolist(), strict=True))

    def _rare(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        assert self.rare_power is not None
        second = self.later is not None and self.epoch >= self.later[0]
        first = self.n_draws if second else 0
        if self._cumulative is None or self._cumulative[0] != first:
            own = slice(self.n_draws, None) if second else slice(self.n_draws)
            classes, rate = self.class_of_draw[own], self.rate_of_draw[own]
            often = rate * np.bincount(classes, rate)[classes] ** -self.rare_power
            self._cumulative = first, np.cumsum(often / often.sum())
        found = np.searchsorted(self._cumulative[1], rng.random(count), side="right")
        return first + np.minimum(found, len(self._cumulative[1]) - 1)


class PairedDraws(Dataset[Batch]):
    """Draws and their partners as one batch: what must be read for both, once, and ``other``: where partners are."""

    def __init__(self, draws: PatternDraws) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, pair: tuple[int, int]) -> Batch:
        return self.__getitems__([pair])

    def __getitems__(self, pairs: list[tuple[int, int]]) -> Batch:
        """Return the batch of the first of each pair, followed by the partners that are not among them."""
        read = [draw for draw, _ in pairs]
        place = {draw: index for index, draw in enumerate(read)}
        for _, partner in pairs:
            if partner not in place:
                place[partner] = len(read)
                read.append(partner)
        batch = self.draws.__getitems__(EpochBatch(read, epoch_of(pairs)))
        return batch | {"other": torch.tensor([place[partner] for _, partner in pairs])}
