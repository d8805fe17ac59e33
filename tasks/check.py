"""check_<experiment>: holds a result against its schema and its meaning."""

from collections.abc import Iterator
from typing import Any

from bpfbench.context import current
from bpfbench.deriving import check_step
from tasks.task import task_of


def task_checks() -> Iterator[dict[str, Any]]:
    """Check each result."""
    context = current()
    for experiment in context.chosen():
        yield task_of(check_step(context, experiment), f"check the result of {experiment.name}", [f"run_{experiment.name}"])
