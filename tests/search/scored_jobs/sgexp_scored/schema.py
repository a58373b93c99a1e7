"""A task that joins sgexp from outside."""

from dataclasses import dataclass
from typing import ClassVar

from sgexp.schema import Component


@dataclass(kw_only=True)
class ScoredTask(Component):
    """Scores its config by a formula, an epoch at a time."""

    target: ClassVar[str] = "sgexp_scored.scored.train"

    seconds: float = 0.0
    fails_above: float = 1e9


GROUPS = {"task": (ScoredTask,)}
