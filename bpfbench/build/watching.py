"""What a third-party build reads of the system: watched from within its programs, and limited.

Compilers can list what they read, but not every build system lets us ask them, and nobody lists what
``pkg-config`` and ``cmake`` looked at. So a small library (watch.c) is preloaded into every program. It also
hides headers and libraries that do not belong to the package's requirements: an optional feature must not be
in the output because somebody installed a library for something else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bpfbench.build.invoke import Outcome
from bpfbench.errors import BenchError

SOURCE = Path(__file__).with_name("watch.c")
LIBRARY = "bench-watch.so"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden")

_INPUT = re.compile(r"\.(?:a|o|so|so\.[0-9.]+|ld|lds|la|pc|cmake|h|hh|hpp|hxx|inc|def|tcc)$")
"""Files that go into an output, or decide what does. Others that a build reads (locales, message catalogues,
modules of Python) belong to its tools.
"""
_INCLUDE = re.compile(r"^/usr/(?:local/)?include/")
_TOOLS_OWN = re.compile(r"^/usr/(?:local/)?(?:lib/python|share/)(?!.*\.pc$)")
"""Where tools keep what is theirs, whatever it is called."""


class Watch:
    """The watch over one build; its files lie in ``place``, which the build's own directory contains."""

    def __init__(self, place: Path, scratch: Path) -> None:
        self._place = place
        self._scratch = scratch.resolve()

    def prepare(
        self, compiler: str, allowed: Iterable[str], run: Callable[[Sequence[str], Path], Outcome]
    ) -> None:
        """Make the library; ``allowed`` are real paths of the system's files that the build may see.

        Raises ``BenchError`` with the compiler's words when it cannot be made.
        """
        self._place.mkdir()
        names = sorted(os.fsencode(path) for path in allowed)
        (self._place / "allowed").write_bytes(b"".join(name + b"\n" for name in names))
        argv = [compiler, *_FLAGS, str(SOURCE), "-o", str(self._place / LIBRARY), "-ldl"]
        outcome = run(argv, self._place)
        if outcome.code != 0:
            words = (outcome.err or outcome.out).strip()
            raise BenchError(f"the library that watches what a build reads cannot be made:\n{words}")

    def environment(self) -> Mapping[str, str]:
        """Return what puts a command, and all that it starts, under watch."""
        return {
            # A preloaded library's name is cut at spaces, so it is looked up by name.
            "LD_PRELOAD": LIBRARY,
            "LD_LIBRARY_PATH": str(self._place),
            "BENCH_LOG": str(self._log),
            "BENCH_ALLOWED": str(self._place / "allowed"),
            "BENCH_SCRATCH": str(self._scratch),
        }

    def check(self, canary: str, run: Callable[[Sequence[str]], Outcome]) -> None:
        """Raise ``BenchError`` unless a program that reads ``canary`` is seen to do so."""
        run(["cat", canary])
        if os.path.realpath(canary) not in self._noted("read"):
            message = "what a build reads cannot be watched here: preloading a library has no effect"
            raise BenchError(message, hint="is cat linked statically, or set-user-id?")

    def inputs(self) -> frozenset[str]:
        """Return the real paths of files outside the build's directory that can have changed its outputs."""
        return frozenset(path for path in self._noted("read") if is_input(path))

    def hidden(self) -> frozenset[str]:
        """Return the real paths of files that the build wanted to read and did not get to see."""
        return self._noted("hidden")

    def _noted(self, kind: str) -> frozenset[str]:
        if not self._log.exists():
            return frozenset()
        lines = self._log.read_text("utf-8", "surrogateescape").splitlines()
        return frozenset(line.split("\t", 2)[2] for line in lines if line.startswith(f"{kind}\t"))

    @property
    def _log(self) -> Path:
        return self._place / "log"


def is_input(path: str) -> bool:
    """Whether a file that some program of a build read can change what the build makes."""
    if _TOOLS_OWN.match(path):
        return False
    return bool(_INCLUDE.match(path) or _INPUT.search(path))
