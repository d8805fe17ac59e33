"""Reading a child's log while the child writes it.

The log is the only copy of what a child prints: complete whatever happens to us, and of no cost in memory.
A reader keeps its place in the file; inotify wakes it when there is more.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes after which a line is cut in two, so that a flood without newlines stays bounded."""
TAIL_BYTES, TAIL_LINES = 1 << 13, 20
IN_MODIFY = 2


class Lines:
    """The lines of a growing file, each handed out once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0  # in the file, of what follows the buffer
        self._buffer = b""
        self._place = 0  # in the buffer

    def next(self, *, ended: bool = False) -> str | None:
        """The next complete line without its newline, None when there is none yet.

        ``ended`` says that nothing more will be written: then what follows the last newline counts as a line.
        """
        while (end := self._buffer.find(b"\n", self._place)) < 0:
            if len(self._buffer) - self._place >= LONGEST_LINE:
                return self._take(len(self._buffer))
            more = self._read()
            if not more:
                if ended and self._place < len(self._buffer):
                    return self._take(len(self._buffer))
                return None
            self._buffer = self._buffer[self._place :] + more
            self._place = 0
        return self._take(end + 1)

    def _take(self, end: int) -> str:
        line = self._buffer[self._place : end]
        self._place = end
        return _text(line.removesuffix(b"\n"))

    def _read(self) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._offset)
            data = file.read(CHUNK)
        self._offset += len(data)
        return data


class Bell:
    """An inotify instance: ``fd`` becomes readable when the watched file is written to."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = -1
        self.fd = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, path: Path) -> None:
        """Watch ``path`` (one at a time)."""
        self.silence()
        self._watch = self._check(self._libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY))

    def unwatch(self) -> None:
        """Watch nothing."""
        self._libc.inotify_rm_watch(self.fd, self._watch)

    def silence(self) -> None:
        """Forget the rings so far."""
        with suppress(BlockingIOError):
            os.read(self.fd, CHUNK)

    def close(self) -> None:
        """Give up the descriptor."""
        os.close(self.fd)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result


def tail(*paths: Path) -> str:
    """The last lines of each log that has any, under its path, as an error message shows them."""
    shown = []
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = _text(file.read()).splitlines()[-TAIL_LINES:]
            if lines:
                shown += [f"  end of {path}:", *(f"    {_printable(line)}" for line in lines)]
    return "\n".join(shown)


def _text(data: bytes) -> str:
    return data.decode(errors="replace").removesuffix("\r")


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "�" for char in line)
