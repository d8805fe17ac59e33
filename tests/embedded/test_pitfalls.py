"""What has been trouble, with the whole runtime: all of it at once, exact counts, and a target that goes on as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Segment
from .talk import Program, eventually, text_of

PLAIN, ENDS = 12, 14


class Pair:
    """A loader that has attached its programs, and a target that has not begun yet."""

    def __init__(
        self, pitfalls: Path, segment: Segment, letters: str, *case: str, alone: bool = False
    ) -> None:
        """With ``alone``, programs are attached to the one process; else to whoever runs the file."""
        files = [pitfalls / "probes", pitfalls / "pitfalls.bpf.o", pitfalls / "pitfalls"]
        self.segment = segment
        self.target = Program([pitfalls / "pitfalls", *case], segment.target())
        self.loader = Program([*files, str(self.target.pid) if alone else "-1", letters], segment.loader())
        assert self.loader.line() == "READY", self.loader.errors()
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
    ("case", "much"), [("storm", "20000"), ("children", "8"), ("thread_ends", "300"), ("answered", "3000")]
)
def test_counts_are_exact(pitfalls: Path, segment: Segment, pairs: list[Pair], case: str, much: str) -> None:
    """Threads, signals, recursion, longjmp, exceptions and floating point; processes; threads' ends; answers."""
    pairs.append(Pair(pitfalls, segment, "ert", case, much))
    exact(pairs[0])


def test_children_lose_the_probes_of_one_process(pitfalls: Path, segment: Segment, pairs: list[Pair]) -> None:
    """What counts are the target's threads, and its child of vfork, which runs in its memory."""
    pairs.append(Pair(pitfalls, segment, "ert", "children", "8", alone=True))
    pairs[0].run()
    for way, counted in pairs[0].counters().items():
        assert counted[PLAIN : PLAIN + 2] == [8 * 501] * 2, way
    pairs[0].loader.quit()


def test_jumps_out_of_signals_that_interrupt_hits(pitfalls: Path, segment: Segment, pairs: list[Pair]) -> None:
    """Whoever has got into a function was counted; of those that a jump took away before that, some."""
    pairs.append(Pair(pitfalls, segment, "ert", "signal_jumps", "1000"))
    done = pairs[0].run()
    begun, completed = done["counts"][PLAIN : PLAIN + 2]
    for way, counted in pairs[0].counters().items():
        entries, returns = counted[ENDS : ENDS + 2]
        assert begun <= entries <= begun + done["jumps"], way
        assert completed <= returns <= begun, way
    assert pairs[0].status()["missed"] == 0
    pairs[0].loader.quit()


def test_a_killed_loader_that_another_one_has_buried(
    pitfalls: Path, segment: Segment, pairs: list[Pair], tmp_path: Path
) -> None:
    """Loaders of other segments bury the dead of all: the target learns of it all the same."""
    file = pitfalls / "pitfalls"
    pairs.append(Pair(pitfalls, segment, "er", "load", "0"))
    target, loader = pairs[0].target, pairs[0].loader
    live = text_of(target.pid, file)
    loader.kill()
    other = Program([pitfalls / "probes", pitfalls / "pitfalls.bpf.o", file, "-1", "er", "later"],
                    Segment(segment.runtime, tmp_path).loader())  # fmt: skip
    assert other.line() == "READY", other.errors()
    eventually(lambda: text_of(target.pid, file) != live, "detached")
    other.quit()


STARTS = ("push", "mov", "movslq", "endbr", "nop5")


def cycles(pitfalls: Path, segment: Segment, start: str, times: int) -> None:
    """Attach and detach under the load of four threads; the text is what it was, and the target's sums are right."""
    target = Program([pitfalls / "pitfalls", "load", "0"], segment.target())
    files = [pitfalls / "probes", pitfalls / "pitfalls.bpf.o", pitfalls / "pitfalls"]
    loader = Program([*files, str(target.pid), "er", "later"], segment.loader())
    try:
        target.json("READY")
        assert target.process.stdin is not None
        target.process.stdin.write(b"go\n")
        assert loader.line() == "READY", loader.errors()
        bare = text_of(target.pid, pitfalls / "pitfalls")
        for _ in range(0, times, 50):
            assert loader.ask(f"cycle 50 starts_{start}") == "CYCLES 50"
            assert text_of(target.pid, pitfalls / "pitfalls") == bare
        counted = loader.json("COUNTERS", "read")
        assert loader.json("COUNTERS", "read") == counted, "nothing is counted when nothing is attached"
        assert all(way[PLAIN] for way in counted.values())
        loader.quit()
        target.end_input(b"stop\n")
        assert target.line().startswith("EXPECTED "), target.errors()
        assert target.process.wait(20) == 0
    finally:
        target.kill()
        loader.kill()


@pytest.mark.parametrize("start", STARTS)
def test_cycles_of_attaching_under_load(pitfalls: Path, segment: Segment, start: str) -> None:
    cycles(pitfalls, segment, start, 50)


@pytest.mark.long  # a minute or two each
@pytest.mark.parametrize("start", STARTS)
def test_ten_thousand_cycles_of_attaching_under_load(pitfalls: Path, segment: Segment, start: str) -> None:
    """On the first four together; each is two probes that come and go."""
    cycles(pitfalls, segment, start, 2500)
