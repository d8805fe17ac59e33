"""What every method is handed: places to work in, children, progress, and what is known to be out of reach."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bpfbench.fetch.errors import Unavailable
from bpfbench.fetch.members import Limits
from bpfbench.fetch.reach import TRUST, Reach
from bpfbench.process.command import PATH, Command, Exit
from bpfbench.process.errors import NotStarted, TimedOut
from bpfbench.store import tree as trees

if TYPE_CHECKING:
    from bpfbench.process.reaper import Reaper

CONNECT = 15.0
"""Seconds until an origin must have given a first sign of life."""
SILENCE = 60.0
"""Seconds for which it may be silent after that."""
WALL = 3600.0
"""Seconds that anything may take as a whole."""

NOWHERE = "/proc/nonexistent"
"""Home of programs that have no business there: not there, and not to be made, by root either."""

_PASSED = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


class Note(Protocol):
    """How a method says what it is doing: ``bpfbench.progress.Progress`` is one."""

    def __call__(self, note: str, *, done: int = 0, total: int = 0) -> object:
        """Say it."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """What came out of an origin, beside the tree."""

    revision: str
    """The commit, or the version."""
    pin: Mapping[str, str]
    """What pins this origin from now on: ``sha256`` or ``commit``."""
    submodules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Path → ``url`` and ``commit``."""


@dataclass
class Tools:
    """Use as a context manager: its children end with it. One thread at a time."""

    mark: str
    """What all children carry in their environment."""
    logs: Path
    downloads: Path
    """Where unfinished downloads wait for being continued."""
    cache: Path
    """For what methods keep between calls; can be deleted at any time."""
    work: Path
    """Private to this call and empty; on the store's disk if possible."""
    progress: Note
    reach: Reach
    limits: Limits = field(default_factory=Limits)
    connect: float = CONNECT
    silence: float = SILENCE
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _reaper: Reaper | None = field(default=None, repr=False)
    _runs: int = field(default=0, repr=False)

    def __enter__(self) -> Tools:
        trees.delete(self.work)  # what a killed call has left
        self.work.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        trees.delete(self.work)

    def place(self, name: str) -> Path:
        """Return a new, empty directory to work in."""
        self._runs += 1
        place = self.work / f"{self._runs}-{name}"
        place.mkdir(parents=True)
        return place

    def run(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path,
        env: Mapping[str, str],
        what: str,
        host: str | None = None,
        signs: Callable[[str], str | None] = lambda line: None,
    ) -> tuple[Exit, str, str]:
        """Run a program that talks to an origin; return how it ended and what it wrote (stdout, stderr).

        It is ended, and ``Unavailable`` raised, when it shows no sign of life for ``connect`` seconds at first or
        ``silence`` seconds later. ``signs`` makes a note of a line that it wrote, if there is one to be made;
        only such a line is a first sign of life.
        """
        self._runs += 1
        command = Command(argv, env, cwd, f"{self._runs:03d}-{Path(argv[0]).name}", unprivileged=True)
        try:
            child = self._children().start(command, self.logs)
        except NotStarted as error:
            raise Unavailable(error.message, hint=error.hint) from error
        begun = heard = time.monotonic()
        patience, seen = self.connect, 0
        try:
            while True:
                try:
                    exit = child.wait(0.1)
                    break
                except TimedOut:
                    now = time.monotonic()
                size = sum(path.stat().st_size for path in {child.out, child.err})
                if size != seen:
                    if note := _latest(child.err, signs) or _latest(child.out, signs):
                        patience = self.silence
                        self.progress(f"{what}: {note}")
                    if note or patience == self.silence:
                        heard = now
                    seen = size
                if now - heard > patience or now - begun > WALL:
                    message = f"{what}: no sign of life for {now - heard:.0f} s"
                    raise Unavailable(message, host=host if patience == self.connect else None)
        finally:
            if child.alive:
                child.stop()
        return exit, child.out.read_text("utf-8", "replace"), child.err.read_text("utf-8", "replace")

    def _children(self) -> Reaper:
        if self._reaper is None:
            from bpfbench.process.reaper import Reaper

            self._reaper = self._stack.enter_context(Reaper(self.mark))
        return self._reaper


def environment(home: Path | str, *prefixes: str) -> dict[str, str]:
    """Return the environment of a program that talks to an origin: little, but the way out of this machine.

    ``prefixes`` are of variables that configure that program, and are passed on.
    """
    found = {"PATH": os.environ.get("PATH", PATH), "HOME": str(home), "LC_ALL": "C"}
    for name, value in os.environ.items():
        if name.lower() in _PASSED or name in TRUST or name.startswith(tuple(prefixes)):
            found[name] = value
    return found


def _latest(log: Path, signs: Callable[[str], str | None]) -> str | None:
    """Return the note of the last line of a log that has one."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    for line in reversed(lines):
        if note := signs(line):
            return note
    return None
