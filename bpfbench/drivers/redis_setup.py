"""One Redis with its disk, on an instrumented arm with its extension in it: from the start to the end, proofs included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, environment, remove_segments, tell
from bpfbench.drivers.events import foreign
from bpfbench.drivers.evidence import Evidence, of_status, unmapped
from bpfbench.drivers.nginx import cpu_seconds
from bpfbench.drivers.pair import Invalid, ready_or_refused
from bpfbench.drivers.redis_disk import Disk, FlushDisk, RealDisk
from bpfbench.drivers.redis_server import Redis
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.sampling import Bench, Cell

UPDATES = "update"
"""The program that counts updates."""
GATE = 3
"""Updates of the gate."""


class Setup:
    """See the module. ``start`` may fail halfway; ``stop`` is for whatever there is."""

    disk: Disk
    server: Redis

    def __init__(self, bench: Bench, cell: Cell, work: Path) -> None:
        self.bench, self.cell, self.work = bench, cell, work
        self.options: Mapping[str, Any] = cell.arm.options
        self.loader: Child | None = None
        self.loaded: dict[str, Any] = {}
        self.segment = f"{bench.reaper.mark}.{bench.work.name}.{work.parent.name}.{work.name}"
        self._started: list[str] = []

    def start(self) -> None:
        """Start everything, and see that it works. Raises ``Invalid``, ``Refused``, ``RedisError`` or ``ProcessError``."""
        self.work.mkdir()
        if self.cell.runtime.where != "none":
            self._load()
        latency = self.cell.case.params.get("flush_us")
        self.disk = RealDisk(self.work) if latency is None else FlushDisk(self.bench, self.work, latency)
        self._started.append("disk")
        env = self._env(self.cell.runtime.target_env)
        self.server = Redis(
            self.bench.reaper, self.bench.outputs["redis"] / "bin" / "redis-server", self.work, env, self.bench.measured_cpus,
            self.disk.data, policy=self.options["appendfsync"], inside=self.disk.inside,
        )  # fmt: skip
        self._started.append("server")
        self._gate(env.get("LD_PRELOAD", ""))

    def stop(self) -> None:
        """End all of it. A server that waits for a disk that no longer answers can only be ended after the disk."""
        if "server" in self._started:
            self.server.kill()
        if "disk" in self._started:
            self.disk.stop()
        if "server" in self._started:
            self.server.child.stop()
        if self.loader:
            self.loader.stop()
        remove_segments(self.segment)
        self._started.clear()

    def server_cpu(self) -> float:
        """Return the CPU seconds that the server has had."""
        return cpu_seconds(self.server.pid)

    def begin(self) -> None:
        """Count from 0."""
        if self.loader:
            tell(self.loader, "reset", "OK reset", START_DEADLINE)

    def account(self, requests: int) -> dict[str, Any]:
        """Return what the programs have counted since ``begin``. Raises ``Invalid`` unless they have seen every update."""
        if self.loader is None:
            return {}
        counters = tell(self.loader, "read", "COUNTERS", START_DEADLINE)
        seen = counters["hits"].get(UPDATES, 0)
        if seen != requests:
            raise Invalid(f"not proved: of {requests} updates the extension has seen {seen}")
        return dict(counters)

    def evidence(self) -> Evidence:
        """Return what proves engine and mechanism; of a bare server, that nothing has come into it."""
        runtime = self.cell.runtime
        if runtime.where == "none":
            found = foreign(self.server.pid)
            return Evidence(wrong=f"a runtime has come into the server: {found} mappings" if found else None)
        assert runtime.status is not None, "other runtimes attach to no system call that they could skip"
        return of_status(Path(runtime.status.replace("{work}", str(self.work))))

    def _env(self, extra: Mapping[str, str]) -> dict[str, str]:
        return environment(extra, self.work, self.bench.outputs, self.segment)

    def _load(self) -> None:
        package = self.bench.outputs[self.bench.experiment.packages[0]]
        argv = [str(package / "loader"), "--object", str(package / "program.bpf.o")]
        argv += ["--target", str(self.bench.outputs["redis"] / "bin" / "redis-server")]
        for value in self.options["attach"]:
            argv += ["--attach", value]
        env = self._env(self.cell.runtime.loader_env)
        command = Command(tuple(argv), env, self.work, "loader", stdin=True, cpus=self.bench.other_cpus)
        self.loader = self.bench.reaper.start(command, self.work)
        self.loaded = ready_or_refused(self.loader.expect(r"^(READY|ERROR) ", START_DEADLINE))

    def _gate(self, preload: str) -> None:
        """See that the server has the policy that the arm says, keeps what it is told, and has the extension in it."""
        if missing := unmapped(self.server.pid, preload):
            raise Invalid(f"Redis runs without {Path(missing).name}: it is not mapped\n{self.server.child.tail()}")
        self.begin()
        with self.server.connect() as connection:
            policy = dict([connection.ask("CONFIG", "GET", "appendfsync")]).get("appendfsync")
            if policy != self.options["appendfsync"]:
                raise Invalid(f"Redis runs with appendfsync {policy}, not {self.options['appendfsync']}")
            for number in range(GATE):
                connection.ask("SET", "gate", str(number))
                if connection.ask("GET", "gate") != str(number):
                    raise Invalid("Redis does not return what it was told")
        self.account(GATE)


def env_of(work: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that no runtime comes into."""
    return environment(extra, work, {}, "")
