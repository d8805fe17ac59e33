"""Driver for traced system calls: programs on tracepoints of one call, and a victim that makes it and times itself.

The kernel's tracepoints see every process of the machine, so programs count the victim alone, and are attached only while their own
sample lasts. Each must have counted every timed call exactly; a call whose context does not say what the victim did is not counted.

An arm's option ``attach`` takes the place of the cases' own: it watches another call, one that is made after the timed ones. What such an
arm costs is what it takes to divert calls without running anything; its program must have counted those other calls and no more.

Parameters of a case: ``call`` that is timed; ``attach`` (``tracepoint:PROGRAM:CATEGORY/NAME`` each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, hear, tell
from bpfbench.drivers.pair import Invalid, Pair, PairDriver
from bpfbench.sampling import Proof

MARKS = 1000
"""Calls of the other kind, made after the timed ones."""


def create() -> PairDriver:
    """Return a driver for one run."""
    return PairDriver(SyscallPair)


class SyscallPair(Pair):
    """See the module."""

    loader_mounts = True

    def loader_words(self) -> list[str]:
        """Let a loader that attaches to the kernel's tracepoints find them."""
        return ["--mount-tracefs"] if self.cell.runtime.where == "kernel" else []

    def victim_words(self) -> list[str]:
        """Return which call is made."""
        return ["--call", self.params["call"]]

    def attachments(self) -> Sequence[str]:
        """Return the arm's attachments, if it has its own, else the case's."""
        return list(self.cell.arm.options.get("attach") or self.params["attach"])

    def prepare(self, ready: Mapping[str, Any]) -> None:
        """Let the programs count the victim alone."""
        if self.loader is not None:
            tell(self.loader, f"only {ready['pid']}", "OK only", START_DEADLINE)

    def conclude(self, done: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make the other calls. Raises ``Invalid`` when a timed call had another result than the right one."""
        assert self.victim is not None
        self.victim.send(f"mark {MARKS}")
        last = hear(self.victim, "MARKED", START_DEADLINE)
        if last["wrong"]:
            raise Invalid(f"{last['wrong']} of {last['calls']} calls had a wrong result")
        if last["marks"] != MARKS:
            raise Invalid(f"{last['marks']} of the {MARKS} calls after the timed ones were made")
        return last

    def prove(self, calls: int, done: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        """Every program counted all calls that it watches, and none else."""
        expected = MARKS if self.cell.arm.options.get("attach") else calls
        for name, hits in counters["hits"].items():
            if hits != expected:
                return Proof(f"hits of {name}", expected, hits)
        return Proof("hits", expected, expected)
