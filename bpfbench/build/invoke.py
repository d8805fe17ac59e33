"""The one place where compilers and their like are started."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from bpfbench.process.reaper import Reaper

WALL = 600.0
"""Seconds after which a single compiler call counts as stuck."""


class Outcome(NamedTuple):
    """How a command ended: exit status (negative: signal), standard output, standard error."""

    code: int
    out: str
    err: str


Invoke = Callable[[Sequence[str], Path], Outcome]
"""Runs one command to its end in a directory, in the environment of ``environment()``."""


def environment() -> dict[str, str]:
    """Return the whole environment of a build command: nothing of the caller's but where programs are found.

    What lies on PATH is part of the key by content, so PATH itself need not be.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "1",
    }


def invoke(argv: Sequence[str], cwd: Path) -> Outcome:
    """Run a command that ends soon: questions to compilers.

    Raises ``BenchError`` when it cannot be started or does not end.
    """
    import subprocess  # dear to import, and an up-to-date check never comes here

    try:
        done = subprocess.run(
            argv, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=WALL, check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{argv[0]} did not end within {WALL:.0f} s") from error
    except OSError as error:
        raise BenchError(f"{argv[0]} cannot be started: {error.strerror}", hint="./bench system") from error
    return Outcome(done.returncode, done.stdout, done.stderr)


def supervised(reaper: Reaper, log_dir: Path) -> Invoke:
    """Return an ``Invoke`` whose commands end with us, by whatever way, and leave their words in ``log_dir``.

    For the build itself. They run as the user who called us through sudo, if that is how we were called.
    """
    from bpfbench.process.command import Command

    counter = itertools.count(1)

    def run(argv: Sequence[str], cwd: Path) -> Outcome:
        name = f"{next(counter):03d}-{Path(argv[0]).name}"
        child = reaper.start(Command(tuple(argv), environment(), cwd, name, unprivileged=True), log_dir)
        try:
            ended = child.wait(WALL)
        finally:
            child.stop()
        if ended.code is None:
            hint = "is there memory enough?"
            raise BenchError(f"{shlex.join(argv)} was killed by {ended.signal}", hint=hint)
        out, err = (log.read_text("utf-8", "replace") for log in (child.out, child.err))
        return Outcome(ended.code, out, err)

    return run
