"""What a page or figure was made from, in few letters, so that only those out of date are made again."""

from __future__ import annotations

import hashlib

from sgexp.evaluation.schema import EvaluationConfig
from sgexp.report.collect import Run
from sgexp.report.details import INPUTS
from sgexp.report.rendering import templates_digest


def inputs_digest(run: Run, evaluation: EvaluationConfig) -> str:
    """Return a hash of what a run's page is made from: its files as the disk tells of them, settings, templates."""
    told = [templates_digest(), repr(evaluation), run.status]
    for name in INPUTS:
        try:
            status = (run.folder / name).stat()
            told.append(f"{name} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            told.append(f"{name} -")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
