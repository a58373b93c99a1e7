"""The knobs of ``hydra/sweeper=optuna``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sgexp.schema import bounded, one_of

OBJECTIVES = {"macro_f1": "maximize", "top1": "maximize", "top5": "maximize", "seconds": "minimize"}
"""What may be searched for, and which way: figures of the validation set, and seconds of training. No test figure."""


@dataclass(kw_only=True)
class SearchConfig:
    """How many trials, what makes one good, who proposes them, which are ended early, and where they are remembered."""

    trials: int = bounded(20, low=1, high=100_000)  # in all, over every start and machine
    objectives: list[str] = field(default_factory=lambda: ["macro_f1"])
    sampler: str = one_of("tpe", "tpe", "random", "grid", "cmaes", "nsgaii")
    seed: int = bounded(1, low=0, high=2**32 - 1)
    startup: int = bounded(10, low=2, high=10_000)  # trials at random before tpe and cmaes learn; nsgaii's population
    pruner: str = one_of("none", "none", "median", "hyperband")
    pruner_startup: int = bounded(5, low=0, high=10_000)  # finished trials before the median is believed
    pruner_epochs: int = bounded(2, low=1, high=100_000)  # epochs that every trial is given
    storage: str = "journal"  # journal, sqlite: a file in the sweep's folder; or a database's URL

    def contradiction(self, key: str) -> str | None:
        """Refuse what Optuna cannot do, and what is no objective."""
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            return f"{key}.objectives must name one figure or several different ones: {', '.join(OBJECTIVES)}"
        if unknown := [name for name in self.objectives if name not in OBJECTIVES]:
            return (
                f"{key}.objectives: '{unknown[0]}' is none of {', '.join(OBJECTIVES)} (figures of the validation set, "
                "and seconds of training; test figures are not searched for)"
            )
        if self.pruner != "none" and (len(self.objectives) > 1 or self.objectives == ["seconds"]):
            return f"{key}.pruner={self.pruner} needs one figure of validation to go by: set {key}.pruner=none"
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            return f"{key}.sampler=cmaes knows one objective only: choose tpe, nsgaii or random for several"
        if self.storage not in ("journal", "sqlite") and not re.match(r"[a-z0-9+]+://", self.storage):
            return f"{key}.storage must be journal, sqlite, or a database's URL such as postgresql://user@host/name"
        return None


GROUPS: dict[str, tuple[type, ...]] = {"search": (SearchConfig,)}
