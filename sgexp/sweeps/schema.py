"""How the jobs of a sweep (``-m``) are run."""

from __future__ import annotations

from dataclasses import dataclass

from sgexp.schema import bounded


@dataclass(kw_only=True)
class LauncherConfig:
    """How many jobs run at a time, and which are run again when the same sweep is started again."""

    jobs: int = bounded(1, low=1, high=1024)  # at a time, by hydra/launcher=process
    retry_failed: bool = False  # run again what failed before
    fresh: bool = False  # run everything again, also what is finished
    dry_run: bool = False  # only list the jobs and what became of them


GROUPS: dict[str, tuple[type, ...]] = {"launcher": (LauncherConfig,)}
