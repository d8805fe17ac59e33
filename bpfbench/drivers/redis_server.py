"""A Redis of our own: one process, one port on the loopback interface, and a connection that speaks its protocol."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE
from bpfbench.errors import BenchError
from bpfbench.process.child import Child
from bpfbench.process.command import Command
from bpfbench.process.identity import privileged
from bpfbench.process.reaper import Reaper

ADDRESS = "127.0.0.1"
PATIENCE = 0.005
"""Seconds between two looks at something that is about to happen."""
ANSWER_DEADLINE = 20.0
"""Seconds for a server to answer; long, because a flush may take its time."""

CONFIGURATION = """\
bind {address}
port {port}
dir {data}
daemonize no
appendonly yes
appendfsync {policy}
# no other file is written meanwhile, and the log is not written anew
save ""
auto-aof-rewrite-percentage 0
set-proc-title no
oom-score-adj no
"""


class RedisError(BenchError):
    """The server did not start, or does not answer as it should."""


class Connection:
    """A connection on which one question is asked at a time. Raises ``RedisError``, also for answers that are errors."""

    def __init__(self, port: int, timeout: float = ANSWER_DEADLINE) -> None:
        try:
            self._socket = socket.create_connection((ADDRESS, port), timeout=timeout)
        except OSError as error:
            raise RedisError(f"no connection to port {port}: {error}") from error
        self._answers = self._socket.makefile("rb")

    def ask(self, *words: str) -> Any:
        """Return the answer: text, a number, None, or a list of those."""
        try:
            self._socket.sendall(encoded(*words))
            return self._answer()
        except OSError as error:
            raise RedisError(f"no answer to {words[0]}: {error}") from error

    def close(self) -> None:
        """Close it."""
        self._answers.close()
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("the connection was closed in the middle of an answer")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise RedisError(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind != b"$":
            raise RedisError(f"this is no answer: {line[:80]!r}")
        return None if rest == "-1" else self._answers.read(int(rest) + 2)[:-2].decode(errors="replace")


def encoded(*words: str) -> bytes:
    """Return a command as it goes over the wire."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Redis:
    """A running server whose log is below ``data``. ``inside`` is a process whose mounts it shares."""

    def __init__(
        self, reaper: Reaper, program: Path, work: Path, env: Mapping[str, str], cpus: frozenset[int], data: Path, *,
        policy: str = "always", inside: int | None = None, name: str = "redis",
    ) -> None:  # fmt: skip
        self.port = free_port()
        configuration = work / f"{name}.conf"
        configuration.write_text(CONFIGURATION.format(address=ADDRESS, port=self.port, data=data, policy=policy))
        command = Command(_words(program, configuration, env, inside), _outer(env, inside), work, name, stdout="file", cpus=cpus)
        self.child: Child = reaper.start(command, work)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.child.stop()
            raise

    @property
    def pid(self) -> int:
        """The server's process."""
        return self.child.pid

    def connect(self) -> Connection:
        """Return a new connection."""
        return Connection(self.port)

    def freeze(self) -> None:
        """Let it do nothing any more, as if it had lost its CPU."""
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill it, as ``kill -9`` does, and nothing else of the tree. Does not wait."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.child.alive:
            with privileged(), suppress(ProcessLookupError):
                os.kill(self.child.pid, number)

    def _wait_until_it_answers(self) -> None:
        limit = time.monotonic() + START_DEADLINE
        while True:
            try:
                with Connection(self.port, timeout=1) as connection:
                    connection.ask("PING")
                return
            except RedisError as error:  # not listening yet, or it still reads its log
                if not self.child.alive or time.monotonic() > limit:
                    raise RedisError(f"Redis does not answer on port {self.port}: {error}\n{self.child.tail()}") from error
                time.sleep(PATIENCE)


def _words(program: Path, configuration: Path, env: Mapping[str, str], inside: int | None) -> tuple[str, ...]:
    """Return the command line. What is preloaded is meant for the server, not for those that lead to it."""
    if inside is None:
        return str(program), str(configuration)
    preload = [f"LD_PRELOAD={env['LD_PRELOAD']}"] if "LD_PRELOAD" in env else []
    return "nsenter", f"--mount=/proc/{inside}/ns/mnt", "--", "env", *preload, str(program), str(configuration)


def _outer(env: Mapping[str, str], inside: int | None) -> dict[str, str]:
    return {name: value for name, value in env.items() if inside is None or name != "LD_PRELOAD"}


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])
