"""A task that joins sgexp from outside."""

from dataclasses import dataclass
from typing import ClassVar

from sgexp.schema import Component


@dataclass(kw_only=True)
class ShortTask(Component):
    """Waits for a time or for a file, and fails when told to."""

    target: ClassVar[str] = "sgexp_short_jobs.short.train"

    seconds: float = 0.05
    fails_with: int = 0
    waits_for: str | None = None


GROUPS = {"task": (ShortTask,)}
