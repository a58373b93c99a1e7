"""How far a difference between treatments may be off: families and seeds as two crossed random effects.

A treatment's figure g_ts (treatment t, seed s) varies because other families could have been tested, because another
seed trains another network, and because networks of two seeds fail on different families (the interaction). All runs
of a comparison share their families, so what the families have in common cancels in a difference. The variance of a
contrast sum(c_r g_r) over runs r (c = 1/S for A's seeds, -1/S for B's) is

    V = V_F + max(0, s^2 - i) sum(c_r^2)

V_F: over families, with the seeds as they are (the families and the interaction); s^2: between seeds of one treatment,
over all families (the seeds and the interaction); i: over families of the deviations from a treatment's mean (the
interaction, which is in both and so taken out once). s^2 and i are pooled over all treatments at hand. Quantiles are
those of t with Satterthwaite's degrees of freedom, which tell from how few seeds and space groups V is known.

Variances over families are sum_f(I_f J_f): I_f the derivative of the contrast by the family's weight, J_f its change
without the family. For a mean this is s^2 / n, without bias; for an average over groups it is that group by group (J.
G. MacKinnon, H. White, J. Econometrics 29, 305 (1985), HC2). A family that is alone in its group has no derivative
(I_f = J_f then: compared with the other groups). A bootstrap over families drops such groups from resamples instead,
and on a long tail understates the variance of such averages by a third.

A. B. Owen, Ann. Appl. Stat. 1, 386 (2007): the crossed design, and how resampling both ways counts the interaction
twice; F. E. Satterthwaite, Biometrics Bull. 2, 110 (1946). The plain nested bootstrap of families and seeds is kept for
those who look for it (``nested_bootstrap``); docs/comparison.md has the measured false positives of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from sgexp.evaluation.bootstrap import Interval
from sgexp.evaluation.metrics import Figure

STEP = 1e-4  # of a family's weight, for derivatives
_ROWS = 512  # weights at once: bounds the memory


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
    ``families_that_matter``: in how many of them alone the contrast is not 0.
    """

    standard_error: float
    df: float
    from_families: float
    from_seeds: float | None
    families_that_matter: int

    def at_least(self, difference: float) -> Spread:
        """Return the spread, widened where few families make the ``difference``.

        Exchanging two equal treatments family by family would bring it about by chance with 2^(1 - n) from n families;
        a variance estimated from so few may be 0, but nothing smaller can be claimed.
        """
        if difference == 0:
            return self
        chance = 2.0 ** (1 - self.families_that_matter)
        least = difference / float(stats.t.isf(chance / 2, self.df)) if chance < 1 else np.inf
        return replace(self, standard_error=max(self.standard_error, least))


@dataclass(frozen=True)
class FigureOfRuns:
    """One figure of several runs on the same test samples.

    ``values`` (M,) of the M runs; ``derivative``, ``without`` (F, M): I_f and J_f of each of the F families; ``alone``
    (F, M): the figure over one family only, 0 where undefined; ``group_of_family`` (F,); ``resampled`` (R, M) on the
    same R draws of families; ``treatments``: name -> columns.
    """

    values: np.ndarray
    derivative: np.ndarray
    without: np.ndarray
    alone: np.ndarray
    group_of_family: np.ndarray
    resampled: np.ndarray
    treatments: Mapping[str, Sequence[int]]

    @classmethod
    def of(
        cls,
        figures: Sequence[Figure],
        group_of_family: np.ndarray,
        weights_RF: np.ndarray,
        treatments: Mapping[str, Sequence[int]],
    ) -> FigureOfRuns | None:
        """Return the figure of each run (one function of family weights a run), ``None`` where it is undefined.

        ``group_of_family`` (F,): the space group of each family; ``weights_RF``: resamples of families.
        """
        n = len(group_of_family)
        values = np.array([figure(np.ones((1, n)))[0] for figure in figures])
        if np.isnan(values).any():
            return None
        derivative = (_each_family(figures, n, 1 + STEP, others=1) - values) / STEP
        without = values - _each_family(figures, n, 0, others=1)
        without = np.where(np.isnan(without), values, without)  # the only family that the figure is over
        alone = np.nan_to_num(_each_family(figures, n, 1, others=0))
        _, group, sizes = np.unique(group_of_family, return_inverse=True, return_counts=True)
        derivative = np.where((sizes[group] == 1)[:, np.newaxis], without, derivative)
        resampled = np.stack([figure(weights_RF) for figure in figures], axis=1)
        resampled = resampled[~np.isnan(resampled).any(axis=1)]
        return cls(values, derivative, without, alone, group_of_family, resampled, treatments)

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
            total += float(np.square(self.values[columns] - self.values[columns].mean()).sum())
            for own in columns:
                deviation = np.zeros(len(self.values))
                deviation[columns] = -1 / len(columns)
                deviation[own] += 1
                interaction += float(self._by_family(deviation).sum())
            df += len(columns) - 1
        return SeedVariance(total / df, max(0.0, interaction / df), df) if df else None

    def spread(self, contrast: np.ndarray) -> Spread:
        """Return how far ``values @ contrast`` may be off; infinitely far if there is one family."""
        by_family = self._by_family(contrast)
        matter = int(np.count_nonzero(np.abs(self.alone @ contrast) > 1e-12))
        fixed_seeds = max(0.0, float(by_family.sum())) if len(by_family) > 1 else np.inf
        df_families = self._df_families(by_family)
        seeds = self.seed_variance()
        if seeds is None or not np.isfinite(fixed_seeds):
            return Spread(fixed_seeds**0.5, df_families, fixed_seeds**0.5, None if seeds is None else 0.0, matter)
        squares = float(np.square(contrast).sum())
        from_seeds = (seeds.of_seeds * squares) ** 0.5
        if from_seeds == 0:
            return Spread(fixed_seeds**0.5, df_families, fixed_seeds**0.5, 0.0, matter)
        variance = fixed_seeds + from_seeds**2
        families_alone = max(0.0, fixed_seeds - seeds.interaction * squares)
        below = families_alone**2 / df_families + (seeds.total * squares) ** 2 / seeds.df
        df = min(variance**2 / below, df_families + seeds.df)
        return Spread(variance**0.5, df, fixed_seeds**0.5, from_seeds, matter)

    def nested_bootstrap(self, a: str, b: str, confidence: float, seed: int) -> tuple[Interval, float]:
        """Return the percentile interval and two-sided p-value of the difference, families and seeds drawn with
        replacement, the families the same for all runs.
        """
        rng = np.random.default_rng(seed)
        means = []
        for name in (a, b):
            values = self.resampled[:, list(self.treatments[name])]
            drawn = rng.integers(values.shape[1], size=values.shape)
            means.append(np.take_along_axis(values, drawn, axis=1).mean(axis=1))
        differences = means[0] - means[1]
        tail = (1 - confidence) / 2
        low, high = np.quantile(differences, [tail, 1 - tail])
        p = min(1.0, 2 * min(np.mean(differences <= 0), np.mean(differences >= 0)))
        return Interval(self.mean(a) - self.mean(b), float(low), float(high)), float(p)

    def _by_family(self, contrast: np.ndarray) -> np.ndarray:
        """Return what each family adds to the variance, (F,)."""
        return (self.derivative @ contrast) * (self.without @ contrast)

    def _df_families(self, by_family: np.ndarray) -> float:
        """Return 2 V^2 / Var(V), at most F - 1: a variance made up by a few groups is known less well.

        Var(V) from how much the groups' shares of V scatter around what their number of families would give.
        """
        most = max(1.0, len(by_family) - 1.0)
        _, group, sizes = np.unique(self.group_of_family, return_inverse=True, return_counts=True)
        excess = np.bincount(group, weights=by_family) - sizes * by_family.mean()
        scatter = float(np.square(excess).sum())
        return most if scatter == 0 else min(most, max(1.0, 2 * float(by_family.sum()) ** 2 / scatter))


def _each_family(figures: Sequence[Figure], n_families: int, own: float, others: float) -> np.ndarray:
    """Return each figure where one family after another has the weight ``own`` and all others ``others``, (F, M)."""
    found = np.empty((n_families, len(figures)))
    for start in range(0, n_families, _ROWS):
        families = np.arange(start, min(start + _ROWS, n_families))
        weights = np.full((len(families), n_families), float(others))
        weights[np.arange(len(families)), families] = own
        with np.errstate(invalid="ignore"):  # nan over no family is the answer
            for column, figure in enumerate(figures):
                found[families, column] = figure(weights)
    return found
