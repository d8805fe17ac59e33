"""Pairs: a loader that attaches, and a victim that makes calls and times itself. What all drivers of such pairs share.

A sample is a fresh pair. On an instrumented arm the loader attaches before the victim starts; the victim warms up; the loader
resets its counters; only then come the timed calls. The counters, read after the victim has exited, prove the sample. A bare arm
(no loader) proves that its text was never touched.

A driver subclasses ``Pair`` and says what its victim is told, what is attached and what the counters must be.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from bpfbench.drivers.common import (
    START_DEADLINE,
    Garbled,
    environment,
    fields_of,
    hear,
    remove_segments,
    tell,
)
from bpfbench.drivers.evidence import Evidence, of_kernel, of_log, of_status, unmapped
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

if TYPE_CHECKING:
    from bpfbench.model.types import Runtime

ROUNDS = 100
"""Rounds a sample. What disturbs a call (a neighbour on the same core, an interrupt, the hypervisor) only ever adds to its time,
for milliseconds to seconds; with a hundred short rounds at least one is left alone, and the *fastest round* is the metric
``time``. It is a mean over all calls of that round, never a lucky single call. Median and mean of all rounds are kept beside it."""
MOST_ROUNDS = 8 * ROUNDS
"""Where a core has two hardware threads, the other one may belong to another machine; what it takes away comes and goes and is no
property of any arm. The victim sees it (workloads/common/gauge.h) and goes on until ROUNDS rounds were calm, but no further than this."""
LEAST_CALM = 20
"""With fewer calm rounds than this in a sample all of its rounds are used, and the sample says so."""
LEAST_ROUND_NS = 2_000_000
"""A pilot doubles its calls until a round lasts this long, so that it knows the time a call takes."""
STALL = 20.0
"""Seconds that a machine may stall before a victim that does not answer is taken to hang."""
MOST_CALLS = 2_000_000
"""Calls a round at most: a bare call of 2 ns needs no more for a clock of 30 ns resolution."""


class Refused(Exception):
    """The loader said ERROR: at which stage, and why."""

    def __init__(self, stage: str, reason: str, log: str | None) -> None:
        super().__init__(reason)
        self.stage, self.reason, self.log = stage, reason, log


class Invalid(Exception):
    """What was observed is not what the case says it measures."""


class PairDriver:
    """A driver that measures every sample with a fresh pair of its class ``pair``."""

    def __init__(self, pair: type[Pair]) -> None:
        self._pair = pair
        self._victims: dict[str, Path] = {}
        self._calm: int | None = None
        """The lowest reading of the core's gauge so far, in permille: what a calm core looks like."""

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell and find out how many calls fill the profile's sample time."""
        plan: dict[str, int] = {}
        sample = self._attempt(bench, cell, plan, 0)
        return sample, plan

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        return self._attempt(bench, cell, dict(plan), number)

    def _attempt(self, bench: Bench, cell: Cell, plan: dict[str, int], number: int) -> Sample:
        work = bench.work / f"sample-{number}"
        work.mkdir()
        pair = self._pair(bench, cell, work, self._victim(bench, cell), self._calm)
        try:
            sample = pair.measure(plan)
            self._calm = pair.calm
            return sample
        except Refused as refused:
            return refused_sample(cell, refused)
        except (Invalid, Garbled, ProcessError) as error:
            return Sample.failed(str(error))
        finally:
            pair.stop()
            shutil.rmtree(work, ignore_errors=True)

    def _victim(self, bench: Bench, cell: Cell) -> Path:
        """Return this arm's own copy of the victim: a kernel probe sits on the inode and must not be seen by other arms."""
        arm = cell.arm.name
        if arm not in self._victims:
            folder = bench.work / f"arm-{arm}"
            folder.mkdir()
            self._victims[arm] = Path(shutil.copy(_package(bench) / "victim", folder / "victim"))
            self._victims[arm].chmod(0o755)
        return self._victims[arm]


class Pair:
    """One loader (on an instrumented arm) and one victim, alive for one sample."""

    loader_mounts = False
    """Whether the loader mounts what only it is to see."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, victim: Path, calm: int | None) -> None:
        self.bench, self.cell, self.work, self.victim_file, self.calm = bench, cell, work, victim, calm
        self.params: Mapping[str, Any] = cell.case.params
        self.loader: Child | None = None
        self.victim: Child | None = None
        self.loaded: dict[str, Any] = {}
        self.cpu = 0.0
        self.segment = f"{bench.reaper.mark}.{work.parent.name}.{work.name}"

    def victim_words(self) -> list[str]:
        """Return the victim's own options."""
        raise NotImplementedError

    def loader_words(self) -> list[str]:
        """Return more options of the loader."""
        return []

    def attachments(self) -> Sequence[str]:
        """Return what the loader attaches: ``KIND:PROGRAM:PLACE`` each."""
        return list(self.params["attach"])

    def prove(self, calls: int, done: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        """Return the proof of an instrumented sample in which ``calls`` were timed. Raises ``Invalid``."""
        raise NotImplementedError

    def met(self, ready: Mapping[str, Any]) -> None:
        """See that the victim is as the case wants it. Raises ``Invalid``."""

    def prepare(self, ready: Mapping[str, Any]) -> None:
        """Do what is to be done between victim and loader before the first call."""

    def conclude(self, done: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what is to be done after the timed calls; return what the victim says of itself then."""
        return done

    def describe(self, ready: Mapping[str, Any]) -> dict[str, Any]:
        """Return more evidence that goes into the result."""
        return {}

    def measure(self, plan: dict[str, int]) -> Sample:
        """Run the whole protocol; fills ``plan`` when it is empty."""
        if self.cell.runtime.where != "none":
            self.loaded = self._load()
        ready = self._start_victim()
        self.prepare(ready)
        if not plan:
            plan.update(self._calibrate())
        warm = self._victim(f"warm {plan['warm']}", "WARM", plan)
        if self.loader:
            tell(self.loader, "reset", "OK reset", START_DEADLINE)
        done = self._victim(f"run {plan['calls']} {ROUNDS} {MOST_ROUNDS}", "DONE", plan)
        self.calm = done["core"]
        calls = done["calls"] - warm["calls"]
        last = self.conclude(done)
        counters = self._finish()
        proof = self._untouched(ready, last) if self.loader is None else self._hits(calls, last, counters)
        return self._sample(ready, done, proof, calls)

    def stop(self) -> None:
        """End whatever still runs, and remove the shared memory that it may have left."""
        for child in (self.victim, self.loader):
            if child is not None:
                child.stop()
        remove_segments(self.segment)

    def _load(self) -> dict[str, Any]:
        package = _package(self.bench)
        argv = [str(package / "loader"), "--object", str(package / "program.bpf.o"), "--target", str(self.victim_file)]
        argv += self.loader_words()
        for option, values in (("attach", self.attachments()), ("fill", self.params.get("fill", ()))):
            for value in values:
                argv += [f"--{option}", value]
        self.loader = self._start("loader", argv, self.cell.runtime.loader_env, self.bench.other_cpus)
        loaded = ready_or_refused(self.loader.expect(r"^(READY|ERROR) ", START_DEADLINE))
        check_mapped(self.loader)
        return loaded

    def _start_victim(self) -> dict[str, Any]:
        argv = [str(self.victim_file), *self.victim_words()]
        if len(self.bench.measured_cpus & self.bench.other_cpus) == 0:
            argv.append("--realtime")  # for the timed part only; with one CPU it would keep everything else out
        if self.calm:
            argv += ["--calm", str(self.calm)]
        self.victim = self._start("victim", argv, self.cell.runtime.target_env, self.bench.measured_cpus)
        ready = hear(self.victim, "READY", START_DEADLINE)
        check_mapped(self.victim)
        self.met(ready)
        return ready

    def _start(self, name: str, argv: list[str], extra: Mapping[str, str], cpus: frozenset[int]) -> Child:
        env = environment(extra, self.work, self.bench.outputs, self.segment)
        mounts = self.loader_mounts and name == "loader"
        command = Command(tuple(argv), env, self.work, name, stdout="lines", stdin=True, cpus=cpus, private_mounts=mounts)
        return self.bench.reaper.start(command, self.work)

    def evidence(self) -> Evidence:
        """Return what is proved of the engine; both processes have ended."""
        return evidence_of(self.cell.runtime, self.work, self.loaded)

    def _calibrate(self) -> dict[str, int]:
        """Double the calls until a round is long enough to tell the time of a call, and size the samples by that."""
        calls = 16
        while True:
            done = self._victim(f"run {calls} 1", "DONE", {"calls": calls})
            spent = done["rounds"][0]
            if spent >= LEAST_ROUND_NS or calls >= MOST_CALLS:
                break
            calls *= 2
        wanted = self.bench.profile.sample_time * 1e9 / ROUNDS / max(spent / calls, 0.1)
        calls = max(1, min(MOST_CALLS, round(wanted)))
        return {"calls": calls, "warm": max(calls, 16)}

    def _victim(self, word: str, answer: str, plan: Mapping[str, int]) -> dict[str, Any]:
        assert self.victim is not None
        # Generous: a hundred times the wanted sample time, for a machine that stalls; a hang is still noticed.
        return tell(self.victim, word, answer, STALL + 100 * self.bench.profile.sample_time)

    def _finish(self) -> dict[str, Any]:
        """Let the victim exit, then read the counters, then let the loader exit."""
        assert self.victim is not None
        self.cpu = leave(self.victim, "the victim")
        if self.loader is None:
            return {}
        counters = tell(self.loader, "read", "COUNTERS", START_DEADLINE)
        self.cpu += leave(self.loader, "the loader")
        return counters

    def _untouched(self, ready: Mapping[str, Any], last: Mapping[str, Any]) -> Proof:
        return Proof("untouched-text", 0, 0 if last["live_bytes"] == ready["first_bytes"] else 1)

    def _hits(self, calls: int, last: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        if not counters["hits"]:
            raise Invalid("the loader counts no program: nothing was attached")
        return self.prove(calls, last, counters)

    def _sample(self, ready: Mapping[str, Any], done: Mapping[str, Any], proof: Proof, calls: int) -> Sample:
        proved, runtime = self.evidence(), self.cell.runtime
        evidence = {
            **proved.details,
            "function": ready["function"], "first_bytes": ready["first_bytes"], **self.describe(ready),
            "calls": calls, "rounds": len(done["rounds"]), "calm_rounds": sum(done["calm"]), "scheduling": done["scheduling"],
            "programs": self.loaded.get("programs", []), "libbpf": self.loaded.get("libbpf"),
        }
        about: dict[str, Any] = {
            "proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence,
            "cpu": self.cpu, "calm": fmean(done["calm"]),
        }
        if proved.unable:
            return Sample.unsupported(proved.unable, **about)
        if proved.wrong:
            return Sample.failed(proved.wrong, **about)
        deviates = runtime.deviates.get(self.cell.case.name)
        if deviates and proof.kind.startswith("operations") and proof.observed == 0:
            return Sample.unsupported(f"operations end otherwise than on the kernel: {deviates}", **about)
        if not proof.holds:
            return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
        if proved.engine != runtime.engine:
            return Sample.failed(f"ran on the engine {proved.engine}, expected {runtime.engine}", **about)
        if proved.backend != runtime.backend:
            return Sample.failed(f"hooked by {proved.backend}, expected {runtime.backend}", **about)
        if min(done["rounds"]) <= 0:
            return Sample.failed(f"a round took no time at all: {done['rounds']} ns", **about)
        return Sample("ok", metrics=_times(done["rounds"], done["calm"], calls / len(done["rounds"])), **about)


def _times(rounds: list[int], calm: list[int], calls_a_round: float) -> dict[str, float]:
    """Return ns per call over the calm rounds, or over all where too few were calm."""
    chosen = [spent for spent, was_calm in zip(rounds, calm, strict=True) if was_calm]
    if len(chosen) < LEAST_CALM:
        chosen = rounds
    times = {"time": min(chosen), "time_median": median(chosen), "time_mean": fmean(chosen)}
    return {name: spent / calls_a_round for name, spent in times.items()}


def _package(bench: Bench) -> Path:
    return bench.outputs[bench.experiment.packages[0]]


def check_mapped(child: Child, variable: str = "LD_PRELOAD") -> None:
    """See with our own eyes that what was to be preloaded is there: ld.so goes on without it, with a warning. Raises ``Invalid``."""
    missing = unmapped(child.pid, child.command.env.get(variable, ""))
    if missing:
        raise Invalid(f"{child} runs without {Path(missing).name}: it is not mapped\n{child.tail()}")


def evidence_of(runtime: Runtime, work: Path, loaded: Mapping[str, Any]) -> Evidence:
    """Return what a runtime's own words prove: its agent's status, its log, or what the kernel says of loaded programs."""
    if runtime.where == "none":
        return Evidence()
    if runtime.status:
        return of_status(Path(runtime.status.replace("{work}", str(work))))
    if runtime.log:
        return of_log(runtime.log, work, runtime.backend)
    return of_kernel(loaded, runtime.backend)


def leave(child: Child, who: str) -> float:
    """Let a process end by itself, see that it does so in order (else ``Invalid``), and return the CPU seconds that it had."""
    child.send("quit")
    exit = child.wait(START_DEADLINE)
    if not exit.ok:
        raise Invalid(f"{who} {exit}")
    return exit.user + exit.system


def ready_or_refused(line: str) -> dict[str, Any]:
    """Return what a loader says when it is ready, or raise ``Refused``."""
    word, body = line.split(" ", 1)
    found = fields_of(line, body)
    if word == "READY":
        return found
    message = str(found["message"]).splitlines() or ["no reason was given"]
    raise Refused(found["stage"], message[0], found.get("log"))


def refused_sample(cell: Cell, refused: Refused) -> Sample:
    """A kernel that may refuse this program makes the case unsupported; any other refusal is a failure."""
    last = [line for line in (refused.log or "").splitlines() if line.strip() and not line.startswith("processed ")]
    reason = f"{refused.stage}: {last[-1].strip() if last else refused.reason}"
    why = cell.case.params.get("refusable")
    if why and refused.stage == "load":
        return Sample.unsupported(f"refused at {reason} ({why})")
    return Sample.failed(reason)
