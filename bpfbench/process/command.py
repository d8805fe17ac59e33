"""What to run, and how it ended."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bpfbench.errors import BenchError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def minimal_env(home: Path | str) -> dict[str, str]:
    """The environment that every command starts from; what it needs beyond this is declared and recorded."""
    return {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Command:
    """One program to run, completely described: nothing is inherited from this process."""

    argv: tuple[str, ...]
    """The program (a path, or a name looked up in the ``PATH`` of ``env``) and its arguments."""
    env: Mapping[str, str]
    cwd: Path
    name: str
    """Names the logs: ``<name>.out`` and ``<name>.err``."""
    stdout: Literal["lines", "file"] = "lines"
    """``lines``: stdout and stderr in a log each. ``file``: both in ``<name>.out``, in the order written, as
    servers and builds want it. Either way the child writes straight to the log; ``expect`` reads there."""
    stdin: bool = False
    """Whether ``Child.send`` is wanted; otherwise stdin is empty."""
    cpus: frozenset[int] | None = None
    """The CPUs to run on, all when None."""
    private_mounts: bool = False
    """Whether what the command mounts is to be seen by its own tree only, and vanish with it. Needs root."""
    unprivileged: bool = False
    """Whether to run as the user who called us through sudo. Without such a user it runs as we do."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "argv", tuple(self.argv))
        if not self.argv:
            raise BenchError(f"command {self.name!r}: argv is empty")
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise BenchError(f"command name {self.name!r}: expected a file name")
        words = [*self.argv, *self.env, *self.env.values()]
        wrong = [word for word in words if not isinstance(word, str) or "\0" in word]
        wrong += [name for name in self.env if not name or "=" in name]
        if wrong:
            raise BenchError(f"command {self.name!r}: {wrong[0]!r} cannot be part of argv or env")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended, and what it used (with those of its children that it waited for)."""

    code: int | None
    """Exit status, None when it was killed by a signal."""
    signal: str | None
    """Name of the signal that killed it, such as ``SIGSEGV``."""
    wall: float
    """Seconds from its exec to its end."""
    user: float
    """CPU seconds in user mode."""
    system: float
    """CPU seconds in the kernel."""
    max_rss_kib: int
    """Largest resident set of a single process, KiB."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.code == 0

    def __str__(self) -> str:
        how = f"was killed by {self.signal}" if self.signal else f"exited with status {self.code}"
        return f"{how} after {self.wall:.3g} s"

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Exit:
        """Read what a supervisor reports."""
        code = os.waitstatus_to_exitcode(told["status"])
        return cls(
            code=code if code >= 0 else None,
            signal=signal_name(-code) if code < 0 else None,
            wall=told["wall"],
            user=told["user"],
            system=told["system"],
            max_rss_kib=told["max_rss_kib"],
        )


def signal_name(number: int) -> str:
    """Name a signal: ``SIGSEGV``, or ``signal 40`` for those without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
