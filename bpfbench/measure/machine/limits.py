"""What this process may use: CPUs and memory by cgroup (v1 and v2), affinity, resource limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfbench.measure.machine.sysroot import Json, Recorder, Sysroot, Unreadable, whole

UNLIMITED = "unlimited"
_V1_NO_MEMORY_LIMIT = 1 << 62
"""cgroup v1 writes "no limit" as the largest multiple of a page: everything of this size means that."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup tree: the directory of this process's group, and the tree's root."""

    version: int
    directory: str
    top: str

    def upwards(self) -> Iterator[str]:
        """Give the directories from this process's group up to the root: a limit above binds, too."""
        directory = self.directory
        while True:
            yield directory
            if directory == self.top or not directory.startswith(self.top):
                return
            directory = directory.rpartition("/")[0]


def hierarchy(root: Sysroot, controller: str) -> Hierarchy:
    """Return where ``controller`` is kept for this process: v1 if it has a tree of its own, else v2. Raise
    Unreadable."""
    groups = [
        line.split(":", 2) for line in root.text("/proc/self/cgroup").splitlines() if line.count(":") >= 2
    ]
    for _, controllers, path in groups:
        if controller in controllers.split(","):
            return _mounted(root, 1, path, controller)
    for _, controllers, path in groups:
        if not controllers:
            return _mounted(root, 2, path, None)
    raise Unreadable(f"/proc/self/cgroup: nothing about {controller}")


def _mounted(root: Sysroot, version: int, path: str, controller: str | None) -> Hierarchy:
    wanted = "cgroup2" if controller is None else "cgroup"
    for line in root.text("/proc/self/mountinfo").splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if not separator or len(fields) < 5 or len(kinds) < 3 or kinds[0] != wanted:
            continue
        if controller is None or controller in kinds[2].split(","):
            below, top = fields[3].rstrip("/"), fields[4]
            # in a container the tree's mounted part begins at the container's own group
            rest = path[len(below) :] if (path + "/").startswith(below + "/") else ""
            return Hierarchy(version, (top + rest).rstrip("/"), top)
    raise Unreadable(f"no {wanted} file system{f' of {controller}' if controller else ''} is mounted")


def cpu_quota(root: Sysroot) -> float | str:
    """Return how many CPUs' time this process may use in all, or ``unlimited``. Raise Unreadable if no
    group tells."""
    tree = hierarchy(root, "cpu")
    files = ("cpu.max",) if tree.version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    quotas = [_quota(words) for words in _values(root, tree, files)]
    return min(quotas, default=float("inf")) if any(map(math.isfinite, quotas)) else UNLIMITED


def _quota(words: list[str]) -> float:
    quota, period = [*map(whole, words), None, None][:2]
    return quota / period if quota and period else float("inf")


def memory_limit(root: Sysroot) -> int | str:
    """Return the bytes of memory that this process's groups allow, or ``unlimited``. Raise Unreadable if no
    group tells."""
    tree = hierarchy(root, "memory")
    found = _values(root, tree, ("memory.max" if tree.version == 2 else "memory.limit_in_bytes",))
    numbers = [number for words in found if (number := whole(words[0] if words else None)) is not None]
    return min((number for number in numbers if number < _V1_NO_MEMORY_LIMIT), default=UNLIMITED)


def _values(root: Sysroot, tree: Hierarchy, files: tuple[str, ...]) -> list[list[str]]:
    """Return the words of ``files`` for each group that has them all. Raise Unreadable when none has: that
    is no answer."""
    levels = [[root.maybe(f"{directory}/{file}") for file in files] for directory in tree.upwards()]
    found = [" ".join(filter(None, level)).split() for level in levels if None not in level]
    if not found:
        raise Unreadable(f"{tree.directory}: no {files[0]} there or above")
    return found


def affinity(root: Sysroot) -> str:
    """Return the CPUs that this process may run on (cpuset and affinity together), as a list like ``0-3``."""
    return _status(root, r"^Cpus_allowed_list:\s*(\S+)$")


def resource_limit(root: Sysroot, name: str) -> int | str:
    """Return the soft limit that /proc/self/limits gives for ``name`` there. Raise Unreadable."""
    found = re.search(rf"^{re.escape(name)}\s+(\S+)", root.text("/proc/self/limits"), re.MULTILINE)
    value = UNLIMITED if found and found.group(1) == UNLIMITED else whole(found.group(1) if found else None)
    if value is None:
        raise Unreadable(f"/proc/self/limits: no line of {name}")
    return value


def _status(root: Sysroot, pattern: str) -> str:
    found = re.search(pattern, root.text("/proc/self/status"), re.MULTILINE)
    if not found:
        raise Unreadable(f"/proc/self/status: no {pattern[1:].partition(':')[0]}")
    return found.group(1)


def section(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    """Return the environment record's section ``limits``."""
    readers: dict[str, Callable[[], Json]] = {
        "cgroup_version": lambda: hierarchy(root, "cpu").version,
        "cpu_quota": lambda: cpu_quota(root),
        "memory": lambda: memory_limit(root),
        "cpus_allowed": lambda: affinity(root),
        "locked_memory": lambda: resource_limit(root, "Max locked memory"),
        "open_files": lambda: resource_limit(root, "Max open files"),
    }
    return {name: recorder.take(f"limits.{name}", read) for name, read in readers.items()}
