"""How often a comparison finds what is not there, and what is: the whole procedure on simulated sweeps of known truth.

Four treatments, each with one, three or five seeds, on one long-tailed test set of 200 families of one to eight samples
in 60 groups; new families and new networks in every sweep. A sample is answered rightly if a sum of normal variables
is positive: how hard its family is (the same for all runs), how the treatment takes to the family, how good the seed's
network is, how that network takes to the family, and the sample's own. All treatments are equally good in truth; errors
are shared within families, and wrong answers fall on the frequent groups.

"before" is the plain nested bootstrap: families and seeds drawn with replacement, percentiles of the difference.
"after" is the verdict of ``compare_all``. Both: all six pairs of treatments, Holm's correction, at the 5 % level. With
one seed the verdict is on networks, never on treatments: the columns count what each would wrongly say of treatments.
Power: one treatment is truly better, compared with the three others.

    python benchmarks/false_positives.py                 # 500 sweeps a line: half an hour on one core
    python benchmarks/false_positives.py --quick         # a few sweeps, to see that it runs
    python benchmarks/false_positives.py --only power    # one of: null, unequal, power
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from common import Table, machine

FIGURES = ("top1", "macro_f1")
FAMILIES, GROUPS, LARGEST = 200, 60, 8
HARD, TAKES, NETWORK_TAKES, OWN = 0.8, 0.5, 0.6, 1.0  # standard deviations of the hidden sum
EASE = -1.0  # its mean: about a quarter is right
SEED_SPREADS = {"none": 0.0, "1 point": 0.05, "3 points": 0.16}  # of the networks of one treatment
LEVEL = 0.05
RESAMPLES = 300

Sweep = dict[str, list]


def main() -> None:
    """Print a line for each simulated design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="6 sweeps a line, three seeds")
    parser.add_argument("--sweeps", type=int, default=500, help="simulated sweeps a line")
    parser.add_argument("--only", choices=["null", "unequal", "power"], help="one part of the table")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sweeps, seeds = (6, (3,)) if arguments.quick else (arguments.sweeps, (1, 3, 5))
    print(f"machine: {machine('numpy', 'scipy')}")
    print(f"{sweeps} sweeps a line; share with at least one false positive (each pair's share of false positives)")
    if arguments.only in (None, "null"):
        null_table(sweeps, seeds)
    if arguments.only in (None, "unequal"):
        unequal_table(sweeps, seeds)
    if arguments.only in (None, "power"):
        power_table(sweeps, tuple(count for count in seeds if count > 1))


def null_table(sweeps: int, seeds: Sequence[int]) -> None:
    """No treatment is better: by the spread between seeds and their number."""
    columns = [(f"{figure} {side}", 22) for figure in FIGURES for side in ("before", "after")]
    table = Table(("seed spread", 12), ("of top-1", 9), ("seeds", 6), *columns, ("ratio", 6))
    for spread, deviation in SEED_SPREADS.items():
        for count in seeds:
            rates = measure(sweeps, count, [deviation] * 4)
            varies = f"{rates.seed_points:.1f} pt" if count > 1 else "-"
            table.row(spread, varies, str(count), *rates.cells(), rates.ratio())


def unequal_table(sweeps: int, seeds: Sequence[int]) -> None:
    """No treatment is better, but the networks of one differ three times as much from seed to seed."""
    columns = [(f"{figure} {side}", 22) for figure in FIGURES for side in ("before", "after")]
    table = Table(("unequal", 12), ("of top-1", 9), ("seeds", 6), *columns, ("ratio", 6))
    for count in (item for item in seeds if item > 1):
        rates = measure(sweeps, count, [0.16, 0.05, 0.05, 0.05])
        table.row("one larger", f"{rates.seed_points:.1f} pt", str(count), *rates.cells(), rates.ratio())


def power_table(sweeps: int, seeds: Sequence[int]) -> None:
    """One treatment is better by so much: how often each of its three comparisons shows it."""
    table = Table(("better by", 22), ("seeds", 6), ("top1 shown", 12), ("macro_f1 shown", 15), ("detectable top1", 16))
    for better in (0.1, 0.2, 0.3, 0.45):
        for count in seeds:
            rates = measure(max(1, sweeps // 4), count, [0.05] * 4, better)
            gains = ", ".join(f"{100 * rates.gain[figure]:.1f} pt" for figure in FIGURES)
            shown = [f"{100 * np.mean(np.array(rates.shown[figure]) < LEVEL):.0f} %" for figure in FIGURES]
            table.row(gains, str(count), *shown, f"{100 * np.mean(rates.detectable):.1f} pt")


class Rates:
    """What was found in many sweeps, by figure."""

    def __init__(self) -> None:
        self.before: Sweep = {figure: [] for figure in FIGURES}  # p-values of the six pairs, a row a sweep
        self.after: Sweep = {figure: [] for figure in FIGURES}
        self.shown: Sweep = {figure: [] for figure in FIGURES}  # p after Holm of the three pairs with the better one
        self.gain: dict[str, float] = dict.fromkeys(FIGURES, 0.0)
        self.detectable: list[float] = []
        self.seed_points = 0.0

    def rate(self, p_values: Sequence[Sequence[float]]) -> tuple[float, float]:
        """Return the share of sweeps with a false positive after Holm, and of pairs below the level before it."""
        p = np.array(p_values)
        return float(np.mean(p.min(axis=1) * p.shape[1] < LEVEL)), float(np.mean(p < LEVEL))

    def cells(self) -> list[str]:
        """Return a cell a figure and side."""
        rates = [self.rate(side[figure]) for figure in FIGURES for side in (self.before, self.after)]
        return [f"{100 * sweep:5.1f} % ({100 * pair:4.1f} %)" for sweep, pair in rates]

    def ratio(self) -> str:
        """Return false positives before over after, top-1."""
        before, after = self.rate(self.before["top1"])[0], self.rate(self.after["top1"])[0]
        return f"{before / after:.2f}" if after else "-"


def measure(sweeps: int, seeds: int, spreads: Sequence[float], better: float = 0.0) -> Rates:
    """Simulate sweeps and compare their treatments both ways; ``better`` lifts the first treatment."""
    from sgexp.evaluation.comparison import compare_all
    from sgexp.evaluation.schema import EvaluationConfig
    from sgexp.evaluation.significance import holm

    config = EvaluationConfig(resamples=RESAMPLES)
    rates = Rates()
    between: list[float] = []
    for treatments in simulated(sweeps, seeds, spreads, better):
        table = compare_all(treatments, figures=FIGURES, config=config)
        for figure in FIGURES:
            found = [item for item in table if item.figure == figure]
            rates.before[figure].append([item.bootstrap_p for item in found])
            rates.after[figure].append([item.p for item in found])
            ahead = [item for item in found if item.a == "t0"]
            rates.shown[figure].append(holm([item.p for item in found])[: len(ahead)])
            rates.gain[figure] += float(np.mean([item.difference.value for item in ahead])) / sweeps
            if figure == "top1":
                rates.detectable += [item.detectable for item in ahead]
        top1 = [[np.mean(run.predicted == run.label) for run in runs] for runs in treatments.values()]
        between.append(float(np.mean(np.var(top1, axis=1, ddof=1))) if seeds > 1 else np.nan)
    rates.seed_points = 100 * float(np.mean(between)) ** 0.5
    return rates


def simulated(sweeps: int, seeds: int, spreads: Sequence[float], better: float) -> Iterator[Mapping[str, list]]:
    """Yield treatments t0 ... t3, each a list of ``seeds`` Predictions."""
    from sgexp.evaluation.predictions import Predictions

    rng = np.random.default_rng([seeds, round(1000 * sum(spreads)), round(1000 * better)])
    frequency = 1 / np.arange(1, GROUPS + 1)
    group_of_family = np.sort(np.concatenate([np.arange(GROUPS), _apportioned(frequency, FAMILIES - GROUPS)]))
    for _ in range(sweeps):
        sizes = np.minimum(rng.geometric(0.4, FAMILIES), LARGEST)
        family = np.repeat(np.arange(FAMILIES), sizes)
        group, n = group_of_family[family], len(family)
        hard = rng.normal(0, HARD, FAMILIES)
        treatments = {}
        for index, spread in enumerate(spreads):
            takes = rng.normal(0, TAKES, FAMILIES)
            runs = []
            for _ in range(seeds):
                network = rng.normal(0, spread) if spread else 0.0
                network_takes = rng.normal(0, NETWORK_TAKES, FAMILIES)
                ease = EASE + (better if index == 0 else 0.0) + hard + takes + network + network_takes
                right = ease[family] + rng.normal(0, OWN, n) > 0
                wrong = rng.choice(GROUPS, FAMILIES, p=frequency / frequency.sum())[family]
                answer = np.where(right, group, np.where(wrong == group, (group + 1) % GROUPS, wrong))
                logits = np.zeros((n, GROUPS), np.float32)
                logits[np.arange(n), answer] = 5
                names = np.char.add("f", family.astype(str))
                rows = np.arange(n)
                energy = np.full(n, 100)
                run = Predictions(
                    row=rows,
                    key=rows,
                    material=names,
                    family=names,
                    energy_kev=energy,
                    label=group + 1,
                    logits=logits,
                    classes=np.arange(1, GROUPS + 1),
                )
                runs.append(run)
            treatments[f"t{index}"] = runs
        yield treatments


def _apportioned(frequency: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` groups in proportion to ``frequency``, without chance."""
    ends = np.rint(np.cumsum(frequency / frequency.sum()) * count).astype(int)
    return np.repeat(np.arange(len(frequency)), np.diff(ends, prepend=0))


if __name__ == "__main__":
    main()
