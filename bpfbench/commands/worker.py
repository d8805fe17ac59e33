"""Worker processes of ``doit -n 2`` must not outlive their parent: a measurement nobody waits for would go on unseen."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def follow_parent(main: int) -> None:
    """In a worker (any process but ``main``): be ended by the kernel when the parent dies, however it dies."""
    if os.getpid() == main:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != main:  # it died before the line above
        raise KeyboardInterrupt
