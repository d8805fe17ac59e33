"""How many compilers may run at once: as many as there are CPUs for, and memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
SHARE = 0.5
"""Of the memory that is free now: another build may be starting beside this one (``doit -n 2``)."""


def jobs(memory: int) -> int:
    """Return how many jobs of ``memory`` MiB each can run here now; at least one."""
    cpus = len(os.sched_getaffinity(0))
    available = available_mib()
    return cpus if available is None else max(1, min(cpus, int(available * SHARE) // max(1, memory)))


def available_mib() -> int | None:
    """Return the memory in MiB that can be had without swapping, in a container too; None if not known."""
    known = [value for value in (_machine(), _container()) if value is not None]
    return min(known, default=None)


def _machine() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) // 1024 if found else None


def _container() -> int | None:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        return None if limit == "max" else max(0, int(limit) - used) >> 20
    except (OSError, ValueError):
        return None
