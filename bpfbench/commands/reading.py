"""What our commands that only read have in common: errors without tracebacks, and terminals of any kind."""

from __future__ import annotations

import sys
from typing import Any

from doit.cmd_base import DoitCmdBase

from bpfbench import context
from bpfbench.errors import BenchError

REFUSED = 3


class ReadingCommand(DoitCmdBase):  # type: ignore[misc]
    """A command that looks at specs, store and results, and changes nothing."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the command; a ``BenchError`` is an error of the user's or the machine's, never a traceback."""
        tolerate_encoding()
        try:
            return int(super().execute(params, args))
        except (BenchError, OSError) as error:
            sys.stderr.write(f"ERROR: {refusal(error)}\n")
            return REFUSED

    def load(self) -> context.Context:
        """Return what this call is about; a task file that is not ours has nothing to show."""
        if not context.exists():
            raise BenchError(f"`{self.name}` works in a checkout of bpfbench only", hint="cd there, or use its ./bench")
        return context.current()


def refusal(error: BenchError | OSError) -> BenchError:
    """Return what to tell of an error; raise it again where it is none of the user's or the machine's."""
    from bpfbench.store.files import UNWRITABLE, unwritable

    if isinstance(error, BenchError):
        return error
    if error.errno in UNWRITABLE:
        return unwritable(error.filename or "what this command makes", error)
    raise error


def tolerate_encoding() -> None:
    """Let a terminal that cannot show a letter show another one instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
