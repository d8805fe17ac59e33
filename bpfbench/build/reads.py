"""Which files a build reads: found out before it runs, for its key, and checked when it has run.

What lies in the checkout must be a declared input. What lies outside (system headers, libraries, start
files) is found by letting the compiler list it, and goes into the key by content. The list is remembered
until the compiler, its search directories or the inputs change; the files on it are looked at every time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.build.invoke import invoke, within
from bpfbench.build.steps import Step, fill
from bpfbench.build.toolchain import Tool, Toolchain
from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

_WORD = re.compile(r"(?:\\.|\$\$|[^\s\\])+")
NO_ROOM = os.strerror(errno.ENOSPC)
SHOWN = 40
"""Lines of a compiler's output that an error shows."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Files that a build reads: ``local`` relative to the checkout, ``external`` as real paths."""

    local: frozenset[str]
    external: frozenset[str]

    def __or__(self, other: Reads) -> Reads:
        return Reads(self.local | other.local, self.external | other.external)


NOTHING = Reads(frozenset(), frozenset())


def parse_listing(text: str) -> list[str]:
    """Return the prerequisites in a Makefile fragment as compilers and linkers write it."""
    found = []
    for rule in text.replace("\\\n", " ").splitlines():
        _, colon, prerequisites = rule.partition(": ")
        if colon:
            found += [_plain(word) for word in _WORD.findall(prerequisites)]
    return found


def _plain(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word.replace("$$", "$"))


def sort_out(paths: Iterable[str], root: Path, cwd: Path, trees: Iterable[Path] = ()) -> Reads:
    """Tell the checkout's files from others. ``paths`` are relative to ``cwd`` or absolute.

    What lies in one of ``trees`` is neither: a dependency's files count by its hash.
    """
    local, external = set(), set()
    inside = tuple(f"{tree}{os.sep}" for tree in trees)
    folders: dict[str, str] = {}
    for path in paths:
        place = os.path.normpath(cwd / path)
        if place.startswith(inside):
            continue
        if place.startswith(f"{root}{os.sep}"):
            local.add(os.path.relpath(place, root))
        else:
            external.add(_really(place, folders))
    return Reads(frozenset(local), frozenset(external))


def _really(place: str, folders: dict[str, str]) -> str:
    """Return where a file really is; ``folders`` remembers that of directories, in each of which there are many."""
    folder, _, name = place.rpartition(os.sep)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    there = f"{folders[folder]}{os.sep}{name}"
    return os.path.realpath(there) if os.path.islink(there) else there  # noqa: PTH114 - a thousand files


def find_reads(
    steps: Iterable[Step],
    root: Path,
    toolchain: Toolchain,
    inputs: Mapping[str, str],
    depends: Mapping[str, Path],
) -> Reads:
    """Return what ``steps`` will read. ``inputs`` are the declared inputs with their digests.

    ``depends`` are the places of dependencies' outputs by placeholder; what is read there is left out. Raises
    ``BenchError`` with the compiler's words when a source cannot be preprocessed or a library is not there.
    """
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for step in steps:
        sources = together.setdefault((step.tool, step.kind, step.options), [])
        if step.kind == "compile":
            sources += step.sources
    found = NOTHING
    for (name, kind, options), sources in together.items():
        question = _Question(toolchain.tool(name), kind, options, tuple(sources), depends)
        found |= _remembered(question, root, toolchain, inputs)
    return found


@dataclass(frozen=True, slots=True)
class _Question:
    """Calls that differ in their sources only."""

    tool: Tool
    kind: str
    options: tuple[str, ...]
    sources: tuple[str, ...]
    depends: Mapping[str, Path]

    @property
    def name(self) -> str:
        text = json.dumps([self.tool.name, self.kind, self.options, self.sources])
        return f"reads {hashlib.sha256(text.encode()).hexdigest()}"


def _remembered(question: _Question, root: Path, toolchain: Toolchain, inputs: Mapping[str, str]) -> Reads:
    state: list[Any] = [
        question.tool.identity(), _looks(question.tool.search), dict(inputs) if question.kind == "compile"
        else {}
    ] + ([{name: str(tree) for name, tree in question.depends.items()}] if question.depends else [])
    # Packages that share sources ask the same of compilers, each with inputs of its own: none is to forget another's answer.
    name = f"{question.name} {hashlib.sha256(json.dumps(sorted(inputs)).encode()).hexdigest()[:16]}"
    entry = toolchain.memory.get(name)
    if isinstance(entry, dict) and entry.get("state") == state:
        reads = Reads(frozenset(entry["local"]), frozenset(entry["external"]))
        if all(os.path.exists(path) for path in reads.external):  # noqa: PTH110 - a hundred files, every time
            return reads
    reads = _ask_compiler(question, root) if question.kind == "compile" else _ask_linker(question, toolchain.cache)
    toolchain.memory.put(
        name, {"state": state, "local": sorted(reads.local), "external": sorted(reads.external)}
    )
    return reads


def _looks(directories: Iterable[str]) -> list[list[int]]:
    """Return what changes when a header appears in a search directory and hides one in a later directory."""
    found = []
    for directory in directories:
        try:
            info = os.stat(directory)  # noqa: PTH116
            found.append([info.st_ino, info.st_mtime_ns])
        except OSError:
            found.append([])
    return found


def _ask_compiler(question: _Question, root: Path) -> Reads:
    command = [question.tool.path, *fill(question.options, {"root": root, **question.depends}), "-M", *question.sources]
    answer = invoke(command, root)
    if answer.code != 0:
        raise compiler_error(question.sources, answer.err, f"cd {root} && {' '.join(command)}")
    return sort_out(parse_listing(answer.out), root, root, question.depends.values())


def _ask_linker(question: _Question, cache: Path) -> Reads:
    """Link an empty program in the same way: start files and libraries are those of the real one."""
    with _scratch(cache) as name:
        directory = Path(name)
        environment = within(directory)
        (directory / "main.c").write_text("int main(void) { return 0; }\n")
        command = [question.tool.path, "-fPIC", "-c", "main.c", "-o", "main.o"]
        compiled = invoke(command, directory, env=environment)
        listing = "-Wl,--dependency-file=list"
        options = fill(question.options, question.depends)
        command = [question.tool.path, listing, "main.o", *options, "-o", "main"]
        answer = invoke(command, directory, env=environment) if compiled.code == 0 else compiled
        if answer.code != 0:
            raise compiler_error(("an empty program",), answer.err, " ".join(command))
        listed = parse_listing((directory / "list").read_text())
        real = directory.resolve()
        return sort_out([path for path in listed if path != "main.o"], real, real, question.depends.values())


def _scratch(cache: Path) -> TemporaryDirectory[str]:
    """Return a directory that vanishes, or that a later run sweeps, if this one is killed meanwhile."""
    import tempfile  # dear to import, and an up-to-date check never comes here

    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".link-", suffix=f".{os.getpid()}", dir=cache)
    except OSError:  # a checkout that can only be read
        return tempfile.TemporaryDirectory(prefix="bpfbench-link-")


def compiler_error(sources: Iterable[str], output: str, repeat: str) -> BenchError:
    """Return the error for a compiler's refusal: what it said, and how to make it say it again."""
    lines = output.strip().splitlines()
    cut = [f"… and {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
    shown = "\n".join(lines[:SHOWN] + cut) or "the compiler said nothing"
    hint = f"make room, then repeat with: {repeat}" if NO_ROOM in output else f"repeat with: {repeat}"
    return BenchError(f"compiling {', '.join(sources)} failed:\n{shown}", hint=hint)


def check_declared(reads: Reads, inputs: Mapping[str, str], package: str) -> None:
    """Refuse a build that reads an undeclared file of the checkout: its changes would go unnoticed."""
    undeclared = sorted(reads.local - inputs.keys())
    if undeclared:
        raise BenchError(
            f"package {package} reads {', '.join(undeclared)}, which is not among its inputs",
            hint=f"add it to `inputs` in specs/packages/{package}.yaml",
        )


def check_foreseen(read: Reads, foreseen: Reads, package: str) -> None:
    """Refuse an output that was made from files that its key knows nothing of."""
    missed = sorted(read.external - foreseen.external)
    if missed:
        raise BenchError(
            f"package {package} was built from files that its key does not cover: {', '.join(missed)}",
            hint="build again if compilers or libraries were being installed; else this is a defect of ours",
        )
