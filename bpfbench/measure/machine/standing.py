"""What this process may do, and what the machine forbids everybody: the circumstances behind an errno."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable, whole

SYS_PTRACE, SYS_RAWIO, SYS_ADMIN, PERFMON, BPF = 19, 17, 21, 38, 39
_NAMES = {
    SYS_RAWIO: "CAP_SYS_RAWIO",
    SYS_PTRACE: "CAP_SYS_PTRACE",
    SYS_ADMIN: "CAP_SYS_ADMIN",
    PERFMON: "CAP_PERFMON",
    BPF: "CAP_BPF",
}

AS_ROOT = "run as root (sudo ./bench …)"


@dataclass(frozen=True, slots=True)
class Standing:
    """The effective identity and capabilities of this process, and its confinement."""

    uid: int | None
    capabilities: int | None
    """Effective set as a bit mask."""
    seccomp: bool
    """A seccomp filter looks at this process's system calls."""
    user_namespace: bool
    """Ids are mapped: root here is somebody else outside."""
    lockdown: str | None
    release: str | None

    def has(self, *any_of: int) -> bool:
        """Return whether one of these capabilities is effective; CAP_SYS_ADMIN stands for CAP_BPF and
        CAP_PERFMON."""
        mask = self.capabilities or 0
        wanted = {*any_of, SYS_ADMIN} if {BPF, PERFMON} & {*any_of} else {*any_of}
        return any(mask >> bit & 1 for bit in wanted)

    def as_json(self) -> dict[str, Json]:
        """Return what a check writes down as seen: enough to notice that it is worth looking again."""
        held = [] if self.capabilities is None else [name for bit, name in _NAMES.items() if self.has(bit)]
        return {
            "uid": self.uid,
            "capabilities": sorted(held),
            "seccomp": self.seccomp,
            "user_namespace": self.user_namespace,
            "lockdown": self.lockdown,
        }

    def lacking(self, what: str, *needed: int) -> str:
        """Return why a permission is missing, and what to type. ``needed``: every one of these would have
        to be there."""
        names = " and ".join(_NAMES[bit] for bit in needed)
        if not all(self.has(bit) for bit in needed):
            return f"{what} needs root or {names}: {AS_ROOT}"
        if self.user_namespace:
            return (
                f"{what} needs {names} outside of this user namespace: use a container that is not rootless"
            )
        if self.seccomp:
            return (
                f"{what} is refused although {names} is there, by a seccomp filter (a container?): "
                "start the container with --privileged, or with --security-opt seccomp=unconfined"
            )
        if self.lockdown in ("integrity", "confidentiality"):
            return f"{what} is refused by kernel lockdown ({self.lockdown}): boot without lockdown="
        return (
            f"{what} is refused although {names} is there: perhaps by SELinux, AppArmor or a BPF LSM program"
        )


def standing(root: Sysroot) -> Standing:
    """Read this process's standing; what cannot be read counts as not there."""
    status = _status(root)
    uids = status.get("Uid", "").split()
    try:
        mask: int | None = int(status.get("CapEff", ""), 16)
    except ValueError:
        mask = None
    return Standing(
        uid=whole(uids[1]) if len(uids) > 1 else None,
        capabilities=mask,
        seccomp=status.get("Seccomp") == "2",
        user_namespace=_mapped(root),
        lockdown=lockdown(root),
        release=root.maybe("/proc/sys/kernel/osrelease"),
    )


def lockdown(root: Sysroot) -> str | None:
    """Return ``none``, ``integrity`` or ``confidentiality``; None when the file is not there."""
    found = re.search(r"\[(\w+)\]", root.maybe("/sys/kernel/security/lockdown") or "")
    return found.group(1) if found else None


def _status(root: Sysroot) -> dict[str, str]:
    try:
        lines = root.text("/proc/self/status").splitlines()
    except Unreadable:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _mapped(root: Sysroot) -> bool:
    words = (root.maybe("/proc/self/uid_map") or "").split()
    return bool(words) and words != ["0", "0", "4294967295"]
