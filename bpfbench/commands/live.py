"""The live display: on a terminal, one line a running task, redrawn in place; in a pipe, plain lines only."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from bpfbench.commands.text import duration, one_line, shortened, takes_escapes
from bpfbench.progress import Pulse, running

_TICK = 0.5
_PLAIN_EVERY = 30.0
"""Seconds between two progress lines in a pipe, so that a log shows that something is going on."""


class Live:
    """Writes finished lines, and below them (on a terminal) what runs now.

    A reader that went away (``| head``) ends no measurement: what cannot be written is dropped.
    """

    def __init__(self, out: TextIO, directory: Path, expected: Mapping[str, float] | None = None) -> None:
        self._out, self._directory = out, directory
        self._expected = {} if expected is None else expected
        self.terminal = takes_escapes(out)
        self._lock = threading.Lock()
        self._drawn: list[str] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to redraw. Started with the first task and not before: worker processes are forked by then."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._redraw, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End redrawing and leave the finished lines only."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            self._write(self._erasure())

    def say(self, text: str) -> None:
        """Write a finished line (or several), above what is live."""
        with self._lock:
            live = bool(self._drawn)
            self._write(self._erasure() + "".join(f"{line}\n" for line in text.splitlines()))
        if live:
            self.draw()

    def _redraw(self) -> None:
        last_plain = time.monotonic()
        while not self._stop.wait(_TICK):
            if self.terminal:
                self.draw()
            elif time.monotonic() - last_plain >= _PLAIN_EVERY:
                last_plain = time.monotonic()
                for text in self._lines():
                    self.say(text)

    def draw(self) -> None:
        """Draw what runs now, in place of what was drawn before."""
        columns, rows = shutil.get_terminal_size()
        # One column and one row stay free: a terminal that wraps or scrolls could not be erased any more.
        lines = [shortened(text, max(1, columns - 1)) for text in self._lines()][: max(1, rows - 1)]
        with self._lock:
            self._write(self._erasure() + "".join(f"{line}\n" for line in lines))
            self._drawn = lines

    def _lines(self) -> list[str]:
        now = time.time()
        return [line(pulse, now, self._expected.get(pulse.task)) for pulse in running(self._directory)]

    def _erasure(self) -> str:
        """Return what takes the live lines away. A terminal that was narrowed meanwhile has wrapped them."""
        drawn, self._drawn = self._drawn, []
        columns = max(1, shutil.get_terminal_size().columns)
        rows = sum(max(1, -(-len(text) // columns)) for text in drawn)
        return f"\x1b[{rows}F\x1b[J" if rows else ""

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._out.write(text)
            self._out.flush()


def line(pulse: Pulse, now: float, expected: float | None = None) -> str:
    """Return one line for a running task: what it does, for how long, and when it should be over.

    A task is taken to last as long as it did before (``expected`` seconds), if it did; else what it says itself counts.
    """
    spent = now - pulse.started
    text = f"… {pulse.task}  {duration(spent)}  {one_line(pulse.note)}"
    if expected is not None and expected > spent:
        return f"{text}, about {duration(expected - spent)} left"
    if pulse.eta is not None and pulse.eta > now:
        return f"{text}, {'at most' if pulse.bound else 'about'} {duration(pulse.eta - now)} left"
    return text
