"""The step behind ``build_<package>``: a package's output tree in the store."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.steps import Step
from bpfbench.store.keys import Key, make_key

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.measure.request import Output
    from bpfbench.model.types import Package
    from bpfbench.progress import Progress


def build_step(context: Context, package: Package) -> Step:
    """Return the step that builds a package by its recipe.

    Its key raises ``BenchError`` when a compiler or an input is missing.
    """
    recipe = importlib.import_module(f"bpfbench.build.{package.recipe}")
    root, cache = context.layout.root, context.layout.state / "toolchain"

    def key() -> Key:
        known = context.package_keys.get(package.name)
        if known is None:
            known = make_key(package.name, recipe.key_components(package, root, cache=cache))
            context.package_keys[package.name] = known
        return known

    def make(tree: Path, progress: Progress) -> dict[str, Any]:
        from bpfbench.build.invoke import supervised
        from bpfbench.process.reaper import Reaper

        progress("building")
        logs = context.layout.state / "logs" / f"build_{package.name}"
        with Reaper(context.mark) as reaper:
            meta = dict(recipe.make(package, root, tree, cache=cache, run=supervised(reaper, logs)))
        # Waiting and building take their time: what was edited meanwhile must not get the old key.
        if make_key(package.name, recipe.key_components(package, root, cache=cache)) != key():
            message = f"{package.name}: its inputs changed while it was built"
            raise BenchError(message, hint="run the same command again")
        return meta

    return Step(f"build_{package.name}", context.layout, key, make, shares_machine=True)


def output_of(context: Context, name: str) -> Output | None:
    """Return what a package was built into, None while it is not built."""
    from bpfbench.measure.request import Output

    item = build_step(context, context.model.packages[name]).item()
    return Output(item.id, item.tree, item.hash) if item else None
