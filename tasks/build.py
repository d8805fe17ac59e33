"""build_<package>: a package's output tree in the store."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.model.types import Package
from tasks.task import task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.steps import Step


@unless_empty
def task_builds() -> Iterator[dict[str, Any]]:
    """Build each package."""
    context = current()
    for package in context.model.packages.values():
        after = [f"fetch_{name}" for name in package.sources] + [f"build_{name}" for name in package.depends]
        after += [f"system:{package.name}"] * bool(package.needs)
        step = functools.partial(_step, context, package)
        # Without a target that would have to be there: what is made elsewhere, and not given, is nothing to do.
        elsewhere = package.recipe == "prebuilt" and f"{package.name}-build" not in context.words.overrides
        none: dict[str, Any] = {"targets": []} if elsewhere else {}
        yield task_of(f"build_{package.name}", f"build: {package.title}", step, after, **none)


def _step(context: Context, package: Package) -> Step:
    from bpfbench.building import build_step

    return build_step(context, package)
