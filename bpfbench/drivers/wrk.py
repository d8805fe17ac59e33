"""The load generator wrk, told to answer in JSON; whatever it did not like about an answer fails the load."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import Garbled, fields_of
from bpfbench.errors import BenchError
from bpfbench.process.batch import run
from bpfbench.process.command import Command, Exit, minimal_env
from bpfbench.process.reaper import Reaper

SCRIPT = """\
done = function(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      'LOAD {"requests": %d, "bytes": %d, "duration": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d, '
      .. '"p50": %.3f, "p99": %.3f, "max": %.3f}\\n',
      summary.requests, summary.bytes, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(99), latency.max))
end
"""
ERRORS = ("connect", "read", "write", "status", "timeout")
GRACE = 20.0
"""Seconds that a load may take longer than it should before it is taken to hang."""


class LoadError(BenchError):
    """The load did not go as it should."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: requests answered in ``seconds``, and latencies in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    """CPU seconds that the client had."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else belongs into the evidence."""


def offer(
    reaper: Reaper, program: Path, work: Path, url: str, *, seconds: int, connections: int, keep_alive: bool, cpus: frozenset[int]
) -> Load:
    """Ask for ``url`` over ``connections`` connections at once, for ``seconds``. Raises ``LoadError``."""
    script = work / "wrk.lua"
    script.write_text(SCRIPT)
    argv = [str(program), "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(script)]
    if not keep_alive:
        argv += ["-H", "Connection: close"]
    command = Command((*argv, url), minimal_env(work), work, "wrk", stdout="file", cpus=cpus)
    exit = run(reaper, command, work, wall=seconds + GRACE)
    told = reported("wrk", exit, work, ERRORS)
    if not told["requests"] or not told["duration"]:
        raise Garbled(f"wrk made no request: {json.dumps(told)}")
    return Load(told["requests"], told["duration"] / 1e6, told["p50"], told["p99"], exit.user + exit.system)


def reported(name: str, exit: Exit, work: Path, errors: Collection[str]) -> dict[str, Any]:
    """Return what a client named ``name`` has told of a load without any error. Raises ``LoadError``."""
    said = (work / f"{name}.out").read_text(errors="replace")
    line = next((line for line in said.splitlines() if line.startswith("LOAD ")), None)
    if not exit.ok or line is None:
        raise LoadError(f"{name} {exit} and reported no result: {said[-300:]}")
    told = fields_of(line, line[5:])
    wrong = {what: told[what] for what in errors if told[what]}
    if wrong:
        raise LoadError(f"{name} met errors: {json.dumps(wrong)} in {told['requests']} requests")
    return told
