"""Commands that run by themselves to their end: compilers, generators, tests."""

from __future__ import annotations

from pathlib import Path

from bpfbench.process.command import Command, Exit
from bpfbench.process.errors import Died
from bpfbench.process.reaper import Reaper


def run(
    reaper: Reaper,
    command: Command,
    log_dir: Path,
    *,
    wall: float,
    silence: float | None = None,
    check: bool = False,
) -> Exit:
    """Run ``command`` to its end and say how it ended; its whole tree is gone on return and on any exception.

    ``TimedOut`` when it takes more than ``wall`` seconds, or writes nothing for ``silence`` seconds. With
    ``check``, ``Died`` unless it exits with status 0.
    """
    child = reaper.start(command, log_dir)
    try:
        result = child.wait(wall, silence=silence)
    finally:
        if child.alive:
            child.stop()
    if check and not result.ok:
        raise Died(f"{child} {result}", result, child.tail())
    return result
