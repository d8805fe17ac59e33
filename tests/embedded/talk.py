"""Talking to the loader and the victim of the uprobe workload, with the runtime preloaded."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEADLINE = 20.0


class Program:
    """A child that answers one line to one command."""

    def __init__(self, argv: Sequence[str | Path], env: dict[str, str], **options: Any) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in argv], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, **options,
        )
        self._read = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, *, deadline: float = DEADLINE) -> str:
        """Return the next line of its standard output; empty at the end."""
        assert self.process.stdout is not None
        until = time.monotonic() + deadline
        while b"\n" not in self._read:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"no answer within {deadline} s"
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return ""
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        return self.line()

    def json(self, word: str, command: str | None = None) -> Any:
        """Return the JSON of the answer, which must begin with ``word``."""
        line = self.ask(command) if command else self.line()
        assert line.startswith(f"{word} "), f"{line!r} {self.errors() if not line else ''}"
        return json.loads(line.partition(" ")[2])

    def errors(self) -> str:
        """Return its standard error once it has ended."""
        assert self.process.stderr is not None
        self.process.wait(DEADLINE)
        return str(self.process.stderr.read(), "utf-8")

    def quit(self) -> None:
        self.end_input(b"quit\n")
        assert self.process.wait(DEADLINE) == 0, self.errors()

    def end_input(self, last: bytes = b"") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(last)
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)


def eventually(holds: Callable[[], bool], what: str, deadline: float = 5.0) -> None:
    """Wait until it holds."""
    until = time.monotonic() + deadline
    while not holds():
        assert time.monotonic() < until, f"not within {deadline} s: {what}"
        time.sleep(0.01)


def text_of(pid: int, file: Path) -> bytes:
    """Return the executable pages of a file as the process has them."""
    mapping = re.search(rf"^(\S+)-(\S+) r-xp .*{re.escape(str(file))}$", Path(f"/proc/{pid}/maps").read_text(), re.M)
    assert mapping
    start, end = (int(number, 16) for number in mapping.groups())
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        memory.seek(start)
        return memory.read(end - start)
