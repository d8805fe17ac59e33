"""Worker processes of ``doit -n 2`` must not outlive their parent: a measurement nobody waits for would go on unseen."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from bpfbench.errors import BenchError

_PR_SET_PDEATHSIG = 1
_is_worker = False


def let_workers_follow() -> None:
    """See to it that every process that is forked from this one follows it from its first moment: also one that never gets work."""
    main = os.getpid()

    def follow() -> None:
        global _is_worker
        if not _is_worker:  # else it is forked by a worker, and none of our business
            _is_worker = True
            _end_with_parent()
            if os.getppid() != main:
                os._exit(1)

    os.register_at_fork(after_in_child=follow)


def notice_killed_workers() -> None:
    """Raise ``BenchError`` in this process once a worker was killed: doit would wait for its answer for ever."""
    told: list[str] = []

    def look(number: int, frame: object) -> None:
        workers: Any = getattr(sys.modules.get("multiprocessing.process"), "_children", ())
        for worker in tuple(workers):
            if not told and (worker.exitcode or 0) < 0:
                told.append(signal.Signals(-worker.exitcode).name)
                raise BenchError(
                    f"a worker process was killed by {told[0]}",
                    hint="is there memory enough? Run the same command again: what is finished is kept",
                )

    signal.signal(signal.SIGCHLD, look)


def follow_parent(main: int) -> None:
    """In a worker (any process but ``main``): be ended by the kernel when the parent dies, however it dies."""
    if os.getpid() == main:
        return
    _end_with_parent()
    if os.getppid() != main:  # it died before the line above
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
