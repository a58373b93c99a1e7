"""All charts of a run's page, in their order."""

from __future__ import annotations

from collections.abc import Callable

from sgexp.report.answer_charts import error_kinship, recall_by_families, reliability, risk_coverage
from sgexp.report.chart import Chart
from sgexp.report.details import Details
from sgexp.report.training_charts import class_counts, losses, scores

MAKERS: tuple[Callable[[Details], Chart | None], ...] = (
    *(losses, scores, recall_by_families, error_kinship, reliability, risk_coverage, class_counts),
)


def charts(details: Details) -> list[Chart]:
    """Return the charts that the run's files allow."""
    return [chart for chart in (maker(details) for maker in MAKERS) if chart is not None]
