"""Finding what survived when harness, reaper and supervisor were all killed at once.

Everything below a reaper carries a tag that names the reaper (``forkserver.TAG_LIMIT``) and, in its
environment, ``BPFBENCH_MARK``. A leftover is a process with a tag whose reaper is dead. The tag stays; the
environment may not: nginx and Redis write their title over it. Such a process is known by its tag alone,
whatever its mark was.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bpfbench.process import forkserver
from bpfbench.process.errors import ProcessError
from bpfbench.process.identity import privileged

MARK = "BPFBENCH_MARK"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of an earlier run that nobody looks after any more."""

    pid: int
    start: int
    """When it started, in clock ticks since boot: with ``pid`` this names it for good."""
    name: str
    mark: str | None
    """What ``BPFBENCH_MARK`` says, None when the process overwrote its environment."""


def leftovers(mark_prefix: str) -> list[Leftover]:
    """Living processes whose reaper is dead and whose mark starts with ``mark_prefix`` (or is lost)."""
    everything = [process for process in forkserver.processes() if not process.zombie]
    reapers = {forkserver.tag_of(process) for process in everything}
    found = []
    for process in everything:
        # A process that may not be looked into, or ended meanwhile, is none of ours.
        with suppress(PermissionError, FileNotFoundError, ProcessLookupError):
            tag = _tag(process.pid)
            if tag is None or tag in reapers or not _same_namespace(process.pid):
                continue
            mark = _mark(process.pid)
            if mark is None or mark.startswith(mark_prefix):
                name = Path(f"/proc/{process.pid}/comm").read_text(errors="replace").strip()
                found.append(Leftover(process.pid, process.start, name, mark))
    return found


def reap_leftovers(mark_prefix: str, deadline: float = 2.0) -> list[Leftover]:
    """End all ``leftovers`` and return them. ``ProcessError`` if one lives on after ``deadline`` seconds."""
    ended: dict[int, Leftover] = {}
    end = time.monotonic() + deadline
    with privileged():
        while found := leftovers(mark_prefix):  # again: it may have forked while we looked
            if time.monotonic() > end:
                names = ", ".join(f"{left.name} (pid {left.pid})" for left in found)
                raise ProcessError(f"left over from an earlier run and cannot be ended: {names}")
            for left in found:
                ended[left.pid] = left
                _kill(left, end)
    return list(ended.values())


def _kill(left: Leftover, end: float) -> None:
    """Kill one process and wait until it is dead."""
    with suppress(ProcessLookupError, PermissionError):
        pidfd = os.pidfd_open(left.pid)
        try:
            now = forkserver.look(left.pid)
            if now and now.start == left.start:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                poller.poll(max(0.0, end - time.monotonic()) * 1000)
        finally:
            os.close(pidfd)


def _tag(pid: int) -> int | None:
    """The tag of a process: which reaper it belongs to."""
    for line in Path(f"/proc/{pid}/limits").read_bytes().splitlines():
        if line.startswith(b"Max file locks"):
            soft, hard = line.split()[3:5]
            return int(soft) if hard == b"%d" % forkserver.TAG else None
    return None


def _same_namespace(pid: int) -> bool:
    """Whether ``pid`` counts processes as we do: else its reaper may live under a number unknown here."""
    return Path(f"/proc/{pid}/ns/pid").samefile("/proc/self/ns/pid")


def _mark(pid: int) -> str | None:
    prefix = f"{MARK}=".encode()
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if word.startswith(prefix):
            return os.fsdecode(word.removeprefix(prefix))
    return None
