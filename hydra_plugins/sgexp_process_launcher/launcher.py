"""``hydra/launcher=process``: every job of a sweep is ``python -m sgexp ...`` in a process of its own.

Hydra imports this file whenever it starts, so nothing else is imported until jobs are launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Runs the jobs of sgexp's command, ``jobs`` at a time."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.sweep: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the sweep that the command has planned and checked."""
        self.sweep = getattr(task_function, "sweep", None)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return how each ended; their results are in their run folders."""
        from sgexp.errors import ConfigError, UserError
        from sgexp.sweeps.processes import Queue, run_side_by_side

        if self.sweep is None:
            raise ConfigError("hydra/launcher=process knows only jobs listed beforehand: choose hydra/sweeper=basic")
        jobs = [self.sweep.job_of(overrides) for overrides in job_overrides]
        run_side_by_side(Queue(jobs), self.sweep, self.jobs)
        returns = []
        for job, overrides in zip(jobs, job_overrides, strict=True):
            ended = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            if job.state != "finished":
                ended.status, ended._return_value = JobStatus.FAILED, UserError(job.reason or job.state)
            returns.append(ended)
        return returns
