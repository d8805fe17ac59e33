"""What a crash costs: clients that keep a record of every update that was acknowledged, and what of it is there afterwards.

Each update has a key and a value of its own, so that an update is there or it is not; nothing hides a loss.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bpfbench.drivers.redis_server import ADDRESS, Connection, RedisError, encoded

TOGETHER = 512
"""Keys that are asked for at once."""
LOOK = 0.05
"""Seconds after which a writer that hears nothing looks whether it is to stop."""
OK = b"+OK\r\n"


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    number: int
    sent: int = 0
    heard: bytes = b""

    @property
    def key(self) -> str:
        return f"client:{self.number}:{self.sent}"


class Writer(threading.Thread):
    """Clients that write, each as soon as its last update was acknowledged, until the server dies or ``stop`` is called."""

    def __init__(self, port: int, clients: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, float] = {}
        """Key → when its acknowledgement came, on the monotonic clock."""
        self.refused: list[str] = []
        """Answers other than OK."""
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        for number in range(clients):
            try:
                one = socket.create_connection((ADDRESS, port), timeout=10)
            except OSError as error:
                self._close()
                raise RedisError(f"client {number} gets no connection: {error}") from error
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ, _Client(one, number))

    def run(self) -> None:
        """Write until there is nobody to write to."""
        for one in list(self._selector.get_map().values()):
            self._write(one.data)
        while self._selector.get_map() and not self._ended.is_set():
            for one, _ in self._selector.select(LOOK):
                self._hear(one.data)
        self._close()

    def stop(self) -> None:
        """Stop writing, and wait until no acknowledgement is recorded any more."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def _write(self, client: _Client) -> None:
        client.sent += 1
        try:
            client.socket.sendall(encoded("SET", client.key, value_of(client.key)))
        except OSError:
            self._drop(client)

    def _hear(self, client: _Client) -> None:
        try:
            heard = client.socket.recv(4096)
        except OSError:
            heard = b""
        client.heard += heard
        if not heard:
            self._drop(client)
        elif client.heard == OK:
            self.acknowledged[client.key] = time.monotonic()
            client.heard = b""
            self._write(client)
        elif client.heard.endswith(b"\r\n"):
            self.refused.append(client.heard.decode(errors="replace").strip())
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()

    def _close(self) -> None:
        for one in list(self._selector.get_map().values()):
            self._drop(one.data)
        self._selector.close()


@dataclass(frozen=True, slots=True)
class Loss:
    """What a crash has cost: how many acknowledged updates, and how long before it the oldest of them was acknowledged."""

    acknowledged: int
    lost: int
    age: float
    """Seconds; 0 if nothing is lost."""
    wrong: tuple[str, ...] = field(default=())
    """Keys that have a value which nobody gave them."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a crash may cost: so many acknowledged updates, or those of so many seconds; neither: anything."""

    updates: int | None = None
    seconds: float | None = None

    def broken_by(self, loss: Loss) -> str | None:
        """Return what was lost beyond the promise, in words; None: it was kept."""
        if self.updates is not None and loss.lost > self.updates:
            return f"{loss.lost} of {loss.acknowledged} acknowledged updates are lost, promised were at most {self.updates}"
        if self.seconds is not None and loss.age > self.seconds:
            return f"an update is lost that was acknowledged {loss.age:.2f} s before, promised were at most {self.seconds:g} s"
        return None


def value_of(key: str) -> str:
    """Return the value that a key is given."""
    return f"value of {key}"


def look(server: Connection, acknowledged: Mapping[str, float], crash: float) -> Loss:
    """Compare what a server has with what had been acknowledged before the crash, which came at ``crash``."""
    keys, lost, wrong = list(acknowledged), [], []
    for start in range(0, len(keys), TOGETHER):
        some = keys[start : start + TOGETHER]
        for key, found in zip(some, server.ask("MGET", *some), strict=True):
            if found is None:
                lost.append(key)
            elif found != value_of(key):
                wrong.append(key)
    age = max((crash - acknowledged[key] for key in lost), default=0.0)
    return Loss(len(keys), len(lost), max(age, 0.0), tuple(wrong))
