"""check_<experiment>: holds a result against its schema and its meaning."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.glance import nothing
from tasks.task import task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.steps import Step


@unless_empty
def task_checks() -> Iterator[dict[str, Any]]:
    """Check each result."""
    context = current()
    for experiment in context.chosen:
        step = functools.partial(_step, context, experiment.name)
        doc = f"check the result of {experiment.name}"
        yield task_of(f"check_{experiment.name}", doc, step, [f"run_{experiment.name}"], glimpse=nothing)


def _step(context: Context, experiment: str) -> Step:
    from bpfbench.deriving import check_step

    return check_step(context, experiment)
