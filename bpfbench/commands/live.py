"""The live display: on a terminal, one line a running task, redrawn in place; in a pipe, plain lines only."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import TextIO

from bpfbench.commands.text import duration
from bpfbench.progress import Pulse, running

_TICK = 0.5
_PLAIN_EVERY = 30.0
"""Seconds between two progress lines in a pipe, so that a log shows that something is going on."""


class Live:
    """Writes finished lines, and below them (on a terminal) what runs now."""

    def __init__(self, out: TextIO, directory: Path) -> None:
        self._out, self._directory = out, directory
        self.terminal = out.isatty()
        self._lock = threading.Lock()
        self._drawn = 0
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
            self._erase()
            self._out.flush()

    def say(self, text: str) -> None:
        """Write a finished line."""
        with self._lock:
            self._erase()
            self._out.write(text + "\n")
            self._out.flush()

    def _redraw(self) -> None:
        last_plain = time.monotonic()
        while not self._stop.wait(_TICK):
            pulses = running(self._directory)
            if self.terminal:
                self._draw([line(pulse, time.time()) for pulse in pulses])
            elif time.monotonic() - last_plain >= _PLAIN_EVERY:
                last_plain = time.monotonic()
                for pulse in pulses:
                    self.say(line(pulse, time.time()))

    def _draw(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size().columns
        with self._lock:
            self._erase()
            for text in lines:
                self._out.write(text[: width - 1] + "\n")
            self._drawn = len(lines)
            self._out.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def line(pulse: Pulse, now: float) -> str:
    """Return one line for a running task: what it does, for how long, and when it should be over."""
    text = f"… {pulse.task}  {duration(now - pulse.started)}  {pulse.note}"
    if pulse.eta is not None and pulse.eta > now:
        text += f", about {duration(pulse.eta - now)} left"
    return text
