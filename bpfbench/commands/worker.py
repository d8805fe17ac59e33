"""Worker processes of ``doit -n 2`` must not outlive their parent: a measurement nobody waits for would go on unseen."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
GRACE = 10.0
"""Seconds in which a worker ends what it started, and itself."""
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


class WorkerKilled(SystemExit):
    """A worker process was killed.

    No ``Exception``, since it comes at any moment: many places take an error for an answer ("there is no such item"), and doit would wait
    for the worker's own answer for ever.
    """

    def __init__(self, by: str) -> None:
        super().__init__(f"a worker process was killed by {by}")
        self.hint = "is there memory enough? Run the same command again: what is finished is kept"


def notice_killed_workers() -> None:
    """Raise ``WorkerKilled`` in this process, once, when a worker was killed."""
    told: list[str] = []

    def look(number: int, frame: object) -> None:
        for worker in _workers():
            if not told and (worker.exitcode or 0) < 0:
                told.append(signal.Signals(-worker.exitcode).name)
                raise WorkerKilled(told[0])

    signal.signal(signal.SIGCHLD, look)


def end_workers(grace: float = GRACE) -> None:
    """Wait until all workers, which were told to, have ended; kill those that do not.

    One that was killed while it held a lock of their queues would keep them, and us, for ever.
    """
    for worker in _workers():
        worker.join(grace)
        if worker.exitcode is None:
            worker.kill()
            worker.join()


def _workers() -> tuple[Any, ...]:
    return tuple(getattr(sys.modules.get("multiprocessing.process"), "_children", ()))


def follow_parent(main: int) -> None:
    """In a worker (any process but ``main``): be ended by the kernel when the parent dies, however it dies."""
    if os.getpid() == main:
        return
    _end_with_parent()
    if os.getppid() != main:  # it died before the line above
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
