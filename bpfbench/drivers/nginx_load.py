"""Loaded servers: nginx with one worker, mostly a loader that attaches to that worker and nothing else, and a client.

What all drivers of such servers share. A sample is a fresh server. When it serves, the loader attaches to the worker; then comes the
*gate*, in which a few requests show that the answers are right and that the programs see what they should. Only then comes the
load, and after it the proof: what the programs have counted, held against what others counted without them.

A driver subclasses ``NginxSample`` and says what is served, what is attached, what the gate is and what the proof.

Parameters of a case that are read here: ``body`` (bytes of the file that is asked for), ``connections``, ``keep_alive``, ``tls``,
``pace`` (a share of what the bare server can do: requests then come at that constant rate, whether answers come or not). A profile's
parameters for the experiment take their place. An arm's option ``first: loader`` is for a runtime that cannot come into a process that
runs already.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpfbench.drivers import openloop, wrk
from bpfbench.drivers.common import START_DEADLINE, Garbled, environment, remove_segments, tell
from bpfbench.drivers.events import foreign
from bpfbench.drivers.evidence import Evidence, of_kernel, of_log, of_status, unmapped
from bpfbench.drivers.nginx import (
    PATIENCE,
    Nginx,
    ServerError,
    configuration,
    cpu_seconds,
    make_certificate,
)
from bpfbench.drivers.pair import Invalid, Refused, ready_or_refused, refused_sample
from bpfbench.drivers.wrk import Load, LoadError
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

SAMPLE_TIMES = 16
"""A load lasts this many of the profile's sample times, in whole seconds: servers need longer than calls to show their pace."""
ATTACHED_WITHIN = 10.0
"""Seconds for a live server to be hit by the programs after they were attached."""
CAPACITY_LOADS = 3
"""Loads to find out what a bare server can do: it is what it did at its best, since others on the machine only ever slow it."""
FILE = "body"


class NginxDriver:
    """A driver that measures every sample with a fresh server, of its class ``kind``.

    What is found out or made once for all samples is kept in ``kept``.
    """

    def __init__(self, kind: type[NginxSample]) -> None:
        self._kind = kind
        self.kept: dict[str, Any] = {}

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell with its strictest gate."""
        plan = {"seconds": max(1, round(SAMPLE_TIMES * bench.profile.sample_time))}
        return self._attempt(bench, cell, plan, 0, pilot=True), plan

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        return self._attempt(bench, cell, dict(plan), number, pilot=False)

    def _attempt(self, bench: Bench, cell: Cell, plan: dict[str, int], number: int, *, pilot: bool) -> Sample:
        work = bench.work / f"sample-{number}"
        work.mkdir()
        one = self._kind(bench, cell, work, self.kept, pilot)
        try:
            return one.measure(plan)
        except Refused as refused:
            return refused_sample(cell, refused)
        except (Invalid, Garbled, ServerError, LoadError, ProcessError) as error:
            return Sample.failed(str(error))
        finally:
            one.stop()
            shutil.rmtree(work, ignore_errors=True)


class NginxSample:
    """One server, one loader (on an instrumented arm) and one load."""

    loader_mounts = False
    """Whether the loader mounts what only it is to see."""

    def __init__(self, bench: Bench, cell: Cell, work: Path, kept: dict[str, Any], pilot: bool) -> None:
        self.bench, self.cell, self.work, self.kept, self.pilot = bench, cell, work, kept, pilot
        self.params: Mapping[str, Any] = {**cell.case.params, **bench.profile.params.get(bench.experiment.name, {})}
        self.body = bytes(index % 251 for index in range(self.params["body"]))
        self.server: Nginx | None = None
        self.loader: Child | None = None
        self.loaded: dict[str, Any] = {}
        self.segment = f"{bench.reaper.mark}.{work.parent.name}.{work.name}"

    # --- what a driver says ---

    def loader_argv(self, server: Nginx | None) -> list[str]:
        """Return the loader's command line; the server is None when the loader is started first."""
        raise NotImplementedError

    def gate(self, server: Nginx) -> None:
        """See the right answers, and that the programs see them too. Raises ``Invalid``."""
        raise NotImplementedError

    def begin(self, server: Nginx) -> None:
        """Do what is to be done right before the load, e.g. set counters to 0."""

    def account(self, server: Nginx, load: Load) -> tuple[Proof, dict[str, float], dict[str, Any]]:
        """Return the proof of a load that has ended, more metrics, and what goes into the evidence. Raises ``Invalid``."""
        raise NotImplementedError

    def configuration(self, listen: str) -> str:
        """Return the server's configuration."""
        return configuration(listen, certificate=self.certificate())

    # --- the life of a sample ---

    def measure(self, plan: dict[str, int]) -> Sample:
        """Start, attach, pass the gate, load, and account for everything; fills ``plan`` in the pilot."""
        if self.pilot and "pace" in self.params:
            plan["rate"] = round(self.params["pace"] * self._capacity())
        instrumented, loader_first = self.cell.runtime.where != "none", self.cell.arm.options.get("first") == "loader"
        if instrumented and loader_first:
            self._start_loader(None)
        server = self.server = self._start_server()
        if instrumented and not loader_first:
            self._start_loader(server)
        self.gate(server)
        self.begin(server)
        before = self._cpu(server)
        load = self._offer(server, plan)
        served = cpu_seconds(server.worker) - before[0]
        proof, metrics, evidence = self.account(server, load)
        traced = self._cpu(server)[1] - before[1]
        return self._sample(load, served, traced, (proof, metrics, evidence))

    def stop(self) -> None:
        """End whatever still runs, and remove the shared memory that it may have left."""
        for child in (self.loader, self.server.child if self.server else None):
            if child is not None:
                child.stop()
        remove_segments(self.segment)

    def certificate(self) -> Path | None:
        """Return the folder with key and certificate, which is made once; None for a case without TLS."""
        if not self.params["tls"]:
            return None
        if "certificate" not in self.kept:
            folder = self.bench.work / "certificate"
            folder.mkdir()
            make_certificate(self.bench.reaper, folder)
            self.kept["certificate"] = folder
        return Path(self.kept["certificate"])

    def count(self) -> dict[str, Any]:
        """Return what the programs have counted since the last reset."""
        assert self.loader is not None
        return tell(self.loader, "read", "COUNTERS", START_DEADLINE)

    def wait_for(self, happened: Callable[[], bool], otherwise: str, within: float | None = None) -> None:
        """Wait until something has happened. Raises ``Invalid``."""
        limit = time.monotonic() + (ATTACHED_WITHIN if within is None else within)
        while not happened():
            if time.monotonic() > limit:
                raise Invalid(f"{otherwise}\n{self.loader.tail() if self.loader else ''}".rstrip())
            time.sleep(PATIENCE)

    def answered(self, server: Nginx) -> bool:
        """Make a request on a connection of its own; its answer must be the file. Raises ``Invalid``."""
        if server.get(FILE) != self.body:
            raise Invalid(f"nginx serves something else than the file of {len(self.body)} bytes")
        return True

    def bare(self, server: Nginx) -> Proof:
        """Return the proof of a server into which no runtime has come."""
        return Proof("nothing attached", 0, foreign(server.worker))

    def package(self) -> Path:
        """Return the output of the experiment's own package."""
        return self.bench.outputs[self.bench.experiment.packages[0]]

    def same_requests(self, load: Load, had: int) -> None:
        """See that the server has had the requests that the client made, and those on their way at the end. Raises ``Invalid``."""
        if not load.requests <= had <= load.requests + self.params["connections"]:
            raise Invalid(f"nginx says that it had {had} requests, of which the client had {load.requests} answered")

    @contextmanager
    def bystander(self, name: str) -> Iterator[Nginx]:
        """Yield another server, bare, for something that is found out once."""
        work = self.work / name
        work.mkdir()
        server = self._serve(work, self._env({}))
        try:
            yield server
        finally:
            server.child.stop()

    def _env(self, extra: Mapping[str, str]) -> dict[str, str]:
        return environment(extra, self.work, self.bench.outputs, self.segment)

    def _serve(self, work: Path, env: Mapping[str, str]) -> Nginx:
        program = self.bench.outputs["nginx"] / "sbin" / "nginx"
        return Nginx(
            self.bench.reaper, program, work, env, self.bench.measured_cpus,
            configure=self.configuration, files={FILE: self.body}, tls=self.params["tls"],
        )

    def _start_server(self) -> Nginx:
        env = self._env(self.cell.runtime.target_env)
        server = self.server = self._serve(self.work, env)
        missing = unmapped(server.worker, env.get("LD_PRELOAD", ""))
        if missing:
            raise Invalid(f"nginx runs without {Path(missing).name}: it is not mapped\n{server.child.tail()}")
        return server

    def _start_loader(self, server: Nginx | None) -> None:
        env = self._env(self.cell.runtime.loader_env)
        command = Command(
            tuple(self.loader_argv(server)), env, self.work, "loader", stdout="lines", stdin=True, cpus=self.bench.other_cpus,
            private_mounts=self.loader_mounts,
        )
        self.loader = self.bench.reaper.start(command, self.work)
        self.loaded = ready_or_refused(self.loader.expect(r"^(READY|ERROR) ", START_DEADLINE))

    def _capacity(self) -> float:
        """Return how many requests a second the bare server answers to as many as can be; found out once for each kind of request."""
        kind = "capacity of " + " ".join(str(self.params[name]) for name in ("body", "connections", "keep_alive", "tls"))
        if kind not in self.kept:
            with self.bystander("capacity") as server:
                loads = [self._closed(server, 1) for _ in range(CAPACITY_LOADS)]
            self.kept[kind] = max(load.requests / load.seconds for load in loads)
        return float(self.kept[kind])

    def _cpu(self, server: Nginx) -> tuple[float, float]:
        return cpu_seconds(server.worker), cpu_seconds(self.loader.pid) if self.loader else 0.0

    def _offer(self, server: Nginx, plan: Mapping[str, int]) -> Load:
        if "rate" not in plan:
            return self._closed(server, plan["seconds"])
        return openloop.offer(
            self.bench.reaper, self.bench.outputs["openloop"] / "client", self.work, server.port, f"/{FILE}",
            body=len(self.body), connections=self.params["connections"], rate=plan["rate"], seconds=plan["seconds"],
            tls=self.params["tls"], cpus=self.bench.other_cpus,
        )

    def _closed(self, server: Nginx, seconds: int) -> Load:
        return wrk.offer(
            self.bench.reaper, self.bench.outputs["wrk"] / "bin" / "wrk", server.work, server.url(FILE), seconds=seconds,
            connections=self.params["connections"], keep_alive=self.params["keep_alive"], cpus=self.bench.other_cpus,
        )

    def _evidence(self) -> Evidence:
        runtime, server = self.cell.runtime, self.server
        assert server is not None
        if runtime.where == "none":
            return Evidence()
        if runtime.status:
            path = Path(runtime.status.replace("{work}", str(self.work)))
            return of_status(path.with_name(f"{path.name}.{server.worker}"))
        if runtime.log:
            told = tuple(name.replace("/victim.out", "/nginx.out") for name in runtime.log.target)  # specs know targets by that name
            return of_log(replace(runtime.log, target=told), self.work, runtime.backend)
        return of_kernel(self.loaded, runtime.backend)

    def _remark(self, load: Load) -> str:
        asked = f"{self.params['connections']} connections"
        if "requests_per_second_due" in load.details:
            asked += f", {load.details['requests_per_second_due']} requests due a second"
        return f"{asked}; {placement(self.bench.measured_cpus, self.bench.other_cpus)}"

    def _sample(
        self, load: Load, served: float, traced: float, accounted: tuple[Proof, Mapping[str, float], Mapping[str, Any]]
    ) -> Sample:
        proof, more, counts = accounted
        proved, runtime = self._evidence(), self.cell.runtime
        metrics = {
            "rate": load.requests / load.seconds, "latency_p50": load.p50, "latency_p99": load.p99,
            "server_cpu": 1e6 * served / load.requests, **({"tracer_cpu": 1e6 * traced / load.requests} if self.loader else {}), **more,
        }
        evidence = {
            **proved.details, "requests": load.requests, "seconds": load.seconds, "connections": self.params["connections"],
            "client_cpu_s": load.cpu, **load.details,
            "cpus": {"server": sorted(self.bench.measured_cpus), "client and tracer": sorted(self.bench.other_cpus)},
            "remark": self._remark(load),
            "programs": self.loaded.get("programs", []), **counts,
        }
        about: dict[str, Any] = {
            "proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence,
            "cpu": served + traced + load.cpu,
        }
        if proved.unable:
            return Sample.unsupported(proved.unable, **about)
        if proved.wrong:
            return Sample.failed(proved.wrong, **about)
        if not proof.holds:
            return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
        if (proved.engine, proved.backend) != (runtime.engine, runtime.backend):
            ran = f"ran on {proved.engine} hooked by {proved.backend}"
            return Sample.failed(f"{ran}, expected {runtime.engine} and {runtime.backend}", **about)
        return Sample("ok", metrics=metrics, **about)


def placement(server: frozenset[int], others: frozenset[int]) -> str:
    """Say who ran on which CPUs, and what that means where it means something."""
    if server & others:
        return f"server, client and tracer shared {_cpus(server | others)}, so that each slowed the others"
    shared = ", of which each took from the other" if len(others) == 1 else ""
    return f"server on {_cpus(server)}, client and tracer on {_cpus(others)}{shared}"


def _cpus(numbers: frozenset[int]) -> str:
    return f"CPU{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in sorted(numbers))}"
