"""What this process may use: CPUs and memory by cgroup (v1 and v2), affinity, resource limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfbench.measure.machine.sysroot import Json, Recorder, Sysroot, Unreadable

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
    """Return how many CPUs' time this process may use in all, or ``unlimited``. Raise Unreadable."""
    tree = hierarchy(root, "cpu")
    quotas = [quota for directory in tree.upwards() if (quota := _quota(root, tree.version, directory))]
    return min(quotas) if quotas else UNLIMITED


def _quota(root: Sysroot, version: int, directory: str) -> float | None:
    if version == 2:
        words = (root.maybe(f"{directory}/cpu.max") or "").split()
    else:
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [root.maybe(f"{directory}/{file}") or "" for file in files]
    if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words) and int(words[1]):
        return int(words[0]) / int(words[1])
    return None


def memory_limit(root: Sysroot) -> int | str:
    """Return the bytes of memory that this process's cgroups allow, or ``unlimited``. Raise Unreadable."""
    tree = hierarchy(root, "memory")
    file = "memory.max" if tree.version == 2 else "memory.limit_in_bytes"
    found = [root.maybe(f"{directory}/{file}") or "" for directory in tree.upwards()]
    limits = [
        int(word) for word in found if word.isascii() and word.isdigit() and int(word) < _V1_NO_MEMORY_LIMIT
    ]
    return min(limits) if limits else UNLIMITED


def affinity(root: Sysroot) -> str:
    """Return the CPUs that this process may run on (cpuset and affinity together), as a list like ``0-3``."""
    return _status(root, r"^Cpus_allowed_list:\s*(\S+)$")


def resource_limit(root: Sysroot, name: str) -> int | str:
    """Return the soft limit that /proc/self/limits gives for ``name`` there. Raise Unreadable."""
    found = re.search(rf"^{re.escape(name)}\s+(\S+)", root.text("/proc/self/limits"), re.MULTILINE)
    if not found or not re.fullmatch(r"[0-9]+|unlimited", found.group(1)):
        raise Unreadable(f"/proc/self/limits: no line of {name}")
    return UNLIMITED if found.group(1) == UNLIMITED else int(found.group(1))


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
