"""Driver for engines: warm processes that run one program again and again, each with one engine.

A process stays alive over many samples and is replaced when it would be asked for the same case again: in each block every case so
gets a new process, loading is part of what varies, and no sample waits for a start. ``renew: false`` in an arm's options keeps
one process through the run, for an engine that takes seconds to load.

Compiling is timed by the engine's own process and is a metric of its own. Every run's result, and every byte of memory that it left,
must be those of the baseline arm; another result is a failure, whatever the time. An engine that was made to take a program which it
refuses (it says so: ``objection``) cannot fail with that: the case is unsupported in its own words.

Where a case says how many ``executions`` a call makes, the program itself has counted them, and the count must be exact.

Options of an arm: ``runner`` (the command; places as in runtimes' environments, and ``{python}``), ``engine`` (what the process must say
that it runs), ``renew``. Parameters of a case: ``program``, ``input``, ``executions``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, Garbled, environment, environment_of, expand, fields_of, hear, tell
from bpfbench.model.types import Arm, Case
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

ROUNDS = 25
"""Calm rounds that a sample wants."""
MOST_ROUNDS = 4 * ROUNDS
LEAST_CALM = 8
"""With fewer calm rounds than this all are used."""
LEAST_ROUND_NS = 1_000_000
"""A pilot doubles its calls until a round lasts this long."""
SHARE = 0.2
"""Of the profile's sample time: engines have many cells, and no start-up within a sample."""
MOST_CALLS = 2_000_000
STALL = 20.0
"""Seconds after which a process that does not answer is taken to hang."""


@dataclass(slots=True)
class _Process:
    """A warm process, and what has been asked of it."""

    child: Child
    work: Path
    cases: set[str] = field(default_factory=set)
    cpu: float = 0.0
    objection: str | None = None
    """What the engine itself has against the program that it was made to take."""


class _Refused(Exception):
    """The engine does not take the program; ``unsupported``: and says that it never will."""

    def __init__(self, message: str, *, unsupported: bool) -> None:
        super().__init__(message)
        self.unsupported = unsupported


def create() -> EngineDriver:
    """Return a driver for one run."""
    return EngineDriver()


class EngineDriver:
    """See the module."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}
        self._expected: dict[str, tuple[str, str]] = {}
        self._calm: int | None = None
        self._started = 0

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell and find out how many calls fill a round."""
        plan: dict[str, int] = {}
        return self._attempt(bench, cell, plan), plan

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        return self._attempt(bench, cell, dict(plan))

    def _attempt(self, bench: Bench, cell: Cell, plan: dict[str, int]) -> Sample:
        try:
            expected = self._reference(bench, cell.case)
            process = self._process(bench, cell)
            return self._measure(bench, cell, process, plan, expected)
        except _Refused as refused:
            return Sample.unsupported(str(refused)) if refused.unsupported else Sample.failed(str(refused))
        except (Garbled, ProcessError) as error:
            objection = self._drop(cell.arm.name)
            return against(objection, "it dies of it") if objection else Sample.failed(str(error))

    def _reference(self, bench: Bench, case: Case) -> tuple[str, str]:
        """Return the result and the digest of the memory that the baseline's process gives for a case, asked once."""
        if case.name not in self._expected:
            arm = next(arm for arm in bench.experiment.arms if arm.name == bench.experiment.baseline)
            process = self._start(bench, arm, {})
            try:
                self._load(process, case)
                done = tell(process.child, "run 1 1 1", "DONE", STALL)
            finally:
                process.child.stop()
            self._expected[case.name] = done["result"], done["memory"]
        return self._expected[case.name]

    def _process(self, bench: Bench, cell: Cell) -> _Process:
        arm = cell.arm.name
        known = self._processes.get(arm)
        if known and cell.case.name in known.cases and cell.arm.options.get("renew", True):
            self._drop(arm)
            known = None
        if known is None:
            known = self._processes[arm] = self._start(bench, cell.arm, environment_of(cell.runtime))
        return known

    def _drop(self, arm: str) -> str | None:
        """End an arm's process; return what its engine had against the program that it was executing."""
        if arm not in self._processes:
            return None
        process = self._processes.pop(arm)
        process.child.stop()
        return process.objection

    def _start(self, bench: Bench, arm: Arm, extra: Mapping[str, str]) -> _Process:
        self._started += 1
        work = bench.work / f"engine-{self._started}"
        work.mkdir()
        segment = f"{bench.reaper.mark}.{bench.work.name}.{self._started}"
        command = Command(
            tuple(expand(word, bench, work) for word in arm.options["runner"]),
            environment(extra, work, bench.outputs, segment), work, "engine", stdin=True, cpus=bench.measured_cpus,
        )  # fmt: skip
        process = _Process(bench.reaper.start(command, work), work)
        hear(process.child, "READY", START_DEADLINE)
        return process

    def _load(self, process: _Process, case: Case) -> dict[str, Any]:
        """Load the case's program. Raises ``_Refused`` with the engine's words."""
        process.cases.add(case.name)
        process.objection = None
        process.child.send(f"load {case.params['program']} {case.params['input']}")
        line = process.child.expect(re.compile(r"^(LOADED|REFUSED|UNSUPPORTED) "), START_DEADLINE)
        word, body = line.split(" ", 1)
        found = fields_of(line, body)
        if word != "LOADED":
            raise _Refused(found["message"], unsupported=word == "UNSUPPORTED")
        process.objection = found.get("objection")
        return found

    def _measure(self, bench: Bench, cell: Cell, process: _Process, plan: dict[str, int], expected: tuple[str, str]) -> Sample:
        loaded = self._load(process, cell.case)
        if not plan:
            plan.update(self._calibrate(bench, process))
        if self._calm:
            tell(process.child, f"calm {self._calm}", "OK calm", START_DEADLINE)
        tell(process.child, f"run {plan['calls']} 1 1", "DONE", self._deadline(bench))  # warm caches and predictors
        done = tell(process.child, f"run {plan['calls']} {ROUNDS} {MOST_ROUNDS}", "DONE", self._deadline(bench))
        self._calm = done["core"] or self._calm  # 0: a process that has no gauge
        cpu, process.cpu = done["cpu_ns"] / 1e9 - process.cpu, done["cpu_ns"] / 1e9
        return judged(cell, loaded, done, expected, cpu, plan["calls"])

    def _calibrate(self, bench: Bench, process: _Process) -> dict[str, int]:
        calls = 4
        while True:
            spent = tell(process.child, f"run {calls} 1 1", "DONE", self._deadline(bench))["rounds"][0]
            if spent >= LEAST_ROUND_NS or calls >= MOST_CALLS:
                break
            calls *= 2
        wanted = SHARE * bench.profile.sample_time * 1e9 / ROUNDS / max(spent / calls, 0.1)
        return {"calls": max(1, min(MOST_CALLS, round(wanted)))}

    def _deadline(self, bench: Bench) -> float:
        return STALL + 100 * bench.profile.sample_time


def judged(
    cell: Cell, loaded: Mapping[str, Any], done: Mapping[str, Any], expected: tuple[str, str], cpu: float, calls: int
) -> Sample:
    """Return the sample: ok only with the right result, the right memory and the right engine."""
    observed, wanted = (done["result"], done["memory"]), cell.arm.options.get("engine", cell.runtime.engine)
    proof, executions = Proof("result and memory", 1, int(observed == expected)), cell.case.params.get("executions")
    if executions == 0 and done["hits"]:
        return Sample.failed(f"{done['hits']} executions in a case that has none")
    if executions:
        proof = Proof("executions", executions * done["calls"], done["hits"])
    kept = {name: loaded[name] for name in ("engine", "program", "code_size")} | {"objection": loaded.get("objection")}
    evidence = {**kept, "result": observed[0], "rounds": len(done["rounds"]), "calm_rounds": sum(done["calm"]), "calls": calls}
    about: dict[str, Any] = {
        "proof": proof, "engine": loaded["engine"], "evidence": evidence,
        "cpu": cpu, "calm": fmean(done["calm"]),
    }
    if observed != expected and loaded.get("objection"):
        return against(loaded["objection"], "another result comes out")
    if observed != expected:
        what = f"result {observed[0]}, expected {expected[0]}" if observed[0] != expected[0] else "the memory that it left is another"
        return Sample.failed(f"wrong: {what} ({json.dumps(cell.case.params)})", **about)
    if not proof.holds:
        return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
    if wanted and loaded["engine"] != wanted:
        return Sample.failed(f"ran on the engine {loaded['engine']}, expected {wanted}", **about)
    if min(done["rounds"]) <= 0:
        return Sample.failed("a round took no time at all", **about)
    metrics = times(done["rounds"], done["calm"], calls)
    if loaded["compile_ns"]:  # a machine's own code is not compiled here
        metrics["compile"] = float(loaded["compile_ns"])
    if loaded["code_size"] is not None:
        metrics["code_size"] = float(loaded["code_size"])
    return Sample("ok", metrics=metrics, **about)


def against(objection: str, outcome: str) -> Sample:
    """Return a sample of a program that the engine refused, that it was made to execute, and that did not work out."""
    return Sample.unsupported(f"refused: {objection}; made to execute it all the same, {outcome}")


def times(rounds: list[int], calm: list[int], calls: int) -> dict[str, float]:
    """Return ns per execution over the calm rounds, or over all where too few were calm."""
    chosen = [spent for spent, was_calm in zip(rounds, calm, strict=True) if was_calm]
    if len(chosen) < LEAST_CALM:
        chosen = rounds
    return {"time": min(chosen) / calls, "time_median": median(chosen) / calls, "time_mean": fmean(chosen) / calls}
