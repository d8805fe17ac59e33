"""How far a running task is: one small file a task, written by whoever works, read by the live display.

Files and not calls, since under ``doit -n 2`` the work happens in another process than the display.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

INTERVAL = 0.2
"""Seconds between two writes at least: watching must not disturb what is watched."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of a running task. ``started`` and ``eta`` are Unix times; ``eta`` None: unknown."""

    task: str
    note: str
    done: int
    total: int
    started: float
    eta: float | None


class Progress:
    """The writing side, for one task. Use as a context manager: the file goes when the task ends."""

    def __init__(self, directory: Path, task: str) -> None:
        self._path = directory / f"{task.replace('/', '_')}.json"
        self._task = task
        self._started = time.time()
        self._last = 0.0

    def __enter__(self) -> Progress:
        self("starting")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()

    def __call__(self, note: str, *, done: int = 0, total: int = 0, eta: float | None = None) -> None:
        """Say what is being done now; ``done`` of ``total`` steps; ``eta`` the Unix time at which it should be over."""
        now = time.monotonic()
        if now - self._last < INTERVAL:
            return
        self._last = now
        pulse = Pulse(self._task, note, done, total, self._started, eta)
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        # A full disk must not end a measurement for the sake of its display.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(pulse)))
            temporary.replace(self._path)


def running(directory: Path) -> list[Pulse]:
    """Return the pulse of every task that runs now."""
    pulses = []
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            pulses.append(Pulse(**json.loads(path.read_text())))
    return pulses
