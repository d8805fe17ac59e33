"""report: one page over all checked results."""

from collections.abc import Iterator
from typing import Any

from bpfbench.context import current
from bpfbench.deriving import report_step
from tasks.task import task_of


def task_report() -> Iterator[dict[str, Any]]:
    """Write the report."""
    context = current()
    experiments = context.chosen()
    step = report_step(context, experiments)
    after = [f"{stage}_{experiment.name}" for experiment in experiments for stage in ("check", "figure")]
    yield task_of(step, "write report.md and report.html", after, clean=[step.forget_view])
