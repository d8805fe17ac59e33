"""The client that asks at a constant rate (workloads/openloop): latencies count from when a request was due, not from when it went out."""

from __future__ import annotations

from pathlib import Path

from bpfbench.drivers.wrk import GRACE, Load, LoadError, reported
from bpfbench.process.batch import run
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

ERRORS = ("connect", "read", "write", "status", "unreadable", "timeout")


def offer(
    reaper: Reaper, program: Path, work: Path, port: int, path: str, *,
    body: int, connections: int, rate: int, seconds: int, tls: bool, cpus: frozenset[int],
) -> Load:
    """Ask for ``path`` ``rate`` times a second over as many kept connections as are needed and allowed. Raises ``LoadError``.

    All requests that were due are answered in the end, or the load has failed; where the server cannot keep up, that takes longer.
    """
    wanted = {"port": port, "path": path, "body": body, "connections": connections, "rate": rate, "seconds": seconds}
    words = [word for name, value in wanted.items() for word in (f"--{name}", str(value))]
    argv = (str(program), *words, *(["--tls"] if tls else []))
    command = Command(argv, minimal_env(work), work, "client", stdout="file", cpus=cpus)
    exit = run(reaper, command, work, wall=seconds + GRACE)
    told = reported("client", exit, work, ERRORS)
    if told["requests"] != rate * seconds:
        raise LoadError(f"client made {told['requests']} of {rate * seconds} requests")
    details = {
        "requests_per_second_due": rate, "requests_that_waited_for_a_connection": told["queued"],
        "client_late_p99_us": told["late_p99_ns"] / 1e3, "latency_max_us": told["max_ns"] / 1e3,
    }
    took = max(told["duration_ns"] / 1e9, seconds)  # the last one is due one interval before the end
    return Load(told["requests"], took, told["p50_ns"] / 1e3, told["p99_ns"] / 1e3, exit.user + exit.system, details)
