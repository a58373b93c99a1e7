"""What paired comparisons with the best experiment of a test set say: the mark beside each row of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sgexp.errors import UserError
from sgexp.evaluation.comparison import Comparison
from sgexp.evaluation.run_folders import compare_runs
from sgexp.evaluation.schema import EvaluationConfig
from sgexp.report.leaderboard import Row, TestSet
from sgexp.runs import RunResult

FIGURE, PART = "macro_f1", "test_family"


@dataclass(frozen=True)
class Verdict:
    """What is said of one experiment: ``kind`` is best, same, worse, better or unknown."""

    kind: str
    text: str


UNKNOWN = Verdict("unknown", "not compared")


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a test set: by experiment, a sentence about all, and a row of numbers for each comparison."""

    by_experiment: dict[str, Verdict] = field(default_factory=dict)
    note: str = ""
    rows: tuple[tuple[str, ...], ...] = ()

    def of(self, row: Row) -> Verdict:
        """Return what is said of a row's experiment."""
        return self.by_experiment.get(row.runs[0].experiment, UNKNOWN)


COLUMNS = ("experiment", "seeds", "difference from the best", "p, Holm", "detectable", "verdict")


def verdicts(item: TestSet, most: int, config: EvaluationConfig) -> Verdicts:
    """Compare the ``most`` best experiments of a test set with the best of them, in macro-F1 on test_family.

    The best is chosen on validation, so it is not favoured by the test figures that it is then compared on.
    """
    chosen = [row for row in item.experiments if all(run.status == "finished" and run.trained for run in row.runs)][
        :most
    ]
    if len(chosen) < 2:
        return Verdicts()
    names = _names(chosen)
    try:
        treatments = {
            name: [RunResult.read(run.folder) for run in row.runs] for name, row in zip(names, chosen, strict=True)
        }
        found = compare_runs(treatments, names[0], (FIGURE,), PART, config)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        return Verdicts(note=f"Experiments were not compared in pairs: {error}")
    if not found:
        return Verdicts()
    said = {chosen[0].runs[0].experiment: Verdict("best", "the best on validation")}
    for row, comparison in zip(chosen[1:], found, strict=True):
        said[row.runs[0].experiment] = _verdict(comparison)
    return Verdicts(
        said, _note(names[0], found, len(item.experiments)), tuple(_row(comparison) for comparison in found)
    )


def _names(rows: Sequence[Row]) -> list[str]:
    """Return a name for each experiment that no other has."""
    names: list[str] = []
    for row in rows:
        name, number = row.runs[0].name, 2
        while name in names:
            name, number = f"{row.runs[0].name} ({number})", number + 1
        names.append(name)
    return names


def _verdict(item: Comparison) -> Verdict:
    difference = f"{item.difference.value:+.3f} [{item.difference.low:+.2f}, {item.difference.high:+.2f}]"
    if item.shown:
        kind = "better" if item.better == item.a else "worse"
        return Verdict(kind, f"{kind}: {difference}")
    return Verdict("same", f"no difference shown: {difference}")


def _note(best: str, found: Sequence[Comparison], experiments: int) -> str:
    first = found[0]
    told = (
        f"Against the best: macro-F1 on test_family less that of {best}, which is best on validation, paired on the "
        f"same families, with {100 * first.confidence:g} % intervals and Holm's correction over {first.comparisons}."
    )
    if not first.covers_seeds:
        told += " With one seed each no difference between experiments can be shown: run more seeds."
    if experiments > len(found) + 1:
        told += f" The best {len(found) + 1} of {experiments} experiments were compared (report.compare)."
    return told


def _row(item: Comparison) -> tuple[str, ...]:
    difference = item.difference
    return (
        item.a,
        str(item.seeds_a),
        f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]",
        "< 0.001" if item.p_holm < 0.001 else f"{item.p_holm:.3f}",
        "-" if item.detectable is None else f"{item.detectable:.3f}",
        item.verdict,
    )
