"""How far a difference between treatments may be off: families and seeds as two crossed random effects.

A treatment's figure g_ts (treatment t, seed s) varies because other families could have been tested, because another
seed trains another network, and because networks of two seeds fail on different families (the interaction). All runs
of a comparison share their resampled families, so what the families have in common cancels in a difference.

The variance of a contrast sum(c_r g_r) over runs r, whose coefficients add up to 1/S - 1/S and so on, is

    V = V_F + max(0, s^2 - i) sum(c_r^2)

V_F: over resampled families with the seeds as they are (it holds the families and the interaction); s^2: between seeds
of one treatment, on all families (it holds the seeds and the interaction); i: the interaction, over resampled families
of the deviations from the treatment's mean: in both, so taken out once. s^2 and i are pooled over all treatments at
hand, and t-quantiles with Satterthwaite's degrees of freedom take into account how few seeds s^2 is known from.

A. B. Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 1, 386 (2007): the crossed design, and why resampling both ways
counts the interaction too often; F. E. Satterthwaite, Biometrics Bull. 2, 110 (1946). A plain nested bootstrap of
seeds and families rejects true null hypotheses too often with few seeds; docs/comparison.md shows both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sgexp.evaluation.metrics import Figure


@dataclass(frozen=True)
class SeedVariance:
    """Between the seeds of one treatment, pooled: ``total`` (s^2), ``interaction`` (i), from ``df`` further seeds."""

    total: float
    interaction: float
    df: int

    @property
    def of_seeds(self) -> float:
        """The part that other test families would not change."""
        return max(0.0, self.total - self.interaction)


@dataclass(frozen=True)
class Spread:
    """The standard error of a contrast, its degrees of freedom, and what families and seeds contribute to it.

    ``from_seeds`` is ``None`` where every treatment has one seed: then the error is that of these networks only.
    """

    standard_error: float
    df: float
    from_families: float
    from_seeds: float | None


@dataclass(frozen=True)
class FigureOfRuns:
    """One figure of several runs on the same test samples.

    ``values`` (M,) of the M runs; ``resampled`` (R, M) on the same R draws of ``n_families`` families for all runs;
    ``treatments``: name -> columns of its seeds.
    """

    values: np.ndarray
    resampled: np.ndarray
    n_families: int
    treatments: Mapping[str, Sequence[int]]

    @classmethod
    def of(
        cls, figures: Sequence[Figure], weights_RF: np.ndarray, treatments: Mapping[str, Sequence[int]]
    ) -> FigureOfRuns | None:
        """Return the figure of each run (one function of family weights a run), ``None`` where it is undefined.

        Resamples that leave it undefined (no few-shot class was drawn) are passed over.
        """
        n_families = weights_RF.shape[1]
        values = np.array([figure(np.ones((1, n_families)))[0] for figure in figures])
        if np.isnan(values).any():
            return None
        resampled = np.stack([figure(weights_RF) for figure in figures], axis=1)
        return cls(values, resampled[~np.isnan(resampled).any(axis=1)], n_families, treatments)

    def mean(self, treatment: str) -> float:
        """Return the mean over the seeds of a treatment."""
        return float(self.values[list(self.treatments[treatment])].mean())

    def contrast(self, a: str, b: str, scale_a: float = 1.0, scale_b: float = 1.0) -> np.ndarray:
        """Return the coefficients (M,) of ``scale_a`` x mean of A - ``scale_b`` x mean of B."""
        coefficients = np.zeros(len(self.values))
        for name, weight in ((a, scale_a), (b, -scale_b)):
            coefficients[list(self.treatments[name])] += weight / len(self.treatments[name])
        return coefficients

    def seed_variance(self) -> SeedVariance | None:
        """Return the variance between seeds, pooled over the treatments; ``None`` if none has two seeds."""
        total = interaction = 0.0
        df = 0
        for columns in (list(columns) for columns in self.treatments.values()):
            own, resampled = self.values[columns], self.resampled[:, columns]
            total += float(np.square(own - own.mean()).sum())
            interaction += float(self._over_families(resampled - resampled.mean(axis=1, keepdims=True)).sum())
            df += len(columns) - 1
        return SeedVariance(total / df, interaction / df, df) if df else None

    def spread(self, contrast: np.ndarray) -> Spread:
        """Return how far ``values @ contrast`` may be off."""
        fixed_seeds = float(self._over_families(self.resampled @ contrast))
        df_families = max(1, self.n_families - 1)
        seeds = self.seed_variance()
        if seeds is None:
            return Spread(fixed_seeds**0.5, df_families, fixed_seeds**0.5, None)
        squares = float(np.square(contrast).sum())
        from_seeds = (seeds.of_seeds * squares) ** 0.5
        if from_seeds == 0:
            return Spread(fixed_seeds**0.5, df_families, fixed_seeds**0.5, 0.0)
        variance = fixed_seeds + from_seeds**2
        families_alone = max(0.0, fixed_seeds - seeds.interaction * squares)
        below = families_alone**2 / df_families + (seeds.total * squares) ** 2 / seeds.df
        df = min(variance**2 / below, df_families + seeds.df)
        return Spread(variance**0.5, df, fixed_seeds**0.5, from_seeds)

    def _over_families(self, resampled: np.ndarray) -> np.ndarray:
        """Return the variance over resampled families (axis 0), without the bootstrap's bias of (F - 1) / F."""
        if self.n_families < 2 or len(resampled) < 2:
            return np.full(resampled.shape[1:], np.inf)
        return resampled.var(axis=0) * self.n_families / (self.n_families - 1)
