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
LONGEST = 120
"""Letters of a note that are shown: it has one line of a terminal, and its record has an end."""
RECORD = 1024
"""Bytes of a record, padded with blanks: a longer note leaves nothing behind under a shorter one."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of a running task. ``started`` and ``eta`` are Unix times; ``eta`` None: unknown."""

    task: str
    note: str
    done: int
    total: int
    started: float
    eta: float | None
    bound: bool = False
    """Whether ``eta`` is the latest it can be, not a guess."""


class Progress:
    """The writing side, for one task. Use as a context manager: the file goes when the task ends."""

    def __init__(self, directory: Path, task: str) -> None:
        self._path = directory / f"{task.replace('/', '_')}.json"
        self._task = task
        self._started = time.time()
        self._last = 0.0
        self._fd = -1

    def __enter__(self) -> Progress:
        # A full disk must not end a measurement for the sake of its display.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self("starting")
        self._last = 0.0  # what is said next is seen, however soon it is said
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __call__(
        self, note: str, *, done: int = 0, total: int = 0, eta: float | None = None, bound: bool = False
    ) -> None:
        """Say what is being done now; ``done`` of ``total`` steps; ``eta`` the Unix time at which it should be over.

        With ``bound``, ``eta`` is the latest that it can be, not a guess.
        """
        now = time.monotonic()
        if self._fd < 0 or now - self._last < INTERVAL:
            return
        self._last = now
        pulse = Pulse(self._task, note[:LONGEST], done, total, self._started, eta, bound)
        # Written over in place: a rename may wait for the disk, and this stands between two samples. A reader that
        # comes in the middle sees no JSON and looks again.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, json.dumps(asdict(pulse)).encode().ljust(RECORD), 0)


def running(directory: Path) -> list[Pulse]:
    """Return the pulse of every task that runs now."""
    pulses = []
    for path in sorted(directory.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            pulses.append(Pulse(**json.loads(path.read_text())))
    return pulses
