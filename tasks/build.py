"""build_<package>: a package's output tree in the store."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfbench.build.invoke import supervised
from bpfbench.context import Context, current
from bpfbench.measure.request import Output
from bpfbench.model.types import Package
from bpfbench.process.reaper import Reaper
from bpfbench.progress import Progress
from bpfbench.steps import Step
from bpfbench.store.keys import Key, make_key
from tasks.task import task_of


def build_step(context: Context, package: Package) -> Step:
    """Return the step that builds a package by its recipe."""
    recipe = importlib.import_module(f"bpfbench.build.{package.recipe}")
    root, cache = context.layout.root, context.layout.state / "toolchain"

    def key() -> Key:
        return make_key(package.name, recipe.key_components(package, root, cache=cache))

    def make(tree: Path, progress: Progress) -> dict[str, Any]:
        progress("building")
        logs = context.layout.state / "logs" / f"build_{package.name}"
        with Reaper(context.mark) as reaper:
            return dict(recipe.make(package, root, tree, cache=cache, run=supervised(reaper, logs)))

    return Step(f"build_{package.name}", context.layout, key, make, shares_machine=True)


def output_of(context: Context, name: str) -> Output | None:
    """Return what a package was built into, None while it is not built."""
    item = build_step(context, context.model.packages[name]).item()
    return Output(item.id, item.tree, item.hash) if item else None


def task_builds() -> Iterator[dict[str, Any]]:
    """Build each package."""
    context = current()
    for package in context.model.packages.values():
        after = [f"build_{name}" for name in package.depends] + [f"system:{package.name}"] * bool(package.needs)
        yield task_of(build_step(context, package), f"build: {package.title}", after)
