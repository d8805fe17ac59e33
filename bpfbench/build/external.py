"""What all recipes of third-party packages share.

A private copy of the sources, commands in it, what they read, what is kept.

A recipe turns a package's options into ``Call``s. They run in a directory that is gone afterwards, in an
environment of their own, without a network, and cannot tell where, when or by whom. Only what the spec
lists under ``outputs`` is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bpfbench.build import compilers, outputs, scratch
from bpfbench.build.digests import Memory
from bpfbench.build.invoke import Outcome, Run, invoke
from bpfbench.build.isolation import isolated
from bpfbench.build.jobs import jobs
from bpfbench.build.ospackages import OsPackages
from bpfbench.build.toolchain import Toolchain
from bpfbench.build.watching import Watch
from bpfbench.errors import BenchError
from bpfbench.model.types import Package, Requirement

WALL = 1800.0
"""Seconds that one command of a build may take."""
SILENCE = 600.0
"""Seconds that it may say nothing: a single compilation of the largest sources takes a tenth of this."""
_C_LIBRARY = "/usr/include/stdio.h"
TAIL = 25
"""Lines of a failed command's output that are shown."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command of a build.

    ``program`` is a name on PATH, or starts with ``./``. ``directory`` is below the build's directory.
    Words may use ``{jobs}``, ``{package:NAME}`` (the output tree of a dependency), ``{source:NAME}`` and
    ``{build}``; what they stand for is relative to ``directory``.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    directory: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> dict[str, Any]:
        """Return the call as it goes into a key."""
        run = [self.program, *self.arguments]
        return {"run": run, "in": self.directory, "environment": dict(self.environment)}


@dataclass(frozen=True, slots=True)
class External:
    """A recipe: its name, the version of what it does, the programs that it starts, how it makes calls."""

    name: str
    version: int
    tools: tuple[str, ...]
    calls: Callable[[Package], tuple[Call, ...]]

    def key_components(
        self,
        package: Package,
        root: Path,
        *,
        cache: Path,
        sources: Mapping[str, str],
        depends: Mapping[str, Path] | None = None,
        requirements: Sequence[Requirement] = (),
    ) -> Mapping[str, Any]:
        """Return everything that can change the package's output, in JSON's types.

        ``sources`` are tree hashes by name; nothing is fetched. Of ``depends`` the caller adds the
        hashes. ``requirements`` are those of the package. Raises ``BenchError`` for a missing compiler or tool.
        """
        toolchain = Toolchain(cache)
        names = self._tools(package)
        tools = {name: toolchain.tool(name).identity() for name in names}
        system = System(toolchain, names, requirements, cache).identity() if names else {}
        toolchain.save()
        neutral = {name: value for name, value in package.options.items() if name not in {"memory", "wall"}}
        return {
            "recipe": {"name": self.name, "version": self.version},
            "options": neutral,
            "calls": [call.written() for call in self._calls(package)],
            "compiler flags": list(compilers.FLAGS),
            "tools": tools,
            "sources": dict(sources),
            "system": system,
        }

    def make(
        self,
        package: Package,
        root: Path,
        tree: Path,
        *,
        cache: Path,
        run: Run = invoke,
        sources: Mapping[str, Path],
        depends: Mapping[str, Path] | None = None,
        requirements: Sequence[Requirement] = (),
    ) -> Mapping[str, Any]:
        """Build the package below ``tree`` and return what the manifest should remember.

        Raises ``BenchError`` with the last lines of the command that failed, for an output that was not
        made, and when the build read something that its key does not cover.
        """
        toolchain = Toolchain(cache)
        place = scratch.prepare(tree / ".build", package, sources, depends or {})
        names = self._tools(package)
        system = System(toolchain, names, requirements, cache)
        build = _Build(package, place, run)
        if names:
            build.watch_over(toolchain, names, system)
        for call in self._calls(package):
            build.run(call)
        outputs.collect(package, place, tree)
        build.check_covered(system, depends or {})
        scratch.remove(place)
        return {"tools": {name: toolchain.tool(name).version for name in names}, **build.told}

    def _calls(self, package: Package) -> tuple[Call, ...]:
        if not package.sources:
            hint = "name what is built under `sources`"
            raise BenchError(f"{package.location}: the recipe {self.name} needs a source", hint=hint)
        return self.calls(package)

    def _tools(self, package: Package) -> tuple[str, ...]:
        languages = {"c": "gcc", "c++": "g++"}
        wanted = [languages[name] for name in package.options.get("languages", ["c"])] if self.tools else []
        return tuple(dict.fromkeys(("gcc", *wanted, *self.tools))) if self.tools else ()


class System:
    """What the operating system brings into a package's build."""

    def __init__(
        self, toolchain: Toolchain, tools: Sequence[str], requirements: Sequence[Requirement], cache: Path
    ) -> None:
        self._memory = Memory(cache / "ospackages.json")
        self._packages = OsPackages(self._memory)
        self._wanted = sorted({name for item in requirements for name in item.packages.get("debian", ())})
        self._anchors = _anchors(toolchain, tools)
        self._own = frozenset(file for name in tools for file in toolchain.tool(name).files)

    def identity(self) -> Mapping[str, Any]:
        """Return what belongs into a key."""
        found = self._packages.identity(self._wanted, self._anchors)
        self._memory.save()
        return found

    @cached_property
    def files(self) -> frozenset[str]:
        """The real paths of all files that the identity, and that of the tools, stands for."""
        return self._packages.covers(self._wanted, self._anchors) | self._own

    def owners(self, paths: Iterable[str]) -> str:
        """Name the OS packages that some files came with."""
        found = {self._packages.owner(path) for path in sorted(paths)[:20]}
        return ", ".join(sorted(name for name in found if name)) or "no package of this system"


class _Build:
    """One build while it runs."""

    def __init__(self, package: Package, place: Path, run: Run) -> None:
        self.package = package
        self.place = place
        self._run = run
        self._watch: Watch | None = None
        self._system: System | None = None
        self._jobs = jobs(int(package.options.get("memory", 256)))
        self._prefix: tuple[str, ...] = ()
        self._largest = 0
        self.told: dict[str, Any] = {}

    def watch_over(self, toolchain: Toolchain, tools: Sequence[str], system: System) -> None:
        compilers.wrap(self.place / "tools", {name: toolchain.tool(name).path for name in tools})
        self._system = system
        self._watch = Watch(self.place / "watch", self.place)
        self._watch.prepare(toolchain.tool("gcc").path, system.files, self._run)
        self._prefix, cut_off = isolated(self._run, self.place)
        seen = {**scratch.environment(self.place), **self._watch.environment()}
        self._watch.check(_C_LIBRARY, lambda argv: self._run([*self._prefix, *argv], self.place, env=seen))
        self.told = {"network": "cut off" if cut_off else "not cut off: not allowed here", "jobs": self._jobs}

    def run(self, call: Call) -> None:
        cwd = self.place / call.directory
        cwd.mkdir(parents=True, exist_ok=True)
        fill = scratch.filler(self.place, cwd, self.package, self._jobs)
        watched = self._watch.environment() if self._watch else {}
        own = {name: fill(value) for name, value in call.environment.items()}
        argv = [*self._prefix, call.program, *map(fill, call.arguments)]
        outcome = self._run(
            argv, cwd, env={**scratch.environment(self.place), **watched, **own}, name=call.name,
            wall=float(self.package.options.get("wall", WALL)), silence=SILENCE,
        )
        if outcome.code != 0:
            raise self._failed(call, outcome)
        # In MiB, as `memory` of the package says it: what one job took, to compare.
        self._largest = max(self._largest, -(-outcome.largest // 1024))
        self.told |= {"largest": self._largest}

    def check_covered(self, system: System, depends: Mapping[str, Path]) -> None:
        """Refuse an output that was made from files that its key knows nothing of."""
        if self._watch is None:
            return
        read = self._watch.inputs()
        self.told |= {"read": len(read), "hidden": len(self._watch.hidden())}
        trees = tuple(f"{path.resolve()}{os.sep}" for path in depends.values())
        missed = sorted(path for path in read - system.files if not path.startswith(trees))
        if missed:
            more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
            named = f"{', '.join(missed[:5])}{more} (from {system.owners(missed)})"
            name = f"{self.package.location}: {self.package.name}"
            raise BenchError(
                f"{name} was built from files that its key does not cover: {named}",
                hint="add the requirement that brings them to `needs` of the package",
            )

    def _failed(self, call: Call, outcome: Outcome) -> BenchError:
        lines = [line for line in (outcome.out + outcome.err).splitlines() if line.strip()][-TAIL:]
        shown = "\n".join(f"    {line}" for line in lines) or "    (it said nothing)"
        where = f"; all of it is in {outcome.log}" if outcome.log else ""
        hint = f"once that is mended, repeat with: ./bench build_{self.package.name}"
        hidden = self._watch.hidden() if self._watch else frozenset()
        if hidden and self._system:
            # pkg-config looks into all that it finds: headers tell better what was wanted.
            wanted = sorted(path for path in hidden if not path.endswith(".pc")) or sorted(hidden)
            files = ", ".join(wanted[:3]) + (", …" if len(wanted) > 3 else "")
            hint += "\n  → hidden from the build, because nothing in its `needs` brings it: "
            hint += f"{self._system.owners(wanted[:3])} ({files})"
        ended = f"{self.package.name}: {call.name} ended with status {outcome.code}"
        return BenchError(f"{ended}; the end of what it said{where}:\n{shown}", hint=hint)


def _anchors(toolchain: Toolchain, names: Sequence[str]) -> list[str]:
    """Return files that stand for the C library, the kernel's headers and what compilers link unasked."""
    if not names:
        return []
    found = [_C_LIBRARY, "/usr/include/linux/types.h"]
    for compiler, library in (("gcc", "libgcc.a"), ("g++", "libstdc++.a")):
        if compiler in names:
            found.append(toolchain.library(compiler, library))
    return found
