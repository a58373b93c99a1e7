"""``hydra/sweeper=optuna``: Optuna chooses the jobs of a sweep, one by what the others reached.

Hydra imports this file whenever it starts, so nothing else is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hydra's door to ``sgexp.search``: the command has planned and checked the search, which its task carries."""

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        self.params = params  # read by sgexp.composition, with the command line
        self.search: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the search."""
        self.search = getattr(task_function, "search", None)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials; their results are in their run folders."""
        if self.search is None:
            raise RuntimeError("hydra/sweeper=optuna runs with `python -m sgexp -m ...` only")
        return self.search()
