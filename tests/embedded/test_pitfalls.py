"""What has been trouble, with the whole runtime: all of it at once, exact counts, and a target that goes on as before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import compile
from .conftest import ROOT, Segment
from .talk import Program

SOURCES = ROOT / "embedded/tests"
PLAIN, ENDS = 12, 14


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the loader, the target and the programs of this folder are."""
    return build(tmp_path_factory.mktemp("pitfalls"))


def build(tree: Path) -> Path:
    compile.program("probes", tree, *compile.LIBBPF, source=SOURCES)
    compile.bpf_object("pitfalls", tree, source=SOURCES)
    argv = ["g++", "-D_GNU_SOURCE", "-std=gnu++17", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-rdynamic"]
    subprocess.run([*argv, SOURCES / "pitfalls.cpp", "-o", tree / "pitfalls", "-lpthread"], check=True)
    return tree


class Pair:
    """A loader that has attached its programs, and a target that has not begun yet."""

    def __init__(self, programs: Path, segment: Segment, letters: str, *case: str, **settings: str) -> None:
        files = [programs / "probes", programs / "pitfalls.bpf.o", programs / "pitfalls"]
        self.segment = segment
        self.loader = Program([*files, "-1", letters], segment.loader())
        assert self.loader.line() == "READY", self.loader.errors()
        self.target = Program([programs / "pitfalls", *case], segment.target(**settings))
        self.target.json("READY")

    def run(self, deadline: float = 60) -> Any:
        """Let the target do it, and return what it expects."""
        assert self.target.process.stdin is not None
        self.target.process.stdin.write(b"go\n")
        line = self.target.line(deadline=deadline)
        assert line.startswith("EXPECTED "), self.target.errors()
        self.target.end_input()
        assert self.target.process.wait(20) == 0
        return json.loads(line.removeprefix("EXPECTED "))

    def counters(self) -> dict[str, list[int]]:
        """Return what was counted, in all three ways."""
        counted: dict[str, list[int]] = self.loader.json("COUNTERS", "read")
        return counted

    def status(self) -> Any:
        return json.loads(self.segment.status.read_text())

    def end(self) -> None:
        for program in (self.target, self.loader):
            if program.process.poll() is None:
                program.kill()


def exact(pair: Pair) -> None:
    """Do the case; all ways of counting agree with what the target did."""
    expected = pair.run()["counts"]
    assert sum(expected) > 100
    for way, counted in pair.counters().items():
        assert counted == expected, way
    status = pair.status()
    assert status["missed"] == 0
    assert all(program["attached"] and not program["error"] for program in status["programs"])
    pair.loader.quit()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made: list[Pair] = []
    yield made
    for pair in made:
        pair.end()


@pytest.mark.parametrize(
    ("case", "much", "letters"),
    [("storm", "20000", "er"), ("children", "8", "er"), ("thread_ends", "300", "er"), ("answered", "3000", "et")],
)
def test_counts_are_exact(
    programs: Path, segment: Segment, pairs: list[Pair], case: str, much: str, letters: str
) -> None:
    """Threads, signals, recursion, longjmp, exceptions and floating point; processes; threads' ends; answers."""
    pairs.append(Pair(programs, segment, letters, case, much))
    exact(pairs[0])


def test_jumps_out_of_signals_that_interrupt_hits(programs: Path, segment: Segment, pairs: list[Pair]) -> None:
    """Whoever has got into a function was counted; of those that a jump took away before that, some."""
    pairs.append(Pair(programs, segment, "er", "signal_jumps", "1000"))
    done = pairs[0].run()
    begun, completed = done["counts"][PLAIN : PLAIN + 2]
    for way, counted in pairs[0].counters().items():
        entries, returns = counted[ENDS : ENDS + 2]
        assert begun <= entries <= begun + done["jumps"], way
        assert completed <= returns <= begun, way
    assert pairs[0].status()["missed"] == 0
    pairs[0].loader.quit()
