"""figure_<experiment>: draws a checked result."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.glance import nothing
from tasks.task import clean_view, task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.steps import Step


@unless_empty
def task_figures() -> Iterator[dict[str, Any]]:
    """Draw each result."""
    context = current()
    for experiment in context.chosen:
        step = functools.partial(_step, context, experiment.name)
        after = [f"check_{experiment.name}"]
        yield task_of(f"figure_{experiment.name}", f"draw {experiment.name}", step, after, glimpse=nothing, clean=[clean_view(step)])


def _step(context: Context, experiment: str) -> Step:
    from bpfbench.deriving import figure_step

    return figure_step(context, experiment)
