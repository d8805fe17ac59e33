"""What benchmarks/embedded.py measures: samples, each of a fresh loader and a fresh target."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALM = 40
"""Rounds that a sample wants with the core to itself, of at most four times as many."""
ROUND_NS = 300_000
OPERATIONS = 1000
"""Inner operations a hit of the programs that have any."""
RING_RECORDS = (1 << 20) // 16 - 64
STARTS = 60
PLACES = (
    "malloc", "free", "calloc", "realloc", "fopen", "fclose", "fread", "fwrite", "open", "read", "write", "close", "getenv",
    "setlocale", "exit", "puts", "printf", "qsort",
)  # fmt: skip

# --- processes ----------------------------------------------------------------------------------------------------


class Wrong(Exception):
    """Something was not as it has to be, so that no figure would mean anything."""


class Partner:
    """A loader or a target: one line is the answer to one command."""

    def __init__(self, argv: Sequence[str | Path], env: Mapping[str, str], cpus: set[int]) -> None:
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cpus)), *map(str, argv)], env=dict(env), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.hear()

    def hear(self) -> Any:
        """Return the fields of the next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        word, _, rest = line.partition(" ")
        if word in ("", "ERROR"):
            raise Wrong(f"{self.process.args!r}: {line or 'ended'}")
        return json.loads(rest) if rest.startswith("{") else {}

    def ask(self, command: str) -> Any:
        """Return the answer to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.hear()

    def quit(self) -> None:
        """Let it end."""
        self.process.communicate("quit\n")
        if self.process.returncode:
            raise Wrong(f"{self.process.args!r} ended with {self.process.returncode}")


@dataclass(frozen=True)
class Place:
    """Where everything is, and the copies of targets: a probe of the kernel sits on the file."""

    work: Path
    runtime: Path
    uprobe: Path
    own: Path
    calm: list[int] = field(default_factory=list)
    """The lowest reading of the core's gauge."""

    def env(self, arm: str, library: str) -> dict[str, str]:
        """Return the environment of a process on that arm."""
        bare = {"PATH": os.environ["PATH"], "LANG": "C", "HOME": str(self.work)}
        if arm != "embedded":
            return bare
        return {**bare, "LD_PRELOAD": str(self.runtime / library), "EMBEDDED_SEGMENT": self.segment}

    @property
    def segment(self) -> str:
        """The name of this run's shared memory."""
        return f"figures-{os.getpid()}"

    def target(self, arm: str, source: Path) -> Path:
        """Return the arm's own copy."""
        copy = self.work / f"{arm}-{source.name}"
        return copy if copy.exists() else Path(shutil.copy2(source, copy))

    @contextmanager
    def loader(self, arm: str, argv: Sequence[str | Path]) -> Iterator[Partner]:
        """Run a loader beside what is in the block."""
        partner = Partner(argv, self.env(arm, "shim.so"), {0})
        yield partner
        partner.quit()

    def start(self, arm: str, argv: Sequence[str | Path], cpus: set[int] | None = None) -> Partner:
        """Start a target."""
        return Partner(argv, self.env(arm, "agent.so"), cpus or {max(os.sched_getaffinity(0))})


# --- samples ------------------------------------------------------------------------------------------------------


def fastest(done: Mapping[str, Any]) -> int:
    """Return the fastest calm round, or the fastest of all."""
    rounds, calm = done["rounds"], done.get("calm", ())
    chosen = [spent for spent, was in zip(rounds, calm, strict=False) if was]
    return int(min(chosen or rounds))


def calls_a_round(once: Callable[[int], int]) -> int:
    """Return how many calls fill a round."""
    calls = 16
    while (spent := once(calls)) < ROUND_NS and calls < 1 << 20:
        calls = max(calls * 2, min(calls * 16, ROUND_NS * calls // max(spent, 1)))
    return max(1, calls * ROUND_NS // max(spent, ROUND_NS))


@dataclass(frozen=True)
class Hit:
    """ns per call of a function with one program on it."""

    program: str
    function: str
    kind: str = "uprobe"
    fill: str = ""
    before: str = ""
    inner: int = 0
    own: bool = False
    """Whether the program is one of this benchmark's."""

    def __call__(self, place: Place, arm: str) -> float:
        target = place.target(arm, place.uprobe / "victim")
        attach = [f"{self.kind}:{self.program}:{self.function}"]
        if self.before:
            attach.append(f"uprobe:{self.before}:bench_refill")
        with place.loader(arm, self._loader(place, target, attach)) as loader:
            options = [f"--before={'bench_refill'}"] if self.before else []
            options += [f"--calm={place.calm[0]}"] if place.calm else []
            victim = place.start(arm, [target, f"--function={self.function}", *options])
            calls = calls_a_round(lambda n: int(victim.ask(f"run {n} 1")["rounds"][0]))
            loader.ask("reset")
            done = victim.ask(f"run {calls} {CALM} {4 * CALM}")
            victim.quit()
            place.calm[:] = [done["core"]]
            self._check(loader.ask("read"), done["made"])
        return fastest(done) / calls

    def _loader(self, place: Place, target: Path, attach: list[str]) -> list[str | Path]:
        if self.own:
            return [place.own / "loader", place.own / "program.bpf.o", target, *attach]
        fill = [f"--fill={self.fill}:1000"] if self.fill else []
        at = place.uprobe
        return [at / "loader", "--object", at / "program.bpf.o", "--target", target, *(f"--attach={one}" for one in attach), *fill]

    def _check(self, counted: Mapping[str, Any], made: int) -> None:
        found = counted["hits"][self.program], counted["inner"][self.program]
        if found != (made, made * self.inner):
            raise Wrong(f"{self}: {made} calls, but {found} were counted")


@dataclass(frozen=True)
class Record(Hit):
    """ns per call of a function whose program reserves and submits one record, for which there is room; nobody reads meanwhile."""

    def __call__(self, place: Place, arm: str) -> float:
        target = place.target(arm, place.uprobe / "victim")
        with place.loader(arm, self._loader(place, target, [f"uprobe:{self.program}:{self.function}"])) as loader:
            victim = place.start(arm, [target, f"--function={self.function}"])
            best, calls = 0, RING_RECORDS // CALM
            for _ in range(4):  # the first time round touches the pages
                loader.ask("reset")
                done = victim.ask(f"run {calls} {CALM}")
                counted, taken = loader.ask("read")["inner"][self.program], loader.ask("drain")["records"]
                if not counted == taken == calls * CALM:
                    raise Wrong(f"{calls * CALM} calls, {counted} records counted and {taken} received")
                best = min(best or fastest(done), fastest(done))
            victim.quit()
        return best / calls


@dataclass(frozen=True)
class Calls:
    """ns per system call, traced or (without a program) bare."""

    programs: tuple[str, ...] = ()

    def __call__(self, place: Place, arm: str) -> float:
        target = place.target(arm, place.own / "caller")
        if arm == "bare":
            return self._time(place, arm, target)[0]
        attach = [f"tracepoint:call_{side}:syscalls/sys_{side}_getppid" for side in self.programs]
        with place.loader(arm, [place.own / "loader", place.own / "program.bpf.o", target, *attach]) as loader:
            each, made = self._time(place, arm, target)
            counted = loader.ask("read")["hits"]
            for side in self.programs:  # all of the machine's are counted by the kernel
                if counted[f"call_{side}"] < made or (arm == "embedded" and counted[f"call_{side}"] != made):
                    raise Wrong(f"{made} calls, but {counted} were counted")
        return each

    def _time(self, place: Place, arm: str, target: Path) -> tuple[float, int]:
        caller = place.start(arm, [target, "calls", *map(str, place.calm)])
        made = 0

        def once(calls: int, rounds: int = 1) -> int:
            nonlocal made
            done = caller.ask(f"run {calls} {rounds} 0")
            made += calls * done["made"]
            place.calm[:] = [min([done["core"], *place.calm])]
            return fastest(done)

        calls = calls_a_round(once)
        spent = once(calls, 2 * CALM)
        caller.quit()
        return spent / calls, made


@dataclass(frozen=True)
class Threads:
    """By how much more two threads get done than one: of hits on one map, or (without a program) of nothing shared."""

    program: str = ""
    calls: int = 20_000

    def __call__(self, place: Place, arm: str) -> float:
        target = place.target(arm, place.own / "caller")
        if not self.program:
            return self._scale(place, "bare", [target, "native"])[0]
        attach = f"uprobe:{self.program}:bench_thread"
        with place.loader(arm, [place.own / "loader", place.own / "program.bpf.o", target, attach]) as loader:
            scale, made = self._scale(place, arm, [target, "threads"])
            if (counted := loader.ask("sum")["sum"]) != made:
                raise Wrong(f"{made} calls, but {counted} were counted")
        return scale

    def _scale(self, place: Place, arm: str, argv: list[str | Path]) -> tuple[float, int]:
        caller = place.start(arm, argv, os.sched_getaffinity(0))
        best: dict[int, int] = {}
        made = 0
        for _ in range(6):
            for threads in (1, 2):
                spent = fastest(caller.ask(f"run {self.calls} {CALM} {threads}"))
                best[threads] = min(best.get(threads, spent), spent)
                made += threads * (self.calls * CALM + 16)
        caller.quit()
        return 2 * best[1] / best[2], made


@dataclass(frozen=True)
class Starts:
    """µs from the start of /bin/true to its end: bare, or with 18 programs on functions of its libc.

    Both are started in turn, whichever is asked for. The fastest of many counts, as everywhere here.
    """

    def __call__(self, place: Place, arm: str) -> float:
        attach = [f"uprobe:start_{i}:{function}" for i, function in enumerate(PLACES)]
        with place.loader("embedded", [place.own / "loader", place.own / "program.bpf.o", libc(), *attach]) as loader:
            argv = [place.own / "starts", str(STARTS), place.runtime / "agent.so", place.segment, "/bin/true"]
            out = subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True).stdout
            if loader.ask("read")["hits"]["start_14"] != STARTS:
                raise Wrong("a process ended without its probe on exit")
        return min(int(line.split()[2 if arm == "embedded" else 1]) for line in out.splitlines()) / 1000


def libc() -> str:
    """Return the libc that /bin/true uses."""
    for line in subprocess.check_output(["ldd", "/bin/true"], text=True).splitlines():
        if "libc.so" in line:
            return os.path.realpath(line.split()[2])
    raise Wrong("/bin/true uses no libc that ldd knows")
