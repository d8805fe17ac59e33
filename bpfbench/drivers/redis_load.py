"""The load generator redis-benchmark, and what the server itself says that it was asked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bpfbench.drivers.redis_server import ADDRESS, Redis, RedisError
from bpfbench.errors import BenchError
from bpfbench.process.batch import run
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

COLUMNS = ("test", "rps", "avg_latency_ms", "min_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms", "max_latency_ms")
SLOWEST = 20.0
"""Requests a second below which a load is taken to hang: each of its requests then takes longer than the slowest disk's flush."""
GRACE = 20.0
"""Seconds beyond that."""


class LoadError(BenchError):
    """The load did not go as it should."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: requests a second, latencies in microseconds, CPU seconds of the generator."""

    requests: int
    rate: float
    p50: float
    p99: float
    cpu: float


def offer(
    reaper: Reaper, program: Path, work: Path, server: Redis, *, requests: int, clients: int, keys: int, size: int, cpus: frozenset[int]
) -> Load:
    """Have ``clients`` set random ones of ``keys`` keys to ``size`` bytes, each with one request at a time. Raises ``LoadError``.

    The server must have had exactly as many, and have refused none.
    """
    words = ("-h", ADDRESS, "-p", server.port, "-t", "set", "-n", requests, "-c", clients, "-r", keys, "-d", size, "--csv")
    with server.connect() as connection:
        connection.ask("CONFIG", "RESETSTAT")
        command = Command((str(program), *map(str, words)), minimal_env(work), work, "redis-benchmark", cpus=cpus)
        exit = run(reaper, command, work, wall=requests / SLOWEST + GRACE)
        had = commands(connection.ask("INFO", "commandstats")).get("set", {})
    told = (work / "redis-benchmark.out").read_text(errors="replace")
    if not exit.ok:
        raise LoadError(f"redis-benchmark {exit}: {told[-300:]}")
    if (had.get("calls"), had.get("rejected_calls"), had.get("failed_calls")) != (requests, 0, 0):
        raise LoadError(f"redis-benchmark made {requests} requests, the server says of them: {had or 'none'}")
    row = parse(told)
    milliseconds = {name: 1e3 * float(row[f"{name}_latency_ms"]) for name in ("p50", "p99")}
    return Load(requests, float(row["rps"]), milliseconds["p50"], milliseconds["p99"], exit.user + exit.system)


def parse(text: str) -> dict[str, str]:
    """Return the line for SET of what ``redis-benchmark --csv`` prints. Raises ``LoadError``."""
    rows = list(csv.reader(text.splitlines()))
    if len(rows) != 2 or tuple(rows[0]) != COLUMNS or len(rows[1]) != len(COLUMNS) or rows[1][0] != "SET":
        raise LoadError(f"redis-benchmark printed something else than one test: {text[-300:]}")
    row = dict(zip(COLUMNS, rows[1], strict=True))
    try:
        sound = float(row["rps"]) > 0 and 0 < float(row["p50_latency_ms"]) <= float(row["p99_latency_ms"])
    except ValueError:
        sound = False
    if not sound:
        raise LoadError(f"redis-benchmark measured nothing: {row}")
    return row


def commands(text: str) -> dict[str, dict[str, int]]:
    """Return what ``INFO commandstats`` says of each command: ``calls``, ``rejected_calls``, ``failed_calls``."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        name, _, fields = line.partition(":")
        if name.startswith("cmdstat_"):
            pairs = dict(field.partition("=")[::2] for field in fields.split(","))
            try:
                found[name.removeprefix("cmdstat_")] = {
                    what: int(pairs[what]) for what in ("calls", "rejected_calls", "failed_calls")
                }
            except (KeyError, ValueError) as error:
                raise RedisError(f"this says nothing of calls: {line!r}") from error
    return found
