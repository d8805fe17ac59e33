"""compare_<package>: two builds of a package, measured side by side."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.model.types import Package
from tasks.task import task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.comparing import CompareStep


@unless_empty
def task_compares() -> Iterator[dict[str, Any]]:
    """Compare two builds of a package, given as a=/build b=/build."""
    context = current()
    for package in context.model.packages.values():
        if "compare" in package.options:
            experiment = context.model.experiments.get(package.options["compare"]["experiment"])
            after = [f"build_{name}" for name in experiment.packages] if experiment else []
            step = functools.partial(_step, context, package)
            yield task_of(f"compare_{package.name}", f"compare two builds (a=/build b=/build): {package.title}", step, after)


def _step(context: Context, package: Package) -> CompareStep:
    from bpfbench.comparing import compare_step

    return compare_step(context, package)
