"""Is one treatment better than another? Paired on the same test families, over seeds, corrected for many questions.

A *treatment* is what a person compares (a sampler, a model), trained with one or more seeds, each seed's answers being
a ``Predictions`` on the same test samples. The difference of the mean figures comes with an interval, a p-value, effect
sizes, and the smallest difference that would have been found. ``sgexp.evaluation.uncertainty`` says how the error is
made up of families and seeds; docs/comparison.md holds the measured rate of false positives.

What is said depends on the seeds: with two or more (of any treatment at hand), the verdict is on treatments, trained
anew and tested on other families. With one seed each it is on these networks only, since nothing tells how much another
seed would change them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from sgexp.errors import ConfigError, did_you_mean
from sgexp.evaluation.bootstrap import Interval, resampled_weights
from sgexp.evaluation.metrics import Figure, figures, resampling_units, shot_masks
from sgexp.evaluation.predictions import Predictions
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.evaluation.significance import McNemar, detectable, holm, mcnemar, standardised_effect
from sgexp.evaluation.test_sets import aligned
from sgexp.evaluation.uncertainty import FigureOfRuns, Spread

LOWER_IS_BETTER = frozenset({"ece"})
NOT_COMPARED = {"worst10_recall": "which classes are worst is chosen on the same samples, so it has no honest interval"}
POWER = 0.8
FEW_FAMILIES = 20  # below so many, intervals over families are rough


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A against B in one figure; ``difference`` is A's mean over seeds less B's, in the unit of the figure.

    Attributes
    ----------
    value_a, value_b, seeds_a, seeds_b
        Mean figure over the seeds, and how many seeds.
    difference
        With its interval (``confidence``), of this comparison alone: it is not widened for many comparisons.
    bootstrap, bootstrap_p
        The same by the plain nested bootstrap of families and seeds, for those who look for it; no verdict rests on it
        (see ``sgexp.evaluation.uncertainty``).
    ratio
        A's mean over B's, with its interval (delta method, symmetric in the difference); ``None`` where B's is 0.
    seeds_effect
        Hedges' g: the difference in standard deviations between seeds, on this test set; ``None`` without two seeds.
    p, p_holm, comparisons
        Two-sided p-value, the same after Holm's correction over so many comparisons.
    df, from_families, from_seeds
        Degrees of freedom of the t-distribution; standard errors of the difference by source, in its unit.
        ``from_seeds`` is ``None`` if no treatment at hand has two seeds.
    detectable
        The smallest true difference found with 80 % probability, at the strictest step of Holm's correction; ``None``
        where not even the largest possible one (1) would be.
    samples, families, classes
        What the figure is over: test samples, units that were resampled, space groups present.
    mcnemar
        For top1 of two single networks: the samples only one gets right.
    stamps, notes
        What every reader must see (different test sets), and what a reader should know.
    """

    figure: str
    a: str
    b: str
    value_a: float
    value_b: float
    seeds_a: int
    seeds_b: int
    difference: Interval
    bootstrap: Interval
    bootstrap_p: float
    ratio: Interval | None
    seeds_effect: Interval | None
    p: float
    p_holm: float
    comparisons: int
    df: float
    from_families: float
    from_seeds: float | None
    detectable: float | None
    samples: int
    families: int
    classes: int
    confidence: float
    mcnemar: McNemar | None = None
    stamps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def covers_seeds(self) -> bool:
        """Whether the interval covers training with other seeds, and not only other test families."""
        return self.from_seeds is not None

    @property
    def networks_differ(self) -> bool:
        """Whether the difference is significant, of treatments or, from one seed each, of these networks."""
        return self.p_holm < 1 - self.confidence

    @property
    def shown(self) -> bool:
        """Whether a difference between the treatments is shown; never from one seed each."""
        return self.covers_seeds and self.networks_differ

    @property
    def better(self) -> str:
        """The name of the treatment that came out better, shown or not."""
        return self.b if (self.difference.value < 0) != (self.figure in LOWER_IS_BETTER) else self.a

    @property
    def verdict(self) -> str:
        """One sentence for a reader in a hurry."""
        over = f" after Holm's correction over {self.comparisons}" if self.comparisons > 1 else ""
        ends = f"[{self.difference.low:+.3f}, {self.difference.high:+.3f}]"
        found = f"{self.difference.value:+.3f} {ends}, p {_p_text(self.p_holm)}{over}"
        worse = self.a if self.better == self.b else self.b
        if self.shown:
            return f"{self.better} is better than {worse} in {self.figure}: {self.a} - {self.b} = {found}"
        one_seed = "whether the treatments differ cannot be told from one seed each"
        if self.networks_differ:
            which = f"this network of {self.better} is better than this one of {worse} in {self.figure}"
            return f"{which}: {self.a} - {self.b} = {found}; {one_seed}"
        power = "not even the largest possible difference would be found"
        if self.detectable is not None:
            power = f"a true difference of {self.detectable:.3f} would be found with {POWER:.0%} probability"
        which = f"no difference shown between {self.a} and {self.b} in {self.figure}"
        return f"{which}: {found}; {power if self.covers_seeds else one_seed}"

    def stamped(self, stamps: Sequence[str]) -> Comparison:
        """Return the comparison with more that every reader must see."""
        return dataclasses.replace(self, stamps=tuple(dict.fromkeys((*stamps, *self.stamps))))

    def as_dict(self) -> dict[str, Any]:
        """Return every field as plain values, and what follows from them: covers_seeds, shown, verdict."""
        follows = {"covers_seeds": self.covers_seeds, "shown": self.shown, "verdict": self.verdict}
        return dataclasses.asdict(self) | follows


def compare(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    figure: str = "macro_f1",
    names: tuple[str, str] = ("A", "B"),
    config: EvaluationConfig | None = None,
    train_families_per_group: Mapping[int, int] | None = None,
    allow_different: bool = False,
) -> Comparison:
    """Compare two treatments, each one or more seeds' answers to the same test samples; see ``compare_all``."""
    if names[0] == names[1]:
        raise ValueError(f"both treatments are called {names[0]}")
    treatments = {names[0]: a, names[1]: b}
    (found,) = compare_all(treatments, names[1], (figure,), config, train_families_per_group, allow_different)
    return found


def compare_all(
    treatments: Mapping[str, Sequence[Predictions]],
    reference: str | None = None,
    figures: Sequence[str] = ("macro_f1",),
    config: EvaluationConfig | None = None,
    train_families_per_group: Mapping[int, int] | None = None,
    allow_different: bool = False,
) -> list[Comparison]:
    """Compare every treatment with ``reference`` (or all pairs), in each figure; Holm's correction over all of it.

    ``figures`` are names that ``evaluate`` reports (top1, top5, balanced_accuracy, macro_f1, point_group ...); the
    three shot figures need ``train_families_per_group``. Other test samples or output classes raise DataError unless
    ``allow_different``. A figure over no class is left out. ``config`` gives confidence, resamples and their seed.
    """
    config = config or EvaluationConfig()
    for name in figures:
        _refuse_unknown(name, train_families_per_group)
    if reference is not None and reference not in treatments:
        raise ConfigError(f"there is no treatment '{reference}'{did_you_mean(reference, treatments)}")
    if len(treatments) < 2 or not all(treatments.values()):
        raise ConfigError(f"a comparison needs two treatments with a run each, not {len(treatments)}")
    names = [f"{name}, run {index + 1}" for name, runs in treatments.items() for index in range(len(runs))]
    runs, stamps = aligned([run for own in treatments.values() for run in own], names, allow_different)
    table = _Table(treatments, runs, stamps, config, train_families_per_group)
    pairs = list(combinations(treatments, 2))
    if reference is not None:
        pairs = [(name, reference) for name in treatments if name != reference]
    return table.compared(pairs, figures)


class _Table:
    """The runs of all treatments on one test set, and what is the same for all comparisons of a table."""

    def __init__(
        self,
        treatments: Mapping[str, Sequence[Predictions]],
        runs: Sequence[Predictions],
        stamps: tuple[str, ...],
        config: EvaluationConfig,
        train_families_per_group: Mapping[int, int] | None,
    ) -> None:
        self.runs, self.stamps, self.config = runs, stamps, config
        ends = np.cumsum([len(own) for own in treatments.values()]).tolist()
        starts = [0, *ends[:-1]]
        self.columns = {
            name: range(*span) for name, span in zip(treatments, zip(starts, ends, strict=True), strict=True)
        }
        self.classes = np.unique(runs[0].label)
        self.units, notes = resampling_units(runs[0])
        self.n_families = int(self.units.max()) + 1
        self.group_of_family = runs[0].label[np.unique(self.units, return_index=True)[1]]
        self.weights = resampled_weights(self.n_families, config.resamples, config.seed)
        self.shots = shot_masks(self.classes, train_families_per_group or {}, config)
        self.notes = (*notes, *self._about_seeds())

    def _about_seeds(self) -> list[str]:
        """Say what few families or seeds mean for the intervals."""
        seeds = {name: len(columns) for name, columns in self.columns.items()}
        single = [name for name, count in seeds.items() if count == 1]
        notes = []
        if 1 < self.n_families < FEW_FAMILIES:
            notes.append(f"only {self.n_families} families: the intervals are rough")
        if len(single) == len(seeds):
            notes.append(
                "one seed a treatment: the intervals cover other test families, not training again; run more seeds"
            )
        elif single:
            notes.append(f"{', '.join(single)}: one seed; the spread between the others' seeds stands in for its own")
        elif sum(seeds.values()) - len(seeds) < 4:
            notes.append("few seeds: their spread is known from few numbers, so only large differences can be shown")
        return notes

    def compared(self, pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> list[Comparison]:
        """Return a comparison for each figure and pair, corrected over all."""
        per_run = [figures(run, self.units, self.shots, self.config.calibration_bins) for run in self.runs]
        known = {name: self._figure([functions[name] for functions in per_run]) for name in names}
        asked = [(name, pair, table) for name, table in known.items() if table is not None for pair in pairs]
        alpha = (1 - self.config.confidence) / max(1, len(asked))
        found = [self._pair(name, a, b, table, alpha) for name, (a, b), table in asked]
        corrected = zip(found, holm([item.p for item in found]), strict=True)
        return [dataclasses.replace(item, p_holm=p, comparisons=len(found)) for item, p in corrected]

    def _figure(self, functions: Sequence[Figure]) -> FigureOfRuns | None:
        return FigureOfRuns.of(functions, self.group_of_family, self.weights, self.columns)

    def _pair(self, name: str, a: str, b: str, table: FigureOfRuns, alpha: float) -> Comparison:
        value_a, value_b = table.mean(a), table.mean(b)
        spread = table.spread(table.contrast(a, b)).at_least(abs(value_a - value_b))
        difference, p = self._tested(value_a - value_b, spread)
        bootstrap, bootstrap_p = table.nested_bootstrap(a, b, self.config.confidence, self.config.seed)
        ratio = None
        if value_a > 0 and value_b > 0:
            relative = table.spread(table.contrast(a, b, value_b**-1, value_a * value_b**-2))
            relative = relative.at_least(abs(value_a / value_b - 1))
            if np.isfinite(relative.standard_error):
                ratio, _ = self._tested(value_a / value_b, relative, (0.0, np.inf))
        runs_a, runs_b = (table.values[list(self.columns[item])] for item in (a, b))
        least = detectable(spread.standard_error, spread.df, alpha, POWER)
        single = name == "top1" and len(runs_a) == len(runs_b) == 1
        return Comparison(
            figure=name,
            a=a,
            b=b,
            value_a=value_a,
            value_b=value_b,
            seeds_a=len(runs_a),
            seeds_b=len(runs_b),
            difference=difference,
            bootstrap=bootstrap,
            bootstrap_p=bootstrap_p,
            ratio=ratio,
            seeds_effect=standardised_effect(runs_a, runs_b, self.config.confidence),
            p=p,
            p_holm=p,
            comparisons=1,
            df=spread.df,
            from_families=spread.from_families,
            from_seeds=spread.from_seeds,
            detectable=least if least <= 1 else None,
            samples=len(self.runs[0]),
            families=self.n_families,
            classes=len(self.classes),
            confidence=self.config.confidence,
            mcnemar=self._mcnemar(a, b) if single else None,
            stamps=self.stamps,
            notes=self.notes,
        )

    def _tested(self, value: float, spread: Spread, ends: tuple[float, float] = (-1.0, 1.0)) -> tuple[Interval, float]:
        """Return the t-interval around ``value`` and the two-sided p-value of its being 0."""
        if spread.standard_error == 0:  # then the difference is 0 too (see Spread.at_least)
            return Interval(value, value, value), 1.0
        reach = float(stats.t.isf((1 - self.config.confidence) / 2, spread.df)) * spread.standard_error
        p = float(2 * stats.t.sf(abs(value) / spread.standard_error, spread.df))
        return Interval(value, max(ends[0], value - reach), min(ends[1], value + reach)), p

    def _mcnemar(self, a: str, b: str) -> McNemar:
        right_a, right_b = (self.runs[self.columns[name][0]] for name in (a, b))
        return mcnemar(right_a.predicted == right_a.label, right_b.predicted == right_b.label, self.units)


def _refuse_unknown(figure: str, train_families_per_group: Mapping[int, int] | None) -> None:
    shots = ("many_shot", "medium_shot", "few_shot")
    known = ["top1", "top5", "balanced_accuracy", "macro_f1", "crystal_system", "laue_class", "point_group"]
    known += ["merged_219", *shots, "ece"]
    if figure in NOT_COMPARED:
        raise ConfigError(f"{figure} cannot be compared: {NOT_COMPARED[figure]}")
    if figure not in known:
        raise ConfigError(f"there is no figure '{figure}'{did_you_mean(figure, known)}; known are {', '.join(known)}")
    if figure in shots and train_families_per_group is None:
        raise ConfigError(f"{figure} needs to know on how many families each group was trained")


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
