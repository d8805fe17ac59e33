"""Driver for a loaded server: nginx with one worker, a loader that attaches to that worker and nothing else, and wrk.

A sample is a fresh server. When it serves, the loader attaches to the worker; then comes the *gate*: one request is made, its
answer must be the file, and the programs must have counted it. A pilot also captures what the programs send, which must hold the
request and the whole answer. Only then comes the load. Its proof is the number of requests that the programs saw: as many as the
client had answered, and no more than it can have had on their way when time was up. What programs send and nobody receives is
counted as lost, and is part of the result.

Parameters of a case: ``body`` (bytes of the file that is asked for), ``connections``, ``keep_alive``, ``tls``, ``attach``
(``KIND:PROGRAM:PLACE`` each), ``library`` (whose functions are probed), ``events`` (the map that events come through), ``requests``
(the program whose counter ``inner`` counts requests).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, Garbled, environment, remove_segments, tell
from bpfbench.drivers.events import Seen, foreign, plaintext, reset, settle
from bpfbench.drivers.evidence import Evidence, of_kernel, of_log, of_status, unmapped
from bpfbench.drivers.nginx import PATIENCE, Nginx, ServerError, cpu_seconds, make_certificate
from bpfbench.drivers.pair import Refused, ready_or_refused, refused_sample
from bpfbench.drivers.wrk import Load, LoadError, offer
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.errors import ProcessError
from bpfbench.sampling import Bench, Cell, Plan, Proof, Sample

SAMPLE_TIMES = 16
"""A load lasts this many of the profile's sample times, in whole seconds: servers need longer than calls to show their pace."""
ATTACHED_WITHIN = 10.0
"""Seconds for a live server to be hit by the programs after they were attached."""
FILE = "body"


class Invalid(Exception):
    """What was observed is not what the case says it measures."""


def create() -> NginxLoad:
    """Return a driver for one run."""
    return NginxLoad()


class NginxLoad:
    """See the module."""

    def __init__(self) -> None:
        self._certificate: Path | None = None

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell, with a capture of all that is sent."""
        seconds = max(1, round(SAMPLE_TIMES * bench.profile.sample_time))
        return self._attempt(bench, cell, seconds, 0, capture=True), {"seconds": seconds}

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once."""
        return self._attempt(bench, cell, plan["seconds"], number, capture=False)

    def _attempt(self, bench: Bench, cell: Cell, seconds: int, number: int, *, capture: bool) -> Sample:
        work = bench.work / f"sample-{number}"
        work.mkdir()
        one = _Sample(bench, cell, work)
        try:
            return one.measure(seconds, self._made_certificate(bench) if cell.case.params["tls"] else None, capture=capture)
        except Refused as refused:
            return refused_sample(cell, refused)
        except (Invalid, Garbled, ServerError, LoadError, ProcessError) as error:
            return Sample.failed(str(error))
        finally:
            one.stop()
            shutil.rmtree(work, ignore_errors=True)

    def _made_certificate(self, bench: Bench) -> Path:
        if self._certificate is None:
            folder = bench.work / "certificate"
            folder.mkdir()
            make_certificate(bench.reaper, folder)
            self._certificate = folder
        return self._certificate


class _Sample:
    """One server, one loader (on an instrumented arm) and one load."""

    def __init__(self, bench: Bench, cell: Cell, work: Path) -> None:
        self.bench, self.cell, self.work = bench, cell, work
        self.params: Mapping[str, Any] = cell.case.params
        self.body = bytes(index % 251 for index in range(self.params["body"]))
        self.server: Nginx | None = None
        self.loader: Child | None = None
        self.loaded: dict[str, Any] = {}
        self.segment = f"{bench.reaper.mark}.{work.parent.name}.{work.name}"

    def measure(self, seconds: int, certificate: Path | None, *, capture: bool) -> Sample:
        """Start, attach, pass the gate, load, and account for everything."""
        server = self.server = self._start_server(certificate)
        captured = None
        if self.cell.runtime.where != "none":
            captured = self.work / "capture" if capture and self.params.get("events") else None
            self.loader = self._attach(server, captured)
        self._pass_gate(server, captured)
        before = reset(self.loader) if self.loader else None
        cpu = cpu_seconds(server.worker), cpu_seconds(self.loader.pid) if self.loader else 0.0
        load = self._offer(server, seconds)
        served = cpu_seconds(server.worker) - cpu[0]
        seen = settle(self.loader, before) if self.loader and before else None
        traced = cpu_seconds(self.loader.pid) - cpu[1] if self.loader else 0.0
        return self._sample(load, served, traced, seen)

    def stop(self) -> None:
        """End whatever still runs, and remove the shared memory that it may have left."""
        for child in (self.loader, self.server.child if self.server else None):
            if child is not None:
                child.stop()
        remove_segments(self.segment)

    def _env(self, extra: Mapping[str, str]) -> dict[str, str]:
        return environment(extra, self.work, self.bench.outputs, self.segment)

    def _start_server(self, certificate: Path | None) -> Nginx:
        program = self.bench.outputs["nginx"] / "sbin" / "nginx"
        env = self._env(self.cell.runtime.target_env)
        server = Nginx(self.bench.reaper, program, self.work, env, self.bench.measured_cpus, {FILE: self.body}, certificate)
        missing = unmapped(server.worker, env.get("LD_PRELOAD", ""))
        if missing:
            raise Invalid(f"nginx runs without {Path(missing).name}: it is not mapped\n{server.child.tail()}")
        return server

    def _attach(self, server: Nginx, captured: Path | None) -> Child:
        package = self.bench.outputs[self.bench.experiment.packages[0]]
        target = server.mapped(self.params["library"])
        argv = [str(package / "loader"), "--object", str(package / "program.bpf.o"), "--target", str(target), "--pid", str(server.worker)]
        for value in self.params["attach"]:
            argv += ["--attach", value]
        if self.params.get("events"):
            argv += ["--events", self.params["events"]]
        if captured:
            argv += ["--capture", str(captured)]
        env = self._env(self.cell.runtime.loader_env)
        command = Command(tuple(argv), env, self.work, "loader", stdout="lines", stdin=True, cpus=self.bench.other_cpus)
        loader = self.bench.reaper.start(command, self.work)
        self.loader = loader
        self.loaded = ready_or_refused(loader.expect(r"^(READY|ERROR) ", START_DEADLINE))
        return loader

    def _pass_gate(self, server: Nginx, captured: Path | None) -> None:
        """See the right answer, and that the programs see it too. A running process is hooked a moment after the loader is ready."""
        limit = time.monotonic() + ATTACHED_WITHIN
        while True:
            if server.get(FILE) != self.body:
                raise Invalid(f"nginx serves something else than the file of {len(self.body)} bytes")
            if self.loader is None or self._count(self.loader)["inner"].get(self.params["requests"], 0):
                break
            if time.monotonic() > limit:
                raise Invalid(f"requests are served, but no program has seen one within {ATTACHED_WITHIN:g} s\n{self.loader.tail()}")
            time.sleep(PATIENCE)
        if captured:
            self._wait_for(lambda: self._captured(captured), "the programs have not sent the request and its whole answer")

    def _captured(self, captured: Path) -> bool:
        """Whether the last connection's plaintext is there: its request, and the file as the end of the answer."""
        asked, answered = plaintext(captured)
        return f"GET /{FILE} HTTP/1.1\r\n".encode() in asked and self.body in answered

    def _wait_for(self, happened: Callable[[], bool], otherwise: str) -> None:
        limit = time.monotonic() + ATTACHED_WITHIN
        while not happened():
            if time.monotonic() > limit:
                raise Invalid(otherwise)
            time.sleep(PATIENCE)

    @staticmethod
    def _count(loader: Child) -> dict[str, Any]:
        return tell(loader, "read", "COUNTERS", START_DEADLINE)

    def _offer(self, server: Nginx, seconds: int) -> Load:
        return offer(
            self.bench.reaper, self.bench.outputs["wrk"] / "bin" / "wrk", self.work, server.url(FILE), seconds=seconds,
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
            return of_log(runtime.log, self.work, runtime.backend)
        return of_kernel(self.loaded, runtime.backend)

    def _proof(self, load: Load, seen: Seen | None) -> Proof:
        if seen is None:
            assert self.server is not None
            return Proof("nothing attached", 0, foreign(self.server.worker))
        found = seen.inner.get(self.params["requests"], 0)
        on_their_way = self.params["connections"]
        counted = load.requests if load.requests <= found <= load.requests + on_their_way else found
        return Proof("requests seen", load.requests, counted)

    def _sample(self, load: Load, served: float, traced: float, seen: Seen | None) -> Sample:
        proved, runtime = self._evidence(), self.cell.runtime
        proof = self._proof(load, seen)
        metrics = {
            "rate": load.requests / load.seconds, "latency_p50": load.p50, "latency_p99": load.p99,
            "server_cpu": 1e6 * served / load.requests,
        }
        if seen is not None:
            metrics["tracer_cpu"] = 1e6 * traced / load.requests
        if seen is not None and self.params.get("events"):
            metrics |= {"events": seen.received / load.requests, "lost": seen.lost / load.requests}
        evidence = {
            **proved.details, "requests": load.requests, "seconds": load.seconds, "client_cpu_s": load.cpu,
            "programs": self.loaded.get("programs", []), **(seen.as_evidence() if seen else {}),
            **({"requests_seen": seen.inner.get(self.params["requests"], 0)} if seen else {}),
        }
        about: dict[str, Any] = {
            "proof": proof, "engine": proved.engine, "backend": proved.backend, "evidence": evidence,
            "cpu": served + traced + load.cpu,
        }
        if proved.wrong:
            return Sample.failed(proved.wrong, **about)
        if not proof.holds:
            return Sample.failed(f"not proved: expected {proof.expected} {proof.kind}, observed {proof.observed}", **about)
        if (proved.engine, proved.backend) != (runtime.engine, runtime.backend):
            ran = f"ran on {proved.engine} hooked by {proved.backend}"
            return Sample.failed(f"{ran}, expected {runtime.engine} and {runtime.backend}", **about)
        return Sample("ok", metrics=metrics, **about)
