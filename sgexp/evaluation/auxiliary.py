"""Figures of what a network is asked beside the space group: the crystal system, cell lengths and angles.

Each is over stated samples and has an interval over families, as the main ones do (see ``metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgexp.evaluation.bootstrap import interval, resampled_weights
from sgexp.evaluation.metrics import sample_mean
from sgexp.evaluation.schema import EvaluationConfig

TASKS = ("system", "lengths", "angles")


@dataclass(frozen=True)
class CrystalAnswers:
    """What was answered of N samples, and what is so.

    Attributes
    ----------
    row : of the catalog, (N,).
    system, true_system : places in ``CRYSTAL_SYSTEMS``, (N,).
    cell, true_cell : a, b, c in Å and alpha, beta, gamma in degrees, (N, 6).
    known : whether the true cell can be used, (N,).
    """

    row: np.ndarray
    system: np.ndarray
    cell: np.ndarray
    true_system: np.ndarray
    true_cell: np.ndarray
    known: np.ndarray

    def constant(self, system: int, cell_6: np.ndarray) -> CrystalAnswers:
        """Return the same answer for every sample: what the figures are worth without looking."""
        n = len(self.row)
        same = np.full(n, system), np.tile(np.asarray(cell_6, np.float64), (n, 1))
        return CrystalAnswers(self.row, *same, self.true_system, self.true_cell, self.known)


def crystal_figures(
    answers: CrystalAnswers, units_N: np.ndarray, config: EvaluationConfig, tasks: tuple[str, ...] = TASKS
) -> dict[str, dict[str, float | None]]:
    """Return the figures of the ``tasks`` by name, each {value, low, high}, low and high None for a single unit.

    ``system_top1``: share of samples whose crystal system is named right. ``length_error``: mean absolute error of a,
    b and c in Å; ``length_error_percent``: the same as a share of the true length; ``angle_error``: of alpha, beta and
    gamma in degrees; these three over samples whose cell is known. ``units_N``: family of each sample (0..F-1).
    """
    found: dict[str, dict[str, float | None]] = {}
    if "system" in tasks:
        found["system_top1"] = _mean(answers.system == answers.true_system, units_N, config)
    known = np.asarray(answers.known, bool)
    if not known.any():
        return found
    cell_N6, true_N6 = answers.cell[known].astype(np.float64), answers.true_cell[known].astype(np.float64)
    error_N6, units = np.abs(cell_N6 - true_N6), units_N[known]
    if "lengths" in tasks:
        found["length_error"] = _mean(error_N6[:, :3].mean(1), units, config)
        found["length_error_percent"] = _mean(100 * (error_N6[:, :3] / true_N6[:, :3]).mean(1), units, config)
    if "angles" in tasks:
        found["angle_error"] = _mean(error_N6[:, 3:].mean(1), units, config)
    return found


def _mean(values_N: np.ndarray, units_N: np.ndarray, config: EvaluationConfig) -> dict[str, float | None]:
    _, units_N = np.unique(units_N, return_inverse=True)
    figure, n_units = sample_mean(np.asarray(values_N, np.float64), units_N), int(units_N.max()) + 1
    if n_units < 2:
        return {"value": float(figure(np.ones((1, 1)))[0]), "low": None, "high": None}
    found = interval(figure, resampled_weights(n_units, config.resamples, config.seed), config.confidence)
    assert found is not None  # resamples draw as many units as there are, and every unit has a sample
    return dict(found.as_dict())
