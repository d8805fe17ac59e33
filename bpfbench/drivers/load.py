"""Driver for loading and attaching: how long until a loader is ready, a target's programs are hit, a running target's are.

Three durations, all between two readings of the same clock in the processes themselves, from the moment at which a small launcher
becomes the program in question:

``ready``   the loader's launch → all programs are loaded and attached, and it says so
``start``   the target's launch → every program has been hit once (the bare arm: every function has been called once)
``attach``  the call that attaches, or the launch of the injector → every program has been hit in a target that runs already

Of each duration the part that is compiling is a metric of its own, ``compile``, absent where nothing is compiled meanwhile. A userspace
runtime's agent has timed it (``compile_ns`` and ``loader_compile_ns`` of its status). The kernel tells no such time: it is by how much
loading one of the programs again, right afterwards, takes longer than its verifier says that it took, which is compiling and the
bookkeeping around it; the median of some times, for each program.

``cpu`` is what the loader computed during the duration. The kernel mostly waits in it, for grace periods that end when they end: its times
scatter for that reason and no other, and no statistic of them would say less. What it computes does not scatter.

A sample is proved by the programs: each must have been hit, exactly once where the target calls each function once; also after
``ready``, for which a target is started all the same: one pair gives a sample of ``ready`` and one of ``start``.

Detaching takes the kernel a grace period of a tenth of a second for each probe, in which nobody else can attach: it is waited for.

Parameters of a case: ``duration``, ``programs``. Options of an arm: ``inject`` (a command that brings the runtime into a running
process; places as in environments, and ``{pid}``).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, Garbled, environment, fields_of, hear, remove_segments, tell
from bpfbench.drivers.pair import Invalid, check_mapped, evidence_of, leave
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

HIT_DEADLINE = 20.0
"""Seconds for every program to be hit in a running target."""
LOOK = 0.002
"""Seconds between two looks at whether they have been."""
PRELOAD = "LAUNCH_LD_PRELOAD"
"""What the launcher makes ``LD_PRELOAD``: nothing is preloaded into itself."""
LOADED_AGAIN = 5
"""Times that the kernel is given a program once more."""


def create() -> LoadDriver:
    """Return a driver for one run."""
    return LoadDriver()


class LoadDriver:
    """See the module."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._kept: dict[tuple[str, str], Sample] = {}
        """(arm, case) → the sample that the pair for another case gave for this one."""

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell; there is nothing to plan."""
        return self.sample(bench, cell, {}, 0), {}

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        why = unsupported(cell)
        if why:
            return Sample.unsupported(why)
        kept = self._kept.pop((cell.arm.name, cell.case.name), None)
        return kept or self._measure(bench, cell)

    def _measure(self, bench: Bench, cell: Cell) -> Sample:
        work = bench.work / f"load-{next(self._numbers)}"
        work.mkdir()
        trial = _Trial(bench, cell, work)
        try:
            taken = trial.measure()
        except (Invalid, Garbled, ProcessError) as error:
            return Sample.failed(str(error))
        finally:
            trial.stop()
            shutil.rmtree(work, ignore_errors=True)
        for case in bench.experiment.cases:
            duration, same = case.params["duration"], case.params["programs"] == cell.case.params["programs"]
            if same and case.name != cell.case.name and duration in taken:
                self._kept[cell.arm.name, case.name] = taken[duration]
        return taken[cell.case.params["duration"]]


def unsupported(cell: Cell) -> str | None:
    """Return why an arm has no such duration, None if it has."""
    duration = cell.case.params["duration"]
    if cell.runtime.where == "none" and duration != "start":
        return "nothing is loaded or attached"
    if "inject" in cell.arm.options and duration != "attach":
        return "it is brought into processes that run already"
    return None


class _Trial:
    """The processes of one sample."""

    def __init__(self, bench: Bench, cell: Cell, work: Path) -> None:
        self.bench, self.cell, self.work = bench, cell, work
        self.n: int = cell.case.params["programs"]
        self.package = bench.outputs[bench.experiment.packages[0]]
        self.segment = f"{bench.reaper.mark}.{bench.work.name}.{work.name}"
        self.children: list[Child] = []
        self.loader: Child | None = None
        self.loaded: dict[str, Any] = {}
        self.parts: dict[str, dict[str, float]] = {}
        """Duration → metrics that are parts of it, in microseconds."""
        # A copy of its own: a kernel probe sits on the inode.
        self.victim_file = Path(shutil.copy(self.package / "victim", work / "victim"))
        self.victim_file.chmod(0o755)

    def measure(self) -> dict[str, Sample]:
        """Return a sample for each duration that this pair gives."""
        if self.cell.case.params["duration"] == "attach":
            return {"attach": self._attach()}
        return self._start()

    def stop(self) -> None:
        """End whatever still runs; a loader in its own time, because the kernel detaches while it ends."""
        for child in self.children:
            if child is self.loader and child.alive:
                with contextlib.suppress(ProcessError):
                    child.send("quit")
                    child.wait(START_DEADLINE)
            child.stop()
        remove_segments(self.segment)

    def _start(self) -> dict[str, Sample]:
        launched = self._load(hold=False) if self.cell.runtime.where != "none" else 0
        words = [str(self.victim_file), "--functions", str(self.n)]
        victim, begun = self._launch("victim", words, self.cell.runtime.target_env, self.bench.measured_cpus)
        ready = hear(victim, "READY", START_DEADLINE)
        check_mapped(victim, PRELOAD)
        leave(victim, "the victim")
        if self.loader is None:
            return {"start": self._sample("start", ready["called_ns"] - begun, Proof("untouched", 0, 0))}
        hits = tell(self.loader, "read", "COUNTERS", START_DEADLINE)["hits"]
        proof = Proof("programs hit once", self.n, sum(one == 1 for one in hits))
        self.parts["ready"] = {"cpu": self.loaded["cpu_ns"] / 1e3, **self._compiled("loader_compile_ns"), **self._compiled_by_kernel()}
        self.parts["start"] = self._compiled("compile_ns")
        start = self._sample("start", ready["called_ns"] - begun, proof)
        return {"start": start, "ready": self._sample("ready", self.loaded["ready_ns"] - launched, proof)}

    def _attach(self) -> Sample:
        inject = self.cell.arm.options.get("inject")
        env = {} if inject else self.cell.runtime.target_env
        words = [str(self.victim_file), "--functions", str(self.n), "--spin"]
        victim, _ = self._launch("victim", words, env, self.bench.measured_cpus)
        pid = hear(victim, "READY", START_DEADLINE)["pid"]
        check_mapped(victim, PRELOAD)
        self._load(hold=not inject)
        assert self.loader is not None
        if inject:
            words = [word.replace("{pid}", str(pid)) for word in inject]
            begun = self._inject(words)
        else:
            attached = tell(self.loader, f"attach {pid}", "ATTACHED", START_DEADLINE)
            begun, self.parts["attach"] = attached["began_ns"], {"cpu": attached["cpu_ns"] / 1e3}
        counters = self._wait_for_hits()
        leave(victim, "the victim")
        self.parts["attach"] = {**self.parts.get("attach", {}), **self._compiled("compile_ns")}
        hit = sum(one > 0 for one in counters["hits"])
        if min(counters["first_ns"]) < begun:
            raise Invalid("a program was hit before it was attached")
        return self._sample("attach", max(counters["first_ns"]) - begun, Proof("programs hit", self.n, hit))

    def _inject(self, words: list[str]) -> int:
        runtime = self.cell.runtime
        env = {name: value for name, value in runtime.target_env.items() if name != "LD_PRELOAD"}
        program = [re.sub(r"\{package:([^{}]+)\}", lambda found: str(self.bench.outputs[found[1]]), word) for word in words]
        injector, begun = self._launch("injector", program, env, self.bench.other_cpus)
        ended = injector.wait(START_DEADLINE)
        if not ended.ok:
            raise Invalid(f"the injector {ended}\n{injector.tail()}")
        return begun

    def _wait_for_hits(self) -> dict[str, Any]:
        assert self.loader is not None
        deadline = time.monotonic() + HIT_DEADLINE
        while True:
            counters = tell(self.loader, "read", "COUNTERS", START_DEADLINE)
            if all(counters["hits"]) or time.monotonic() > deadline:
                return counters
            time.sleep(LOOK)

    def _load(self, *, hold: bool) -> int:
        """Start the loader and wait until it is ready; return when it was launched."""
        package = self.package
        words = [str(package / "loader"), "--object", str(package / "program.bpf.o"), "--target", str(self.victim_file)]
        words += ["--programs", str(self.n), *["--hold"] * hold]
        self.loader, launched = self._launch("loader", words, self.cell.runtime.loader_env, self.bench.other_cpus)
        line = self.loader.expect(r"^(READY|ERROR) ", START_DEADLINE)
        word, body = line.split(" ", 1)
        found = fields_of(line, body)
        if word == "ERROR":
            raise Invalid(f"{found['stage']}: {found['message']}")
        check_mapped(self.loader, PRELOAD)
        self.loaded = found
        return launched

    def _launch(self, name: str, words: list[str], extra: Mapping[str, str], cpus: frozenset[int]) -> tuple[Child, int]:
        """Start a program by the launcher; return it, and the nanosecond at which the launcher became it."""
        renamed = {PRELOAD if key == "LD_PRELOAD" else key: value for key, value in extra.items()}
        env = environment(renamed, self.work, self.bench.outputs, self.segment)
        command = Command((str(self.package / "launch"), *words), env, self.work, name, stdin=True, cpus=cpus)
        child = self.bench.reaper.start(command, self.work)
        self.children.append(child)
        return child, hear(child, "LAUNCHED", START_DEADLINE)["at_ns"]

    def _compiled(self, field: str) -> dict[str, float]:
        """Return what the agent's status says of compiling all programs, if it has compiled any."""
        status = self.cell.runtime.status
        if not status:
            return {}
        try:
            told = json.loads(Path(status.replace("{work}", str(self.work))).read_bytes())
            spent = sum(program[field] for program in told["programs"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # no evidence, then: the sample fails for that
        return {"compile": spent / 1e3} if spent else {}

    def _compiled_by_kernel(self) -> dict[str, float]:
        if self.cell.runtime.where != "kernel":
            return {}
        assert self.loader is not None
        again = tell(self.loader, f"again {LOADED_AGAIN}", "AGAIN", START_DEADLINE)
        beyond = median(load - verify for load, verify in zip(again["load_ns"], again["verify_ns"], strict=True))
        return {"compile": self.n * beyond / 1e3} if beyond > 0 else {}

    def _sample(self, duration: str, spent_ns: int, proof: Proof) -> Sample:
        runtime = self.cell.runtime
        proved = evidence_of(runtime, self.work, self.loaded)
        evidence = {**proved.details, "programs": self.n, "libbpf": self.loaded.get("libbpf")}
        about: dict[str, Any] = {"proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence}
        if proved.wrong:
            return Sample.failed(proved.wrong, **about)
        if not proof.holds:
            return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
        if (proved.engine, proved.backend) != (runtime.engine, runtime.backend):
            wanted = f"{runtime.engine} and {runtime.backend}"
            return Sample.failed(f"ran on {proved.engine} and {proved.backend}, expected {wanted}", **about)
        if spent_ns <= 0:
            return Sample.failed(f"it took no time at all: {spent_ns} ns", **about)
        metrics = {"time": spent_ns / 1e3, **self.parts.get(duration, {})}
        if self.loaded:
            metrics["load"] = (self.loaded["open_ns"] + self.loaded["load_ns"]) / 1e3
        return Sample("ok", metrics=metrics, **about)
