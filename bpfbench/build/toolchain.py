"""The identity of compilers: by content, with what they start and the libraries they are made of.

Looking at a compiler for the first time costs up to a second (its libraries are large); from then on an
answer is a few ``stat`` calls, until one of the files changes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfbench.build.digests import FileDigests, Memory, hash_mapping
from bpfbench.build.invoke import environment, invoke
from bpfbench.errors import BenchError

STARTS: Mapping[str, tuple[str, ...]] = {
    "gcc": ("cc1", "collect2", "as", "ld"),
    "g++": ("cc1plus", "collect2", "as", "ld"),
    "clang": (),
}
"""Compiler → programs that it starts for us. With ``-target bpf -c`` clang does everything itself."""

_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_SEARCH = re.compile(r"search starts here:\n(.*?)End of search list", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tool:
    """A compiler as found on PATH."""

    name: str
    path: str
    version: str
    """First line of ``--version``."""
    files: Mapping[str, str]
    """Real path → SHA-256: the program, what it starts, and their shared libraries."""
    digest: str
    """Over the names and contents of ``files``: the same for the same bytes, wherever they are installed."""
    search: tuple[str, ...]
    """Directories in which it looks for system headers; they need not exist."""

    def identity(self) -> dict[str, str]:
        """Return what belongs into a key."""
        return {"version": self.version, "digest": self.digest}


class Toolchain:
    """Compilers of this machine. ``cache`` is a directory whose whole content can be lost."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.memory = Memory(cache / "toolchain.json")
        self.digests = FileDigests(Memory(cache / "files.json"))
        self._known: dict[str, Tool] = {}

    def tool(self, name: str) -> Tool:
        """Return the compiler ``name``. Raises ``BenchError`` with the requirement if it is not on PATH."""
        if name not in self._known:
            path = shutil.which(name, path=environment()["PATH"])
            if path is None:
                raise BenchError(
                    f"{name} is not on PATH: the requirement `{name}` is missing", hint="./bench system"
                )
            self._known[name] = self._remembered(name, path) or self._look(name, path)
        return self._known[name]

    def library(self, compiler: str, name: str) -> str:
        """Return the path of a library that ``compiler`` brings; ``name`` itself where it has none."""
        tool = self.tool(compiler)
        question, state = f"library {compiler} {name}", tool.identity()
        known = self.memory.get(question)
        if not isinstance(known, dict) or known.get("state") != state:
            path = invoke([tool.path, f"-print-file-name={name}"], Path("/")).out.strip()
            known = {"state": state, "path": path}
            self.memory.put(question, known)
        return str(known["path"])

    def flags(self, program: str, *words: str) -> tuple[str, ...]:
        """Return what a program such as ``llvm-config`` prints for ``words``: flags for a compiler."""
        tool = self.tool(program)
        question, state = f"flags {program} {' '.join(words)}", tool.identity()
        known = self.memory.get(question)
        if not isinstance(known, dict) or known.get("state") != state:
            answer = invoke([tool.path, *words], Path("/"))
            if answer.code != 0:
                raise BenchError(f"{program} {' '.join(words)} failed: {answer.err.strip()}")
            known = {"state": state, "flags": answer.out.split()}
            self.memory.put(question, known)
        return tuple(known["flags"])

    def save(self) -> None:
        """Keep what was learnt for the next call."""
        self.memory.save()
        self.digests.save()

    def _remembered(self, name: str, path: str) -> Tool | None:
        entry = self.memory.get(f"tool {name}")
        if not isinstance(entry, dict) or entry.get("path") != path:
            return None
        if str(Path(path).resolve()) not in entry["files"]:
            return None
        try:
            files = {file: self.digests.of(file) for file in entry["files"]}
        except OSError:
            return None
        if files != entry["files"]:
            return None
        return Tool(name, path, entry["version"], files, _digest(files), tuple(entry["search"]))

    def _look(self, name: str, path: str) -> Tool:
        programs = [path, *(_started_program(path, part) for part in STARTS.get(name, ()))]
        real = sorted({str(Path(program).resolve()) for program in programs})
        files = {file: self.digests.of(file) for file in sorted({*real, *_libraries(real)})}
        version = invoke([path, "--version"], Path("/")).out.partition("\n")[0]
        tool = Tool(name, path, version, files, _digest(files), _search_directories(path))
        entry: dict[str, Any] = {
            "path": path, "version": version, "files": dict(files), "search": list(tool.search),
        }
        self.memory.put(f"tool {name}", entry)
        return tool


def _digest(files: Mapping[str, str]) -> str:
    return hash_mapping({f"{Path(path).name} {digest}": digest for path, digest in files.items()})


def _started_program(compiler: str, name: str) -> str:
    """Return where ``compiler`` finds the program that it starts as ``name``."""
    answer = invoke([compiler, f"-print-prog-name={name}"], Path("/")).out.strip()
    found = shutil.which(answer or name, path=environment()["PATH"])
    if found is None:
        raise BenchError(f"{compiler} needs {name}, which is not installed", hint="./bench system")
    return found


def _libraries(programs: list[str]) -> set[str]:
    """Return the real paths of the shared libraries of ``programs``, the loader included."""
    answer = invoke(["ldd", *programs], Path("/")).out
    return {str(Path(path).resolve()) for path in _LIBRARY.findall(answer)}


def _search_directories(compiler: str) -> tuple[str, ...]:
    listed = _SEARCH.search(invoke([compiler, "-E", "-v", "-x", "c", "/dev/null"], Path("/")).err)
    return tuple(line.strip() for line in listed[1].splitlines() if line.startswith(" ")) if listed else ()
