"""The step behind ``build_<package>``: a package's output tree in the store."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.steps import Standing, Step
from bpfbench.store import pointers
from bpfbench.store.keys import Key, make_key

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.measure.request import Output
    from bpfbench.model.types import Package, Requirement
    from bpfbench.progress import Progress
    from bpfbench.store.store import Item


PREBUILT = "prebuilt"
"""The recipe of packages that are never built here, but taken from a build tree that was given."""


@dataclass(frozen=True, slots=True)
class _Builder:
    """A package, and how it is built in this checkout."""

    context: Context
    package: Package

    def key(self) -> Key | None:
        """Return the key of the output; None while a source or a dependency is not known yet."""
        known = self.context.package_keys.get(self.package.name)
        if known is None:
            components = self.components()
            if components is None:
                return None
            known = make_key(self.package.name, components)
            self.context.package_keys[self.package.name] = known
        return known

    def components(self) -> Mapping[str, Any] | None:
        """Return what the key is made of. Nothing is fetched for that."""
        if self.package.recipe == PREBUILT:
            build = given_build(self.context, self.package)
            return self._recipe().key_components(self.package, build, cache=self._cache) if build else None
        sources = self._source_hashes()
        depends = {name: output_of(self.context, name) for name in self.package.depends}
        if sources is None or None in depends.values() or _lacking(self.context, self.package):
            return None
        components = self._recipe().key_components(
            self.package, self.context.layout.root, cache=self._cache, sources=sources,
            depends={name: output.tree for name, output in depends.items() if output},
            requirements=self._requirements,
        )  # fmt: skip
        outputs = {name: output.hash for name, output in depends.items() if output}
        return {**components, "depends": outputs} if outputs else components

    def make(self, tree: Path, progress: Progress) -> dict[str, Any]:
        """Build below ``tree``."""
        from bpfbench.build.invoke import supervised
        from bpfbench.process.reaper import Reaper

        if self.package.recipe == PREBUILT:
            return self._take(tree, progress)
        progress("building")
        logs = self.context.layout.state / "logs" / f"build_{self.package.name}"
        shutil.rmtree(logs, ignore_errors=True)
        depends = {name: output_of(self.context, name) for name in self.package.depends}
        with Reaper(self.context.mark) as reaper:
            meta = self._recipe().make(
                self.package, self.context.layout.root, tree, cache=self._cache, run=supervised(reaper, logs),
                sources=self._source_trees(), requirements=self._requirements,
                depends={name: output.tree for name, output in depends.items() if output},
            )  # fmt: skip
        # Waiting and building take their time: what was edited meanwhile must not get the old key.
        components = self.components()
        if components is None or make_key(self.package.name, components) != self.key():
            message = f"{self.package.name}: its inputs changed while it was built"
            raise BenchError(message, hint="run the same command again")
        return dict(meta)

    def _take(self, tree: Path, progress: Progress) -> dict[str, Any]:
        """Copy what the build tree that was given has."""
        progress("copying")
        build, components = given_build(self.context, self.package), self.components()
        assert build
        assert components
        told = self._recipe().make(self.package, build, tree, wanted=components)
        return {**told, "about": {**told["about"], **_revision(self._recipe().home(build))}}

    def _recipe(self) -> Any:
        recipe = importlib.import_module(f"bpfbench.build.{self.package.recipe}")
        if not hasattr(recipe, "key_components"):
            where = f"bpfbench/build/{self.package.recipe}.py"
            raise BenchError(f"{self.package.location}: recipe: {where} is no recipe")
        return recipe

    @property
    def _cache(self) -> Path:
        return self.context.layout.state / "toolchain"

    @property
    def _requirements(self) -> list[Any]:
        return [self.context.model.requirements[name] for name in self.package.needs]

    def _source_hashes(self) -> dict[str, str] | None:
        if not self.package.sources:
            return {}
        from bpfbench import fetching

        found = {name: fetching.source_hash(self.context, name) for name in self.package.sources}
        known = {name: digest for name, digest in found.items() if digest}
        return known if len(known) == len(found) else None

    def _source_trees(self) -> dict[str, Path]:
        if not self.package.sources:
            return {}
        from bpfbench import fetching

        trees = {}
        for name in self.package.sources:
            tree = fetching.source_tree(self.context, name)
            if tree is None:
                raise BenchError(f"the source {name} is not in the store", hint=f"./bench fetch_{name}")
            trees[name] = tree
        return trees


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep(Step):
    """Builds one package.

    While a source that it needs is out of reach, or something optional of the system is missing, it counts as done
    without an output: what executes it is *unsupported*. Naming the task on the command line makes an error of that.
    """

    builder: _Builder

    def standing(self) -> Standing:
        """Say whether there is something to build, and why."""
        standing = Step.standing(self)
        reason = None if standing.uptodate or self._named else self._missing()
        return Standing(True, f"cannot be built: {reason}") if reason else standing

    def run(self, progress: Progress) -> Item | None:  # type: ignore[override] # None: out of reach
        """Realise the output, and point to it."""
        reason = None if self.item() else self._missing()
        if reason is None:
            return Step.run(self, progress)
        if self._named:
            tasks = [f"fetch_{name}" for name in self.builder.package.sources]
            if _lacking(self.builder.context, self.builder.package):
                tasks.append(f"system:{self.builder.package.name}")
            hint = f"./bench {' '.join(tasks)} tries again" if tasks else None
            raise BenchError(f"{self.builder.package.name} cannot be built: {reason}", hint=hint)
        pointers.write_absent(self.pointer, reason)
        return None

    def _missing(self) -> str | None:
        return unavailable(self.builder.context, self.builder.package)

    @property
    def _named(self) -> bool:
        return _is_named(self.builder.context, self.builder.package.name)


def build_step(context: Context, package: Package) -> BuildStep:
    """Return the step that builds a package by its recipe.

    Its key raises ``BenchError`` when a compiler or an input is missing.
    """
    builder = _Builder(context, package)
    name = f"build_{package.name}"
    return BuildStep(name, context.layout, builder.key, builder.make, shares_machine=True, builder=builder)


def unavailable(context: Context, package: Package) -> str | None:
    """Return why a package cannot be built: a source of its own, or of a dependency, is out of reach, or something optional
    of the system is missing."""
    if package.recipe == PREBUILT and not given_build(context, package):
        return f"no build of it was given: override.{package.name}-build=/path"
    lacking = _lacking(context, package)
    if lacking:
        from bpfbench import system

        what = ", ".join(f"{requirement.name} ({requirement.why})" for requirement in lacking)
        return f"missing on this machine: {what}; {system.advice(lacking)}"
    for name in package.sources:
        from bpfbench import fetching

        reason = None if fetching.source_tree(context, name) else fetching.unavailable(context, name)
        if reason:
            return f"its source {name} is out of reach: {reason}"
    for name in package.depends:
        reason = None if output_of(context, name) else unavailable(context, context.model.packages[name])
        if reason:
            return f"{name}, which it is made from, cannot be built: {reason}"
    return None


def wanted_by_name(context: Context, source: str) -> bool:
    """Whether the command line names a package that is not built yet and is made from a source.

    Such a source is tried again, whatever is recorded.
    """
    named = (package for package in context.model.packages.values() if _is_named(context, package.name))
    made_from_it = (package.name for package in named if source in _sources(context, package))
    return any(output_of(context, name) is None for name in made_from_it)


def _is_named(context: Context, package: str) -> bool:
    return any(fnmatchcase(f"build_{package}", pattern) for pattern in context.named)


def _sources(context: Context, package: Package) -> set[str]:
    """Return the sources of a package and of all that it is made from."""
    below = (_sources(context, context.model.packages[name]) for name in package.depends)
    return set(package.sources).union(*below)


def _lacking(context: Context, package: Package) -> list[Requirement]:
    """Return the optional requirements of a package that this machine does not provide."""
    optional = [context.model.requirements[name] for name in package.needs if context.model.requirements[name].optional]
    if not optional:
        return []
    from bpfbench import system

    return system.missing(optional)


def output_of(context: Context, name: str) -> Output | None:
    """Return what a package was built into, None while it is not built."""
    from bpfbench.measure.request import Output

    item = build_step(context, context.model.packages[name]).item()
    return Output(item.id, item.tree, item.hash, item.meta.get("about", {})) if item else None


def glimpse(context: Context, name: str) -> str:
    """Return which output of a package would be executed, or why it is missing."""
    output = output_of(context, name)
    return f"{name}: {output.id} {output.hash}" if output else f"{name}: {unavailable(context, context.model.packages[name])}"


def given_build(context: Context, package: Package) -> Path | None:
    """Return the build tree that was given in place of building a package."""
    path = context.words.overrides.get(f"{package.name}-build")
    return Path(path) if path else None


def _revision(checkout: Path | None) -> dict[str, Any]:
    """Return which commit a build tree's source directory is at now; what it was at when it was built, nobody can tell."""
    if checkout is None or not (checkout / ".git").exists():
        return {}
    from bpfbench.fetch.local import revision

    commit, changed = revision(checkout)
    return {"checkout": {"commit": commit, "changed": changed}}
