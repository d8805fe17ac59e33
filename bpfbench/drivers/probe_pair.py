"""Driver for probed functions: a loader that attaches, and a victim that calls a function and times itself.

A sample is a fresh pair. The loader attaches to this arm's own copy of the victim before the victim starts; the victim warms
up; the loader resets its counters; only then come the timed calls. The counters, read after the victim has exited, must equal
the number of calls exactly: that is the sample's proof. A bare arm (no loader) proves that its text was never touched.

Parameters of a case: ``function`` that is called and ``first_instruction`` that it must begin with; ``attach``
(``KIND:PROGRAM:FUNCTION`` each), ``fill`` (``MAP:ENTRIES`` each), ``before`` (a function called, untimed, before each call),
``writes`` (what the victim's buffer must begin with afterwards), ``refusable`` (why a kernel may refuse to load the program).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bpfbench.drivers.common import first_instruction
from bpfbench.drivers.pair import Invalid, Pair, PairDriver
from bpfbench.sampling import Proof


def create() -> PairDriver:
    """Return a driver for one run."""
    return PairDriver(ProbePair)


class ProbePair(Pair):
    """See the module."""

    def victim_words(self) -> list[str]:
        """Return which function is called, and which before each call."""
        words = ["--function", self.params["function"]]
        if self.params.get("before"):
            words += ["--before", self.params["before"]]
        return [*words, *self.params.get("victim_options", ())]

    def met(self, ready: Mapping[str, Any]) -> None:
        """See that the function begins with the instruction that the case is about."""
        found, wanted = first_instruction(ready["first_bytes"]), self.params.get("first_instruction")
        if wanted and found != wanted:
            raise Invalid(f"{self.params['function']} begins with {found} ({ready['first_bytes']}), expected {wanted}")

    def prove(self, calls: int, done: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        """Every program was hit by every call, and did all of its inner operations each time."""
        divisor = self.cell.case.divisor
        for name, hits in counters["hits"].items():
            if hits != calls:
                return Proof(f"hits of {name}", calls, hits)
            # Every program of a case with many operations does them all in each hit, also the one that only prepares.
            if divisor > 1 and counters["inner"].get(name, 0) != calls * divisor:
                return Proof(f"operations of {name}", calls * divisor, counters["inner"].get(name, 0))
        self._check_written(done)
        return Proof("hits", calls, calls)

    def describe(self, ready: Mapping[str, Any]) -> dict[str, Any]:
        """Return the name of the function's first instruction."""
        return {"first_instruction": first_instruction(ready["first_bytes"])}

    def _check_written(self, done: Mapping[str, Any]) -> None:
        wanted = self.params.get("writes")
        if wanted and not bytes.fromhex(done["buffer"]).startswith(wanted.encode()):
            raise Invalid(f"the victim's buffer holds {bytes.fromhex(done['buffer'])!r}, expected it to begin with {wanted!r}")
