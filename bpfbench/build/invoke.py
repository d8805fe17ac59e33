"""The one place where compilers and their like are started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bpfbench.errors import BenchError

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
    """Run a command that ends soon. Raises ``BenchError`` when it cannot be started or does not end."""
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
