"""Driver for a server whose system calls are counted: programs on raw_syscalls, which every call of every process comes by.

The gate of every sample is a fixed number of requests on one connection. Which calls they take is known from an *onlooker*: the same
requests to a bare server under ptrace, in a run of its own. The programs must have counted exactly those, by number.

How many calls a load takes depends on how requests happen to meet, but some of them are determinate: the proof of a load is that as
many calls of openat were counted as the server says it had requests, as many reads and writes of files as the kernel's accounting
(/proc/PID/io) has of the worker, and as many exits as entries. A case that is *filtered* counts another process, the server's master,
which makes no calls meanwhile: its proof is that nothing was counted, and that the worker's calls are as soon as they are asked for.

The kernel's tracepoints see the whole machine: programs are attached only as long as their own sample lasts.

Parameters of a case, beside those of ``nginx_load``: ``filtered``.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, hear, tell
from bpfbench.drivers.nginx import ADDRESS, Nginx, ServerError, inside
from bpfbench.drivers.nginx_load import FILE, NginxDriver, NginxSample
from bpfbench.drivers.pair import Invalid
from bpfbench.drivers.wrk import Load
from bpfbench.process.child import Child
from bpfbench.process.command import Command, minimal_env
from bpfbench.sampling import Proof

REQUESTS = 25
"""Requests of the gate."""
OPENAT = 257
READS, WRITES = (0, 17, 19, 40, 295, 327), (1, 18, 20, 40, 296, 328)
"""Calls that the kernel's accounting takes for a read or a write: [p]read[v], [p]write[v], and sendfile for both."""


def create() -> NginxDriver:
    """Return a driver for one run."""
    return NginxDriver(Counted)


class Counted(NginxSample):
    """See the module."""

    loader_mounts = True
    had = 0
    """Requests that the server had had before the load."""
    accounted: Mapping[str, int]
    """The kernel's account of the worker before the load."""

    def loader_argv(self, server: Nginx | None) -> list[str]:
        """Attach to whatever calls there are; who counts is said later."""
        package, tracefs = self.package(), ["--mount-tracefs"] if self.cell.runtime.where == "kernel" else []
        return [str(package / "loader"), "--object", str(package / "program.bpf.o"), *tracefs]

    def gate(self, server: Nginx) -> None:
        """Compare the calls of a fixed number of requests with the onlooker's."""
        if self.loader is None:
            self.answered(server)
            return
        expected = self._known()
        self._watch(self.loader, server.worker)
        self.wait_for(lambda: self.answered(server) and self._any(), "requests are served, but no call was counted")
        server.rest()
        tell(self.loader, "reset", "OK reset", START_DEADLINE)
        exchange(server, self.body)
        server.rest()
        counted = self._calls()
        if counted != expected:
            raise Invalid(f"{REQUESTS} requests take other calls than ptrace saw (counted, expected): {different(counted, expected)}")

    def begin(self, server: Nginx) -> None:
        """Count from 0: the worker, or its master."""
        if self.loader is None:
            return
        self._watch(self.loader, server.child.pid if self.params["filtered"] else server.worker)
        server.rest()
        self.had = server.requests()
        server.rest()
        self.accounted = account_of(server.worker)
        tell(self.loader, "reset", "OK reset", START_DEADLINE)

    def account(self, server: Nginx, load: Load) -> tuple[Proof, dict[str, float], dict[str, Any]]:
        """Hold the counts against those of server and kernel."""
        if self.loader is None:
            return self.bare(server), {}, {}
        server.rest()
        hits, calls, now = self.count()["hits"], self._calls(), account_of(server.worker)
        moved = {name: now[name] - self.accounted[name] for name in now}
        had = server.requests() - 1 - self.had
        self.same_requests(load, had)
        evidence = {"hits": hits, "calls": {str(number): n for number, n in calls.items()}, "requests_served": had, **moved}
        if self.params["filtered"]:
            return self._nothing(server, sum(hits.values()) + sum(calls.values())), {}, evidence
        expected = {
            "exits, as many as entries": (hits["enter_call"], hits["exit_call"]),
            "exits counted by number": (hits["exit_call"], sum(calls.values())),
            "calls of openat, one a request": (had, calls.get(OPENAT, 0)),
            "reads, as accounted": (moved["syscr"], some(calls, READS)),
            "writes, as accounted": (moved["syscw"], some(calls, WRITES)),
        }
        return first_wrong(expected), {"calls": hits["exit_call"] / load.requests}, evidence

    def _nothing(self, server: Nginx, counted: int) -> Proof:
        """See that programs that have counted nothing are there all the same."""
        assert self.loader is not None
        self._watch(self.loader, server.worker)
        self.answered(server)
        if not self._any():
            raise Invalid("the programs count nothing, not even the worker's calls")
        return Proof("calls counted of another process", 0, counted)

    def _known(self) -> Mapping[int, int]:
        """Return the calls that the gate's requests take, by number, as the onlooker has seen them once."""
        if "calls" not in self.kept:
            with self.bystander("onlooked") as server:
                argv = (str(self.package() / "onlooker"), "--pid", str(server.worker))
                command = Command(argv, minimal_env(self.work), self.work, "onlooker", stdin=True, cpus=self.bench.other_cpus)
                onlooker = self.bench.reaper.start(command, self.work)
                try:
                    self.kept["calls"] = self._looked_on(onlooker, server)
                finally:
                    onlooker.stop()
        return dict(self.kept["calls"])

    def _looked_on(self, onlooker: Child, server: Nginx) -> Mapping[int, int]:
        hear(onlooker, "READY", START_DEADLINE)
        counts = []
        for warm in (True, False, False):  # what only the first request ever needs is no part of it
            server.rest()
            counts.append(tell(onlooker, "read", "CALLS", START_DEADLINE)["exits"])
            if warm:
                self.answered(server)
            elif len(counts) == 2:
                exchange(server, self.body)
        before, after = counts[1:]
        return {int(number): n - before.get(number, 0) for number, n in after.items() if n > before.get(number, 0)}

    @staticmethod
    def _watch(loader: Child, pid: int) -> None:
        tell(loader, f"only {pid}", "OK only", START_DEADLINE)

    def _any(self) -> bool:
        return all(self.count()["hits"].values())

    def _calls(self) -> dict[int, int]:
        assert self.loader is not None
        told = tell(self.loader, "calls", "CALLS", START_DEADLINE)
        return {int(number): total["calls"] for number, total in told.items()}


def first_wrong(expected: Mapping[str, tuple[int, int]]) -> Proof:
    """Return the first of several comparisons (expected, observed) that does not hold, or one of all together."""
    for kind, (wanted, found) in expected.items():
        if wanted != found:
            return Proof(kind, wanted, found)
    return Proof("calls", sum(wanted for wanted, _ in expected.values()), sum(found for _, found in expected.values()))


def some(calls: Mapping[int, int], numbers: Iterable[int]) -> int:
    """Return how many calls have one of these numbers."""
    return sum(calls.get(number, 0) for number in numbers)


def different(counted: Mapping[int, int], expected: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Return number → (counted, expected) where they differ."""
    numbers = sorted(counted.keys() | expected.keys())
    both = {number: (counted.get(number, 0), expected.get(number, 0)) for number in numbers}
    return {number: pair for number, pair in both.items() if pair[0] != pair[1]}


def exchange(server: Nginx, body: bytes) -> None:
    """Make the gate's requests on one connection, one after another, each when the worker sleeps. Raises ``Invalid``."""
    request = f"GET /{FILE} HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode()
    try:
        with socket.create_connection((ADDRESS, server.port), timeout=START_DEADLINE) as connection:
            for _ in range(REQUESTS):
                server.rest(connections=1)
                connection.sendall(request)
                answer = b""
                while not answer.endswith(body) or b"\r\n\r\n" not in answer:
                    piece = connection.recv(1 << 16)
                    if not piece:
                        raise Invalid(f"nginx closed the connection after {answer[-100:]!r}")
                    answer += piece
                if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\n" + body):
                    raise Invalid(f"nginx answered {answer[:100]!r}")
    except OSError as error:
        raise ServerError(f"nginx did not answer: {error}\n{server.child.tail()}") from error


def account_of(pid: int) -> dict[str, int]:
    """Return how many calls to read and to write the kernel has accounted to a process's first thread."""
    with inside(pid) as place:
        lines = (place / "task" / str(pid) / "io").read_text().splitlines()
    told = {name: int(number) for name, _, number in (line.partition(": ") for line in lines)}
    return {name: told[name] for name in ("syscr", "syscw")}
