"""figure_<experiment>: draws a checked result."""

from collections.abc import Iterator
from typing import Any

from bpfbench.context import current
from bpfbench.deriving import figure_step
from tasks.task import task_of


def task_figures() -> Iterator[dict[str, Any]]:
    """Draw each result."""
    context = current()
    for experiment in context.chosen():
        step = figure_step(context, experiment)
        yield task_of(step, f"draw {experiment.name}", [f"check_{experiment.name}"], clean=[step.forget_view])
