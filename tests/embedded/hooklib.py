"""Builds the hook library and its C test programs with gcc alone."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "embedded/hook"
TESTS = HOOK / "tests"

CASES: dict[str, tuple[str, ...]] = {
    "calls": (
        "registers", "arguments", "skipping", "redirecting", "several", "recursion", "tail_calls",
        "handler_calls_hooked", "probe", "probes_without_room", "refused",
    ),
    "leaving": (
        "exceptions", "deep_exception", "backtraces", "jumping", "coroutines", "thread_ends", "children",
    ),
    "concurrent": (
        "threads", "signals", "signal_jumps", "cycles_nop5", "cycles_push", "cycles_endbr", "cycles_short",
        "cycles_alone", "many_threads", "waits_for_handlers", "blocked_trap",
    ),
    "system_calls": (
        "counted", "skipping", "unhooking", "coverage", "threads_and_signals", "live", "cancelled", "children",
        "red_zone", "loaded_later",
    ),
}

COMMON = ("-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fcf-protection=none", f"-I{ROOT}/embedded")
HANDLERS = ("-std=gnu11", "-fPIC", "-mgeneral-regs-only")
LIBRARY = (*HANDLERS, "-ftls-model=initial-exec", "-fno-tree-loop-distribute-patterns")


def gcc(*argv: str | Path, command: str = "gcc") -> None:
    """Compile; a failure is an error of the test, with the compiler's words."""
    done = subprocess.run([command, *map(str, argv)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def sources() -> list[Path]:
    """Return what the library is made of: all but the tool that injects."""
    found = [path for path in sorted(HOOK.glob("*.c")) if not path.name.startswith("inject")]
    return [*found, *sorted(HOOK.glob("*.S")), ROOT / "embedded/common/log.c", ROOT / "embedded/runtime/symbols.c"]


@dataclass(frozen=True)
class Built:
    """A directory with what was built."""

    place: Path

    @property
    def library(self) -> Path:
        """The hook library."""
        return self.place / "libhook.so"

    @property
    def later(self) -> Path:
        """A library to be loaded while hooks are there."""
        return self.place / "later.so"

    @property
    def preload(self) -> Path:
        """For LD_PRELOAD: hooks much-used functions and all system calls."""
        return self.place / "preload.so"

    @property
    def inject(self) -> Path:
        """The tool that makes a process load a library."""
        return self.place / "inject"

    def program(self, name: str) -> str:
        """Return the path of a test program, built when it is first asked for."""
        path = self.place / name
        if not path.exists():
            source = next(iter(TESTS.glob(f"{name}.c*")))
            compiler = ("g++", "-std=gnu++17") if source.suffix == ".cpp" else ("gcc", "-std=gnu11")
            gcc(
                compiler[1], *COMMON, source, self.place / "counting.o", self.library, f"-Wl,-rpath,{self.place}",
                "-lpthread", "-o", path, command=compiler[0],
            )
        return str(path)

    def sanitized(self, place: Path) -> str:
        """Return the program of plain calls with the whole library in it, and with sanitizers."""
        path = place / "calls"
        flags = (
            *COMMON, "-std=gnu11", "-mgeneral-regs-only", "-ftls-model=initial-exec",
            "-fno-tree-loop-distribute-patterns", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        )
        gcc(*flags, *sources(), TESTS / "counting.c", TESTS / "calls.c", "-lZydis", "-o", path)
        return str(path)


_BUILT: list[Built] = []


def build_library(place: Path) -> Built:
    """Build into a directory what all tests use, or return what this process has built before."""
    if _BUILT:
        return _BUILT[0]
    built = Built(place)
    gcc(*COMMON, *LIBRARY, *sources(), "-shared", "-Wl,-z,nodelete", "-Wl,-z,defs", "-o", built.library, "-lZydis")
    gcc(*COMMON, *HANDLERS, "-c", TESTS / "counting.c", "-o", place / "counting.o")
    gcc(*COMMON, "-std=gnu11", "-fPIC", "-shared", TESTS / "later.c", "-o", built.later)
    gcc(
        *COMMON, *HANDLERS, "-shared", TESTS / "preload.c", place / "counting.o", built.library,
        f"-Wl,-rpath,{place}", "-o", built.preload,
    )
    gcc(*COMMON, "-std=gnu11", *sorted(HOOK.glob("inject*.c")), "-o", built.inject)
    _BUILT.append(built)
    return built
