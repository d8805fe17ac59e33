"""The recipe of our own workloads: BPF objects and C programs from sources in this checkout.

Flags may name the output of a package that the workload ``depends`` on, as ``{package:NAME}``: its headers and
libraries are found with ``-I{package:NAME}/include`` and ``-L{package:NAME}/lib``.

The same inputs and the same compilers give the same bytes, wherever the checkout lies, whoever builds and
whenever.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bpfbench.build import bpf_object, c_program, wasm_module
from bpfbench.build.digests import hash_inputs
from bpfbench.build.invoke import Run, invoke, within
from bpfbench.build.reads import (
    NO_ROOM,
    NOTHING,
    Reads,
    check_declared,
    check_foreseen,
    compiler_error,
    find_reads,
    parse_listing,
    sort_out,
)
from bpfbench.build.steps import Step
from bpfbench.build.toolchain import Toolchain
from bpfbench.errors import BenchError
from bpfbench.model.types import Artefact, Package, Requirement

LEAST_ROOM = 1 << 20
"""Bytes: with fewer on the disk, a compiler that fails without a word has failed for want of room."""
VERSION = 1
"""Raise it when outputs change in a way that neither commands nor inputs show."""

_PACKAGE = re.compile(r"\{package:([^}]*)\}")
_NONE: Mapping[str, str] = {}
_NO_TREES: Mapping[str, Path] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """A package's build before it runs: the calls, what they read, and the digests of all that."""

    steps: tuple[Step, ...]
    inputs: Mapping[str, str]
    reads: Reads
    external: Mapping[str, str]
    """Real path → SHA-256 of every file outside the checkout that is read."""


def key_components(
    package: Package,
    root: Path,
    *,
    cache: Path,
    sources: Mapping[str, str] = _NONE,
    depends: Mapping[str, Path] = _NO_TREES,
    requirements: Sequence[Requirement] = (),
) -> Mapping[str, Any]:
    """Return everything that can change the package's output, in JSON's types and free of this checkout's
    path.

    ``cache`` is a directory for what was learnt about compilers. ``depends`` are trees to look into: their
    hashes belong into the key too, and the caller adds them. Neither ``sources`` nor ``requirements`` matter
    here: files of the system count by content. Raises ``BenchError`` for a missing compiler, header,
    library or input, and for a source that reads a file of the checkout that is no declared input.
    """
    toolchain = Toolchain(cache)
    plan = plan_build(package, root, toolchain, depends)
    tools = {name: toolchain.tool(name).identity() for name in sorted({step.tool for step in plan.steps})}
    toolchain.save()
    scripts = _scripts(package)
    undeclared = sorted(set(scripts.values()) - plan.inputs.keys())
    if undeclared:
        raise BenchError(f"{package.location}: {undeclared[0]} is not among the inputs", hint="add it to `inputs`")
    return {
        **({"scripts": scripts} if scripts else {}),
        "recipe": {"name": "workload", "version": VERSION},
        "options": dict(package.options),
        "steps": [step.written() for step in plan.steps],
        "tools": tools,
        "inputs": dict(plan.inputs),
        "system": dict(plan.external),
    }


def make(
    package: Package,
    root: Path,
    tree: Path,
    *,
    cache: Path,
    run: Run = invoke,
    sources: Mapping[str, Path] = _NO_TREES,
    depends: Mapping[str, Path] = _NO_TREES,
    requirements: Sequence[Requirement] = (),
) -> Mapping[str, Any]:
    """Build the package's artefacts below ``tree`` and return what the manifest should remember.

    ``run`` executes one compiler call. Raises ``BenchError`` with the compiler's words and the command to
    repeat, and when anything was read that the key does not cover; what is below ``tree`` is then
    worthless.
    """
    toolchain = Toolchain(cache)
    plan = plan_build(package, root, toolchain, depends)
    toolchain.save()
    build = tree / ".build"
    build.mkdir(parents=True)
    trees = _placeholders(package, depends)
    places = {"root": root, "build": build, "tree": tree, **trees}
    read = NOTHING
    for step in plan.steps:
        Path(step.output.format(build=build, tree=tree)).parent.mkdir(parents=True, exist_ok=True)
        _run_step(step, toolchain.tool(step.tool).path, places, run)
        read |= _was_read(step, places, trees.values())
    check_declared(read, plan.inputs, package.name)
    check_foreseen(read, plan.reads, package.name)
    shutil.rmtree(build)
    for script, source in _scripts(package).items():
        (tree / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / source, tree / script)
    return {"tools": {step.tool: toolchain.tool(step.tool).version for step in plan.steps}}


def plan_build(
    package: Package, root: Path, toolchain: Toolchain, depends: Mapping[str, Path] = _NO_TREES
) -> Plan:
    """Return the package's build and digests of all that it will read. Raises as ``key_components`` does."""
    inputs = hash_inputs(root, package.inputs)
    static = _static(package)
    artefacts = [_aware(artefact, package) for artefact in package.artefacts]
    steps = tuple(step for artefact in artefacts for step in _steps(artefact, toolchain, static))
    reads = find_reads(steps, root, toolchain, inputs, _placeholders(package, depends))
    check_declared(reads, inputs, package.name)
    external = {path: toolchain.digests.of(path) for path in sorted(reads.external)}
    return Plan(steps, inputs, reads, external)


def _scripts(package: Package) -> dict[str, str]:
    """Return output → source of every script: it is part of the package as it is."""
    found = {}
    for artefact in package.artefacts:
        if artefact.kind == "script":
            if len(artefact.sources) != 1:
                raise BenchError(f"{artefact.output}: a script has exactly one source, not {len(artefact.sources)}")
            found[artefact.output] = artefact.sources[0]
    return found


def _static(package: Package) -> tuple[str, ...]:
    """Return the one option that this recipe has, ``static``: libraries that go into the programs."""
    unknown = sorted(package.options.keys() - {"static"})
    if unknown:
        raise BenchError(
            f"{package.location}: the recipe workload has no option {unknown[0]}", hint="it has one: static"
        )
    static = tuple(package.options.get("static", ()))
    linked = {name for artefact in package.artefacts for name in artefact.libraries}
    for name in static:
        if name not in linked:
            raise BenchError(f"{package.location}: static names {name}, which no artefact is linked with")
    return static


def _placeholders(package: Package, depends: Mapping[str, Path]) -> dict[str, Path]:
    return {f"package:{name}": depends[name] for name in package.depends if name in depends}


def _aware(artefact: Artefact, package: Package) -> Artefact:
    """Return the artefact with flags by which no output names the place of a dependency."""
    for flag in artefact.flags:
        for name in _PACKAGE.findall(flag):
            if name not in package.depends:
                named = f"{package.location}: {artefact.output}: {{package:{name}}} in {flag}"
                raise BenchError(f"{named} is not among the packages that {package.name} depends on")
    maps = (f"-ffile-prefix-map={{package:{name}}}={name}" for name in package.depends)
    return replace(artefact, flags=(*maps, *artefact.flags))


def _steps(artefact: Artefact, toolchain: Toolchain, static: tuple[str, ...]) -> tuple[Step, ...]:
    if artefact.kind == "script":
        return ()
    if artefact.kind == "bpf-object":
        return bpf_object.steps(artefact)
    if artefact.kind == "wasm-module":
        return wasm_module.steps(artefact)
    return c_program.steps(artefact, toolchain, static)


def _run_step(step: Step, program: str, places: Mapping[str, Path], run: Run) -> None:
    outcome = run(step.command(program, places), places[step.cwd], env=within(places["build"]))
    if outcome.code != 0:
        # On a full disk there is no room for the compiler's words either.
        silent = not outcome.err and shutil.disk_usage(places["build"]).free < LEAST_ROOM
        raise compiler_error(step.sources, NO_ROOM if silent else outcome.err, step.repeat(program, places))


def _was_read(step: Step, places: Mapping[str, Path], trees: Collection[Path]) -> Reads:
    """Return what the compiler says it has read, without what this build itself made and what is in ``trees``."""
    listed = parse_listing((places["build"] / step.listing).read_text())
    made = sort_out(step.sources, places["build"], places["build"]) if step.kind == "link" else NOTHING
    if step.kind == "link":
        reads = sort_out(listed, places["build"], places["build"], trees)
        return Reads(reads.local - made.local, reads.external)
    return sort_out(listed, places["root"], places["root"], trees)
