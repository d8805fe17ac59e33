"""Driver for conformance: does an engine do what instructions are defined to do? Nothing is timed.

A case is a class of instructions; its programs come from tables in which their results are written down. A cell is *ok* when every
program of the class gave exactly that result, and left exactly that in memory; *failed* when one gave another, or the process died of
it; *unsupported*, in the engine's own words, when all that it took were right but it refused some. The metric is how many are right: the
first time a class is looked at all of its programs run, and each later sample runs a part of them again, in turn.

What is known of an engine stands in its runtime's ``deviates``: the case is then unsupported, with what is known and what was seen.

Options of an arm: ``runner`` (the command; places as in engines). Parameter of the experiment: ``tables`` (a folder below the first
package). Parameters of a case: ``instructions`` and ``beside``, or ``programs`` (names).
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bpfbench.drivers.casetable import Row, about, named, read_tables
from bpfbench.drivers.common import START_DEADLINE, Garbled, environment, environment_of, expand, fields_of, hear
from bpfbench.model.types import Case
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import Died, ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

STALL = 10.0
"""Seconds for a program of a few instructions, on a machine that stalls."""
PARTS = 10
"""Into which a class is divided for samples."""
AT_ONCE = 32
"""Programs that are told before the answers are read: they fit into a pipe."""
NAMED = 3
"""Programs that a reason names."""


@dataclass(slots=True)
class _Outcome:
    """What came of the programs of a class, on one engine."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def create() -> ConformanceDriver:
    """Return a driver for one run."""
    return ConformanceDriver()


class ConformanceDriver:
    """See the module."""

    def __init__(self) -> None:
        self._processes: dict[str, tuple[Child, str]] = {}
        self._rows: list[Row] = []
        self._started = 0
        self._turns: Counter[tuple[str, str]] = Counter()

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Run every program of the class."""
        rows = self._programs(bench, cell.case)
        return self._take(bench, cell, rows, len(rows)), {"programs": len(rows)}

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Run the next part of the class's programs again."""
        rows, turn = self._programs(bench, cell.case), self._turns[cell.id]
        self._turns[cell.id] += 1
        parts = max(1, min(PARTS, len(rows)))
        return self._take(bench, cell, rows[turn % parts :: parts], plan["programs"])

    def _take(self, bench: Bench, cell: Cell, rows: list[Row], known: int) -> Sample:
        """Run programs of a class that has ``known`` ones."""
        outcome = _Outcome()
        try:
            while (done := outcome.right + len(outcome.wrong) + len(outcome.refused)) < len(rows):
                self._run(bench, cell, rows[done:], outcome)
            engine = self._process(bench, cell)[1]
        except (Garbled, ProcessError) as error:
            self._drop(cell.arm.name)
            return Sample.failed(str(error))
        return judged(cell, outcome, len(rows), known, engine)

    def _programs(self, bench: Bench, case: Case) -> list[Row]:
        if not self._rows:
            self._rows = read_tables(bench.outputs[bench.experiment.packages[0]] / bench.experiment.params["tables"])
        if "programs" in case.params:
            return named(self._rows, case.params["programs"])
        return about(self._rows, case.params["instructions"], case.params.get("beside", ()))

    def _process(self, bench: Bench, cell: Cell) -> tuple[Child, str]:
        arm = cell.arm.name
        if arm not in self._processes:
            self._started += 1
            work = bench.work / f"conformance-{self._started}"
            work.mkdir()
            words = tuple(expand(word, bench, work) for word in cell.arm.options["runner"])
            env = environment(environment_of(cell.runtime), work, bench.outputs, f"{bench.reaper.mark}.{work.name}")
            child = bench.reaper.start(Command(words, env, work, "engine", stdin=True, cpus=bench.measured_cpus), work)
            self._processes[arm] = child, hear(child, "READY", START_DEADLINE)["engine"]
        return self._processes[arm]

    def _drop(self, arm: str) -> None:
        if arm in self._processes:
            self._processes.pop(arm)[0].stop()

    def _run(self, bench: Bench, cell: Cell, rows: list[Row], outcome: _Outcome) -> None:
        """Run programs until all are done, or the process dies of one: that one is wrong, and the next process goes on behind it."""
        child = self._process(bench, cell)[0]
        for index, row in enumerate(rows):
            if index % AT_ONCE == 0:
                with suppress(ProcessError):  # it may die before it has read all: answers tell of which
                    child.send("\n".join(f"run {each.words}" for each in rows[index : index + AT_ONCE]))
            try:
                line = child.expect(re.compile(r"^(RAN|REFUSED|ERROR) "), STALL)
            except ProcessError as error:
                self._drop(cell.arm.name)
                outcome.wrong.append(f"{row.name}: {_end(error)}")
                return
            _take(row, line, outcome)


def _end(error: ProcessError) -> str:
    """Return how an engine ended, in words that are the same every time."""
    if isinstance(error, Died) and error.exit.signal:
        return f"the engine is killed by {error.exit.signal}"
    return "the engine ends" if isinstance(error, Died) else "no answer comes"


def _take(row: Row, line: str, outcome: _Outcome) -> None:
    """Note what came of one program."""
    word, body = line.split(" ", 1)
    found = fields_of(line, body)
    if word == "ERROR":
        raise Garbled(f"{row.name}: {found['message']}")
    if word == "REFUSED":
        outcome.refused.append(f"{row.name}: {last_words(found['message'])}")
    elif found["result"] != row.result:
        outcome.wrong.append(f"{row.name}: the result is {_number(found['result'])}, not {_number(row.result or '')}")
    elif found["data"] != list(row.after.values()):
        outcome.wrong.append(f"{row.name}: it leaves something else in memory")
    else:
        outcome.right += 1


def last_words(message: str) -> str:
    """Return what an engine says of a program that it refuses: the last line of a verifier's log that is about the program."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and not line.startswith("processed ")]
    return lines[-1] if lines else "refused without a word"


def _number(word: str) -> str:
    return hex(int.from_bytes(bytes.fromhex(word), "little"))


def judged(cell: Cell, outcome: _Outcome, total: int, known: int, engine: str) -> Sample:
    """Return the sample: ok only if each of ``total`` programs, of the ``known`` ones of its class, was right, and on the right engine."""
    proof = Proof("programs with the right result", total, outcome.right)
    evidence = {"programs": total, "refused": len(outcome.refused), "wrong": len(outcome.wrong)}
    about: dict[str, Any] = {"proof": proof, "engine": engine, "evidence": evidence}
    if engine != cell.runtime.engine:
        return Sample.failed(f"ran on the engine {engine}, expected {cell.runtime.engine}", **about)
    if not total:
        return Sample.failed("the tables have no such program", **about)
    if outcome.wrong:
        why = f"{len(outcome.wrong)} of {total} wrong: {_some(outcome.wrong)}"
        told = cell.runtime.deviates.get(cell.case.name)
        return Sample.unsupported(f"wrong, as is known: {told} ({why})", **about) if told else Sample.failed(why, **about)
    if outcome.refused:
        return Sample.unsupported(f"{len(outcome.refused)} of {total} refused: {_some(outcome.refused)}", **about)
    return Sample("ok", metrics={"right": float(known)}, **about)


def _some(texts: list[str]) -> str:
    return "; ".join(texts[:NAMED]) + (" …" if len(texts) > NAMED else "")
