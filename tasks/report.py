"""report: one page over all checked results."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.glance import nothing
from tasks.task import clean_view, task_of

if TYPE_CHECKING:
    from bpfbench.steps import Step


def task_report() -> Iterator[dict[str, Any]]:
    """Write the report."""
    context = current()
    names = [experiment.name for experiment in context.chosen]
    step = functools.partial(_step, context, names)
    after = [f"{stage}_{name}" for name in names for stage in ("check", "figure")]
    yield task_of("report", "write report.md and report.html", step, after, glimpse=nothing, clean=[clean_view(step)])


def _step(context: Context, experiments: Sequence[str]) -> Step:
    from bpfbench.deriving import report_step

    return report_step(context, experiments)
