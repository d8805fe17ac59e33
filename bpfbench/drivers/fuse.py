"""Driver for a FUSE file system whose metadata are kept in the process that asks: see workloads/fuse/README.md.

A sample is a fresh file system. Its server has mounts of its own, which the asking process (the *client*) and one that no runtime is in
(the *other*) share; its files are on a tmpfs there. On an instrumented arm the loader attaches to server and client before either runs. The
first pilot of an arm passes the gate (``fuse_gate``). Then come the timed calls; their proof is that the programs have counted each
in the way that the case says.

Parameters of a case: ``system`` (passthrough or loggedfs), ``call``, ``name`` and ``folder`` (what is asked, see workloads/README.md),
``errno`` that the answer must be, ``counts`` (lists of counters, each list's sum is the number of calls).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bpfbench.drivers import fuse_find
from bpfbench.drivers.common import START_DEADLINE, environment, hear, tell
from bpfbench.drivers.events import foreign
from bpfbench.drivers.evidence import Evidence
from bpfbench.drivers.fuse_gate import Gate
from bpfbench.drivers.pair import ROUNDS, Invalid, Pair, PairDriver, check_mapped, evidence_of, leave, ready_or_refused
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.identity import holds_root
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

ROOM = Path("/mnt")
"""Where the server's private mounts are: every sample's paths are the same, and nobody else sees them."""
MOUNT = ROOM / "mount"
PATIENCE = 0.005
"""Seconds between two looks at a file system that is about to be there."""
FOLDERS, FILES = 2, 16
REFUSED = "folder-0001"
"""The folder whose files may not be opened: by the filter, or, where there is none, by the file system."""
LOGGEDFS = "loggedfs"
DEVICE = Path("/dev/fuse")
TOLD_BY_KERNEL = "the kernel's tracepoints see a system call, and cannot answer it in its stead"
LAUNCH = "LAUNCH_"
LEAST_CALLS = 32
"""Calls a round, at least: with fewer, the fastest round would be a lucky single call."""


def create() -> FuseDriver:
    """Return a driver for one run."""
    return FuseDriver()


class FuseDriver(PairDriver):
    """See the module."""

    def __init__(self) -> None:
        class OfThisRun(FusePair):
            passed: ClassVar[set[tuple[str, str]]] = set()

        super().__init__(OfThisRun)

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell, if it can be had here at all, and pass its gate."""
        obstacle = obstacle_to(cell)
        return (Sample.unsupported(obstacle), {}) if obstacle else super().pilot(bench, cell)


def obstacle_to(cell: Cell) -> str | None:
    """Say what keeps this machine, or this arm, from measuring the cell."""
    if cell.runtime.where == "kernel":
        return TOLD_BY_KERNEL
    if not holds_root():
        return "needs root: a file system is mounted, in mounts of its own"
    if not DEVICE.exists():
        return "there is no /dev/fuse here: the kernel, or the container, has no FUSE"
    if cell.case.params["system"] == LOGGEDFS and not shutil.which(LOGGEDFS):
        return "loggedfs is not installed"
    return None


class FusePair(Pair):
    """See the module. The pair's victim is the client."""

    passed: ClassVar[set[tuple[str, str]]] = set()
    """Arm and system of the gates that were passed in this run: they take seconds, and are about all cases at once."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, victim: Path, calm: int | None) -> None:
        super().__init__(bench, cell, work, victim, calm)
        self.package = bench.outputs[bench.experiment.packages[0]]
        self.logged = self.params["system"] == LOGGEDFS
        self.server: Child | None = None
        self.other: Child | None = None
        self.device = 0
        self.piloting = False
        self.foreign = 0
        self.server_evidence = Evidence()

    @property
    def mount(self) -> Path:
        """Where everybody sees the file system."""
        return MOUNT

    @property
    def folders(self) -> int:
        """Through how many folders find goes; 0: it does not."""
        return int(self._asked_for("folders", FOLDERS)) if self.params["call"] == "find" else 0

    def _asked_for(self, name: str, otherwise: int) -> int:
        params = {**self.bench.experiment.params, **self.bench.profile.params.get(self.bench.experiment.name, {})}
        return int(params.get(name, otherwise))

    @property
    def backing(self) -> Path:
        """Where the server keeps its files: loggedfs is mounted over them."""
        return MOUNT if self.logged else ROOM / "backing"

    def measure(self, plan: dict[str, int]) -> Sample:
        """Serve a file system first."""
        self.piloting = not plan
        try:
            self._serve()
            if self.folders:
                plan.setdefault("folders", self.folders)
                self._introduce()
                return fuse_find.measure(self, self.folders)
            return super().measure(plan)
        except FileNotFoundError as error:  # of /proc: whom we look at is gone
            self._see_that_it_serves()
            raise Invalid(f"a process has ended: {error}") from None

    def stop(self) -> None:
        """End the server first: who waits for its answer cannot be ended before it has gone."""
        for child in (self.server, self.other):
            if child is not None:
                child.stop()
        super().stop()

    def prepare(self, ready: Mapping[str, Any]) -> None:
        """Pass the gate, once."""
        assert self.victim is not None and self.other is not None
        gate = (self.cell.arm.name, self.params["system"])
        if self.piloting and gate not in self.passed:
            Gate(self.victim, self.other, self.loader, MOUNT, REFUSED).pass_all()
            self.passed.add(gate)

    def conclude(self, done: Mapping[str, Any]) -> Mapping[str, Any]:
        """See that every call had the right answer, and by whom."""
        self._see_that_it_serves()
        if done["wrong"]:
            raise Invalid(f"{done['wrong']} of {done['calls']} calls had a wrong answer")
        assert self.victim is not None and self.server is not None
        self.foreign = foreign(self.victim.pid) + foreign(self.server.pid)
        return done

    def prove(self, calls: int, done: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        """The programs have counted every call in the way that the case is about."""
        for names in self.params["counts"]:
            counted = sum(counters[name] for name in names)
            if counted != calls:
                return Proof(" and ".join(names), calls, counted)
        return Proof("calls counted", calls, calls)

    def describe(self, ready: Mapping[str, Any]) -> dict[str, Any]:
        """Return where things were."""
        return {"system": self.params["system"], "mount": str(MOUNT), "server": dict(self.server_evidence.details)}

    # --- the file system ---

    def _serve(self) -> None:
        self.server = self._stage("server", ["--tmpfs", str(ROOM), *self._obedience()], self._server_words(), mounts=True)
        self.other = self._stage("other", self._among(), [str(self.package / "victim")], instrumented=False)
        self._go(self.other)
        hear(self.other, "READY", START_DEADLINE)
        self._deed(f"populate {self.backing} {self.folders or FOLDERS} {fuse_find.FILES if self.folders else FILES}")
        if self.cell.runtime.where == "none" and not self.folders:
            self._deed(f"directory 0 {self.backing}/{REFUSED}")
            for number in range(FILES):
                self._deed(f"chmod 0 file-{number:04} 0")
        if not self.folders:
            self.victim = self.stage_client("client", self._client_words())
        if self.cell.runtime.where != "none":
            self.loaded = self._attach_all()
        self._go(self.server)
        self._wait_until_mounted()

    def _obedience(self) -> list[str]:
        """Without a filter, the server's own rights are what refuses; with it, every right there is does not help."""
        return ["--obey"] if self.cell.runtime.where == "none" else []

    def _server_words(self) -> list[str]:
        if self.logged:
            return [shutil.which(LOGGEDFS) or LOGGEDFS, "-f", "-l", str(ROOM / "log"), str(MOUNT)]
        program = self.bench.outputs["libfuse"] / "bin" / "passthrough"
        return [str(program), "-f", "-o", f"modules=subdir,subdir={self.backing}", str(MOUNT)]

    def _among(self) -> list[str]:
        assert self.server is not None
        return ["--mounts-of", str(self.server.pid)]

    def _stage(self, name: str, options: list[str], words: list[str], *, mounts: bool = False, instrumented: bool = True) -> Child:
        """Start a process that is not yet the program that it will be."""
        work = self.work / name
        work.mkdir()
        extra = self.cell.runtime.target_env if instrumented else {}
        env = environment({f"{LAUNCH}{key}": value for key, value in extra.items()}, work, self.bench.outputs, self.segment)
        cpus = self.bench.measured_cpus if instrumented else self.bench.other_cpus
        argv = (str(self.package / "stage"), *options, *words)
        child = self.bench.reaper.start(Command(argv, env, self.work, name, stdin=True, cpus=cpus, private_mounts=mounts), self.work)
        line = child.expect(r"^(STAGED|ERROR) ", START_DEADLINE)
        if line.startswith("ERROR"):
            raise Invalid(f"{name}: {line}")
        return child

    def stage_client(self, name: str, words: list[str]) -> Child:
        """Start a process that sees the file system, and in which programs may run."""
        words = [shutil.which(words[0]) or words[0], *words[1:]]
        return self._stage(name, self._among(), words)

    def _introduce(self) -> None:
        if self.loader:
            tell(self.loader, f"device {self.device}", "OK device", START_DEADLINE)

    def _go(self, child: Child) -> None:
        child.send("go")

    def _attach_all(self) -> dict[str, Any]:
        refused = REFUSED if self.logged else f"{self.backing}/{REFUSED}"
        assert self.server is not None
        argv = [str(self.package / "loader"), "--object", str(self.package / "program.bpf.o"), "--server", str(self.server.pid)]
        if self.victim is not None:
            argv += ["--client", str(self.victim.pid), "--filter", refused]
        else:
            argv += fuse_find.table_sizes(self.folders)
        self.loader = self._start("loader", argv, self.cell.runtime.loader_env, self.bench.other_cpus)
        loaded = ready_or_refused(self.loader.expect(r"^(READY|ERROR) ", START_DEADLINE))
        check_mapped(self.loader)
        return loaded

    def _wait_until_mounted(self) -> None:
        assert self.other is not None and self.server is not None
        limit = time.monotonic() + START_DEADLINE
        while not (seen := tell(self.other, f"mounted {MOUNT}", "MOUNTED", START_DEADLINE))["fuse"]:
            self._see_that_it_serves()
            if time.monotonic() > limit:
                raise Invalid(f"{self.params['system']} has not mounted anything within {START_DEADLINE:g} s\n{self.server.tail()}")
            time.sleep(PATIENCE)
        self.device = seen["device"]

    def _see_that_it_serves(self) -> None:
        if self.server is not None and not self.server.alive:
            raise Invalid(f"{self.params['system']} ended while it was needed: {self.server.wait(START_DEADLINE)}\n{self.server.tail()}")

    def _deed(self, line: str) -> None:
        assert self.other is not None
        result = tell(self.other, line, "DID", START_DEADLINE)["result"]
        if result:
            raise Invalid(f"the other process cannot {line}: {os.strerror(-result)}")

    # --- the pair's own steps, where a file system makes them different ---

    def _load(self) -> dict[str, Any]:
        return self.loaded

    def _client_words(self) -> list[str]:
        words = [str(self.victim_file), "--call", self.params["call"], "--directory", str(MOUNT / self.params["folder"])]
        words += ["--name", self.params["name"], "--errno", str(self.params.get("errno", 0))]
        if len(self.bench.measured_cpus & self.bench.other_cpus) == 0:
            words.append("--realtime")
        return [*words, "--calm", str(self.calm)] if self.calm else words

    def _start_victim(self) -> dict[str, Any]:
        client = self.victim
        assert client is not None
        self._introduce()
        self._go(client)
        ready = hear(client, "READY", START_DEADLINE)
        for child in (client, self.server):
            assert child is not None
            check_mapped(child, f"{LAUNCH}LD_PRELOAD")
        return ready

    def _calibrate(self) -> dict[str, int]:
        """As many calls as the profile says, if it does; else as its time allows. The first calls are slow ones, and do not count."""
        wanted = self._asked_for("calls", 0)
        if wanted:
            return {"calls": max(1, wanted // ROUNDS), "warm": LEAST_CALLS}
        done = self._victim(f"run {LEAST_CALLS} 20", "DONE", {"calls": LEAST_CALLS})
        spent = max(1, min(done["rounds"])) / LEAST_CALLS
        calls = round(self.bench.profile.sample_time * 1e9 / ROUNDS / spent)
        return {"calls": max(LEAST_CALLS, calls), "warm": LEAST_CALLS}

    def _finish(self) -> dict[str, Any]:
        """Let the client exit, read the counters, end the server while its programs are attached, then let the loader exit."""
        assert self.victim is not None
        self._see_that_it_serves()
        self.cpu = leave(self.victim, "the client")
        counters = tell(self.loader, "read", "COUNTERS", START_DEADLINE) if self.loader else {}
        self.end_all()
        return counters

    def end_all(self) -> None:
        """End the server, and then let the others exit."""
        assert self.server is not None and self.other is not None
        self._see_that_it_serves()
        ended = self.server.stop()
        self.cpu += ended.user + ended.system + leave(self.other, "the other process")
        if self.loader:
            self.cpu += leave(self.loader, "the loader")

    def evidence_of_server(self) -> Evidence:
        """Return what the server's side says of itself."""
        return evidence_of(self.cell.runtime, self.work / "server", self.loaded)

    def evidence(self) -> Evidence:
        """Return what both processes that run programs say of themselves, which must be the same."""
        client, server = evidence_of(self.cell.runtime, self.work / "client", self.loaded), self.evidence_of_server()
        self.server_evidence = server
        return server if server.wrong or (server.engine, server.backend) != (client.engine, client.backend) else client

    def _untouched(self, ready: Mapping[str, Any], last: Mapping[str, Any]) -> Proof:
        return Proof("nothing attached", 0, self.foreign)

    def _hits(self, calls: int, last: Mapping[str, Any], counters: Mapping[str, Any]) -> Proof:
        return self.prove(calls, last, counters)
