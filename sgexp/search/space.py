"""What is searched, in Hydra's own sweep syntax, as Optuna's distributions; and a trial's values as overrides again.

``choice(a,b)``, ``a,b`` and ``glob(*)`` are categories, ``interval(a,b)`` is a real number (``int(interval(a,b))`` a
whole one), ``range(a,b,step)`` a number on a grid, without its end as in Hydra; ``tag(log, ...)`` is on a log scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from sgexp.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

APART = frozenset({"dataset", "size", "simulation", "split", "evaluation"})
"""Groups that decide what validation is: trials that differ in them cannot be compared."""


@dataclass(frozen=True)
class Space:
    """What is searched: name of a parameter (its key) -> how it is written, its distribution, its override's start."""

    texts: dict[str, str]
    distributions: dict[str, BaseDistribution]
    starts: dict[str, str]  # "key=" or "+key="

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return a trial's values as they are typed."""
        return [f"{self.starts[name]}{text_of(params[name])}" for name in self.texts]

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield values that try each parameter's choices, or both its ends, once: to be checked beforehand."""
        ends = {name: ends_of(distribution) for name, distribution in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        yield first
        for name, values in ends.items():
            for value in values[1:]:
                yield first | {name: value}

    def grid(self) -> dict[str, list[Any]]:
        """Return every value of each parameter, or refuse one that is continuous."""
        return {name: list(_listed(name, distribution)) for name, distribution in self.distributions.items()}


def read_space(swept: Sequence[Override]) -> Space:
    """Return the space of the sweep overrides of a command, or refuse what cannot be searched."""
    texts: dict[str, str] = {}
    distributions: dict[str, BaseDistribution] = {}
    starts: dict[str, str] = {}
    for override in swept:
        line, name = str(override.input_line), override.get_key_element().lstrip("+")
        start, _, text = line.partition("=")
        _refuse_incomparable(name, line)
        if name in texts:
            raise ConfigError(f"'{line}': {name} is searched twice; leave one out")
        try:
            distributions[name] = _distribution(override)
        except ValueError as error:
            raise ConfigError(f"'{line}' cannot be searched: {error}") from error
        texts[name], starts[name] = text, f"{start}="
    if not texts:
        raise ConfigError(
            "hydra/sweeper=optuna has nothing to search: give key=interval(a,b), key=range(a,b), key=choice(a,b) ... "
            "or leave hydra/sweeper=optuna out"
        )
    return Space(texts, distributions, starts)


def text_of(value: Any) -> str:
    """Return a value as it is typed; a category is kept as the text that Hydra made of it."""
    return value if isinstance(value, str) else repr(value)


def ends_of(distribution: BaseDistribution) -> list[Any]:
    """Return all categories, or the two ends of a number."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return list(dict.fromkeys([distribution.low, distribution.high]))


def _refuse_incomparable(name: str, line: str) -> None:
    group = name.partition(".")[0].partition("/")[0].partition("@")[0]
    if name == "seed" or name.endswith(".seed"):
        raise ConfigError(f"'{line}': a seed is not searched, since the best one is luck; give seed=N")
    if group in APART:
        raise ConfigError(
            f"'{line}' would judge trials on different data, so the best could not be told: leave {group} as it is"
        )
    if group in ("task", "launcher", "search", "report", "output_dir", "data_dir", "resume", "run", "input", "name"):
        raise ConfigError(f"'{line}': {name} is the same for all trials of a search")


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override._value
    log = _is_log(getattr(value, "tags", set()))
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(float(value.start), float(value.end), log=log)
    if isinstance(value, RangeSweep):
        steps = list(value.range())
        if not steps:
            raise ValueError("the range is empty")
        low, high = min(steps), max(steps)
        if all(isinstance(item, int) for item in steps):
            return IntDistribution(low, high, log=log, step=1 if log else abs(int(value.step)))
        if log:
            raise ValueError("a range of real numbers has no log scale; use tag(log, interval(a,b))")
        return FloatDistribution(float(low), float(high), step=abs(float(value.step)))
    if log:
        raise ValueError("choices have no log scale; use tag(log, interval(a,b))")
    choices = list(dict.fromkeys(override.sweep_string_iterator()))
    if not choices:
        raise ValueError("the pattern matches no choice")
    return CategoricalDistribution(choices)


def _is_log(tags: set[str]) -> bool:
    if unknown := sorted(tags - {"log"}):
        raise ValueError(f"tag '{unknown[0]}' means nothing here (log is known)")
    return "log" in tags


def _listed(name: str, distribution: BaseDistribution) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is None or distribution.log:
        if isinstance(distribution, IntDistribution):
            return list(range(distribution.low, distribution.high + 1))
        raise ConfigError(f"search.sampler=grid cannot list {name}: give choice(...) or range(a,b,step)")
    count = round((distribution.high - distribution.low) / distribution.step)
    values = [distribution.low + index * distribution.step for index in range(count + 1)]
    return [min(value, distribution.high) for value in values]
