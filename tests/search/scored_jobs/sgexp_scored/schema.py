"""A task and a network that join sgexp from outside."""

from dataclasses import dataclass
from typing import ClassVar

from sgexp.schema import Component


@dataclass(kw_only=True)
class ScoredTask(Component):
    """Scores its config by a formula, an epoch at a time."""

    target: ClassVar[str] = "sgexp_scored.scored.train"

    seconds: float = 0.0
    fails_above: float = 1e9
    waits_for: str | None = None
    waits_from: int = 1


@dataclass(kw_only=True)
class TellingNet(Component):
    """Tells which process built it, and with what."""

    target: ClassVar[str] = "sgexp_scored.telling.net"

    width: int = 8


GROUPS = {"task": (ScoredTask,), "model": (TellingNet,)}
