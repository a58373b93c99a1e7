"""What a network is asked beside the space group while it trains: crystal system, lengths and angles of the cell.

These are further labels that SMC-19's headers hold, and the multi-task question of the data challenge that it was made
for. The answers are read off the features that the last layer is given, by one linear layer of their own; the
network's logits do not know of them. R. Caruana, "Multitask Learning", Machine Learning 28 (1997), is why it may help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, crystal_system_of
from sgexp.crystallography.lattice import FAULTS, cell_faults
from sgexp.errors import ConfigError
from sgexp.evaluation.auxiliary import TASKS, CrystalAnswers

_SYSTEMS = len(CRYSTAL_SYSTEMS)


@dataclass(frozen=True)
class CrystalTargets:
    """What is so of every catalog row.

    Attributes
    ----------
    system : place in ``CRYSTAL_SYSTEMS``, (N,) int64; it follows from the space group.
    cell : a, b, c in Å and alpha, beta, gamma in degrees, (N, 6) float32; NaN where the data do not say.
    fault : what is wrong with the cell, (N,): a place in ``FAULTS``, 0: nothing.
    """

    system: NDArray[np.int64]
    cell: NDArray[np.float32]
    fault: NDArray[np.int8]

    @classmethod
    def of(cls, space_group_N: NDArray[np.integer], cell_N6: NDArray[np.float32]) -> CrystalTargets:
        """Return the targets of samples with these groups and cells."""
        system_N = crystal_system_of[np.asarray(space_group_N, np.int64)]
        return cls(system_N, np.asarray(cell_N6, np.float32), cell_faults(cell_N6, space_group_N))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a row has a cell that can be learned and judged, (N,)."""
        return self.fault == 0

    def left_out(self) -> str:
        """Return a sentence on the cells that cannot be used; '' where all can."""
        counts = np.bincount(self.fault, minlength=len(FAULTS))
        if counts[0] == len(self.fault):
            return ""
        each = ", ".join(f"{count:,} {fault}" for count, fault in zip(counts[1:], FAULTS[1:], strict=True) if count)
        return (
            f"auxiliary: of {len(self.fault):,} cells {len(self.fault) - counts[0]:,} cannot be used ({each}): lengths "
            "and angles are neither learned nor judged there"
        )


class Auxiliary(nn.Module):
    """A linear layer from a network's features to 7 logits of crystal systems and 6 numbers of the cell, and its loss.

    With weights w of the tasks the loss of a sample is

        w_system CE(system) + w_lengths mean_abc h((ln a - mu) / sigma - u) + w_angles mean_angles h(...)

    where h is the smooth L1 (Huber, with its bend at 1), u is what the layer answers, and mu and sigma are the mean and
    the standard deviation over the training rows whose cell can be used (sigma 1 where they do not vary). Other rows
    have no second and third term, and the sum is divided by the number of samples all the same, so that the gradient
    of a batch is the mean of its parts' gradients.

    Parameters
    ----------
    n_features : of the network's last layer.
    targets : of every catalog row.
    train_rows : catalog rows that train.
    weights : of the tasks ``system``, ``lengths`` and ``angles``; a task of weight 0 is left out.
    """

    def __init__(
        self, n_features: int, targets: CrystalTargets, train_rows: NDArray[np.int64], weights: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.targets, self.weights = targets, {name: float(weights[name]) for name in TASKS}
        self.tasks = tuple(name for name in TASKS if self.weights[name] > 0)
        rows = train_rows[targets.known[train_rows]]
        if not len(rows) and set(self.tasks) & {"lengths", "angles"}:
            raise ConfigError(
                "auxiliary.lengths and auxiliary.angles need training samples with a cell, and none has one that can "
                "be used: set both to 0, or choose auxiliary=none"
            )
        coded_N6 = _coded(targets.cell)
        mean_6, spread_6 = np.zeros(6), np.ones(6)
        if len(rows):
            mean_6, spread_6 = coded_N6[rows].mean(0), coded_N6[rows].std(0)
        self.layer = nn.Linear(n_features, _SYSTEMS + 6)
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.from_numpy(mean_6).float())
        self.register_buffer("spread", torch.from_numpy(np.where(spread_6 > 1e-6, spread_6, 1.0)).float())
        # No buffers: a distributed run would copy them from process to process, and a checkpoint keep them.
        standard_N6 = np.where(targets.known[:, None], (coded_N6 - mean_6) / self.spread.numpy(), np.nan)
        self._system_N = torch.from_numpy(targets.system)
        self._standard_N6 = torch.from_numpy(standard_N6.astype(np.float32))

    def forward(self, features_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the systems (B, 7) and standardised numbers of the cell (B, 6)."""
        answer = self.layer(features_BF).float()
        return answer[:, :_SYSTEMS], answer[:, _SYSTEMS:]

    def each(self, features_BF: Tensor, rows_B: Tensor, partners_B: Tensor) -> Tensor:
        """Return the weighted loss of each sample, (B,).

        ``partners_B``: the row that was mixed into a draw's pixels, else its own; one of another cell leaves a mixture
        with none.
        """
        if self._system_N.device != rows_B.device:
            self._system_N, self._standard_N6 = self._system_N.to(rows_B.device), self._standard_N6.to(rows_B.device)
        system_BS, cell_B6 = self(features_BF)
        found_B = self.weights["system"] * F.cross_entropy(system_BS, self._system_N[rows_B], reduction="none")
        target_B6 = self._standard_N6[rows_B]
        known_B = (target_B6 == self._standard_N6[partners_B]).all(1)  # NaN, where a cell is unknown, equals nothing
        error_B6 = F.smooth_l1_loss(cell_B6, torch.where(known_B[:, None], target_B6, 0.0), reduction="none")
        cell_B = self.weights["lengths"] * error_B6[:, :3].mean(1) + self.weights["angles"] * error_B6[:, 3:].mean(1)
        return found_B + torch.where(known_B, cell_B, 0.0)

    @torch.no_grad()
    def answers(self, features_BF: Tensor) -> dict[str, Tensor]:
        """Return the likeliest ``system`` (B,) and the ``cell`` (B, 6) in Å and degrees."""
        system_BS, cell_B6 = self(features_BF)
        coded_B6 = cell_B6 * self.spread + self.mean
        return {"system": system_BS.argmax(1), "cell": torch.cat([coded_B6[:, :3].exp(), coded_B6[:, 3:]], 1)}

    def judged(self, rows_N: NDArray[np.int64], system_N: NDArray, cell_N6: NDArray) -> CrystalAnswers:
        """Return answers for these rows beside what is so."""
        so = self.targets
        return CrystalAnswers(rows_N, system_N, cell_N6, so.system[rows_N], so.cell[rows_N], so.known[rows_N])


def _coded(cell_N6: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ln a, ln b, ln c and the angles in degrees, (N, 6)."""
    cell_N6 = cell_N6.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([np.log(cell_N6[:, :3]), cell_N6[:, 3:]], axis=1)


def none(*, n_features: int, targets: CrystalTargets, train_rows: NDArray[np.int64]) -> None:
    """Ask nothing beside the space group."""


def cell(
    system: float,
    lengths: float,
    angles: float,
    *,
    n_features: int,
    targets: CrystalTargets,
    train_rows: NDArray[np.int64],
) -> Auxiliary:
    """Return the auxiliary tasks with these weights."""
    weights = {"system": system, "lengths": lengths, "angles": angles}
    return Auxiliary(n_features, targets, train_rows, weights)
