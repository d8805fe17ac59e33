"""report: one page over all checked results."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.model.types import Experiment
from tasks.task import clean_view, task_of

if TYPE_CHECKING:
    from bpfbench.steps import Step


def task_report() -> Iterator[dict[str, Any]]:
    """Write the report."""
    context = current()
    experiments = context.chosen()
    step = functools.partial(_step, context, experiments)
    after = [f"{stage}_{experiment.name}" for experiment in experiments for stage in ("check", "figure")]
    yield task_of("report", "write report.md and report.html", step, after, clean=[clean_view(step)])


def _step(context: Context, experiments: Sequence[Experiment]) -> Step:
    from bpfbench.deriving import report_step

    return report_step(context, experiments)
