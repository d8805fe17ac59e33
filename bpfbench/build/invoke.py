"""The one place where compilers and their like are started."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from bpfbench.process.reaper import Reaper

WALL = 600.0
"""Seconds after which a single compiler call counts as stuck."""

NOWHERE = "/proc/nonexistent"
"""A directory that is not there, and that nobody can make, root included: what wants to keep something at home does without."""


class Outcome(NamedTuple):
    """How a command ended: exit status (negative: signal), standard output, standard error."""

    code: int
    out: str
    err: str
    log: str = ""
    """Where all that it said can be read, if that was written down."""
    largest: int = 0
    """Most memory that any process of it had, in KiB; 0 where that was not looked at."""


Invoke = Callable[[Sequence[str], Path], Outcome]
"""Runs one command to its end in a directory, in the environment of ``environment()``."""


class Run(Protocol):
    """An ``Invoke`` that can do more, for the builds of others."""

    def __call__(
        self,
        argv: Sequence[str],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        wall: float = WALL,
        silence: float | None = None,
    ) -> Outcome:
        """Run ``argv`` in ``env`` (None: ``environment()``, with temporary files in ``cwd`` if it is a build's).

        With a ``name``, both streams go into one log of that name and ``Outcome.log`` says where it is.
        Raises ``BenchError`` after ``wall`` seconds, or after ``silence`` seconds without a word.
        """


def environment() -> dict[str, str]:
    """Return the whole environment of a build command: nothing of the caller's but where programs are found.

    What lies on PATH is part of the key by content, so PATH itself need not be.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": NOWHERE,
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "1",
    }


def within(scratch: Path) -> dict[str, str]:
    """Return ``environment()`` with a place for temporary files: a compiler that is killed leaves its own."""
    return {**environment(), "TMPDIR": str(scratch)}


def invoke(
    argv: Sequence[str],
    cwd: Path,
    *,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
    wall: float = WALL,
    silence: float | None = None,
) -> Outcome:
    """Run a command that ends soon: questions to compilers. Neither ``name`` nor ``silence`` matters here.

    Raises ``BenchError`` when it cannot be started or does not end.
    """
    import subprocess  # dear to import, and an up-to-date check never comes here

    try:
        done = subprocess.run(
            argv, cwd=cwd, env=env or environment(), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=wall, check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{argv[0]} did not end within {wall:.0f} s") from error
    except OSError as error:
        raise BenchError(f"{argv[0]} cannot be started: {error.strerror}", hint="./bench system") from error
    return Outcome(done.returncode, done.stdout, done.stderr)


def supervised(reaper: Reaper, log_dir: Path) -> Run:
    """Return a ``Run`` whose commands end with us, by whatever way, and leave their words in ``log_dir``.

    For the build itself. They run as the user who called us through sudo, if that is how we were called.
    """
    from bpfbench.process.command import Command

    counter = itertools.count(1)

    def run(
        argv: Sequence[str],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        wall: float = WALL,
        silence: float | None = None,
    ) -> Outcome:
        log = f"{next(counter):03d}-{name or Path(argv[0]).name}"
        command = Command(
            tuple(argv), env or within(cwd), cwd, log, stdout="file" if name else "lines", unprivileged=True
        )
        child = reaper.start(command, log_dir)
        try:
            ended = child.wait(wall, silence=silence)
        finally:
            child.stop()
        if ended.code is None:
            killed = f"{shlex.join(argv)} was killed by {ended.signal}\n{child.tail()}".rstrip()
            raise BenchError(killed, hint="is there memory enough?")
        out = child.out.read_text("utf-8", "replace")
        err = "" if name else child.err.read_text("utf-8", "replace")
        return Outcome(ended.code, out, err, str(child.out), ended.max_rss_kib)

    return run
