"""What can go wrong with a child; every message ends with the last lines that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from bpfbench.process.command import Exit


class ProcessError(BenchError):
    """A child could not be started, supervised or ended. ``tail`` holds the last lines of its logs."""

    def __init__(self, message: str, *, tail: str = "", hint: str | None = None) -> None:
        super().__init__(f"{message}\n{tail}" if tail else message, hint=hint)
        self.tail = tail


class NotStarted(ProcessError):
    """The command could not be executed, or not in the way that was asked for."""


class Died(ProcessError):
    """The child ended before it did what was expected of it, or with a status that was not."""

    def __init__(self, message: str, exit: Exit, tail: str) -> None:
        super().__init__(message, tail=tail)
        self.exit = exit


class TimedOut(ProcessError):
    """The child still lives, but did not do in ``waited`` seconds what was expected of it."""

    def __init__(self, message: str, waited: float, tail: str) -> None:
        super().__init__(message, tail=tail)
        self.waited = waited


class Lost(ProcessError):
    """The child's supervisor was killed, and the whole tree with it: how the command ended is unknown."""
