"""Whether we run in a virtual machine or in a container, from files that every user may read."""

from __future__ import annotations

import re

from bpfbench.measure.machine import cpu
from bpfbench.measure.machine.sysroot import Sysroot, Unreadable

NONE = "none"
UNKNOWN_VM = "unknown"
"""There is a hypervisor, and nothing says which."""

_DMI = (
    ("kvm", ("kvm", "qemu", "amazon ec2", "google compute engine", "openstack", "digitalocean", "hetzner")),
    ("vmware", ("vmware",)),
    ("virtualbox", ("virtualbox", "innotek")),
    ("hyperv", ("microsoft corporation virtual machine", "hyper-v")),
    ("xen", ("xen",)),
    ("parallels", ("parallels",)),
    ("bhyve", ("bhyve",)),
    ("apple", ("apple virtualization",)),
)
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv", "hyperv"), ("xen", "xen"))
_CGROUPS = (
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("lxc", "lxc"),
    ("containerd", "containerd"),
)


def virtual_machine(root: Sysroot) -> str:
    """Return ``none``, or the hypervisor (``kvm``, ``hyperv``, ``wsl``, … or ``unknown``). Raise Unreadable
    if nothing tells.

    On x86 the ``hypervisor`` flag says whether there is one. Elsewhere there is no such flag: then firmware
    tables and the device tree decide, and firmware that names only real hardware counts as ``none``.
    """
    kernel = root.maybe("/proc/sys/kernel/osrelease") or ""
    if "microsoft" in kernel.lower():
        return "wsl"
    firmware = _firmware(root)
    kind = _by_firmware(firmware) or _by_device_tree(root) or _by_hypervisor_directory(root)
    flag = _flag(root)
    if flag is None:
        if kind is None and not firmware:
            raise Unreadable("no firmware table, device tree or CPU flag tells whether there is a hypervisor")
        return kind or NONE
    if not flag:
        return NONE  # a metal instance of a cloud carries the cloud's name in its firmware, too
    return kind or _by_clock(root) or UNKNOWN_VM


def _flag(root: Sysroot) -> bool | None:
    try:
        if root.machine() not in ("x86_64", "i686"):
            return None
        return "hypervisor" in cpu.flags(root)
    except Unreadable:
        return None


def _firmware(root: Sysroot) -> str:
    fields = ("sys_vendor", "product_name", "bios_vendor", "board_vendor")
    return " ".join(filter(None, (root.maybe(f"/sys/class/dmi/id/{field}") for field in fields))).lower()


def _by_firmware(text: str) -> str | None:
    return next((kind for kind, marks in _DMI if any(mark in text for mark in marks)), None)


def _by_device_tree(root: Sysroot) -> str | None:
    compatible = (root.maybe("/proc/device-tree/hypervisor/compatible") or "").lower()
    return next((kind for kind in ("kvm", "xen", "vmware") if kind in compatible), None)


def _by_hypervisor_directory(root: Sysroot) -> str | None:
    return root.maybe("/sys/hypervisor/type")


def _by_clock(root: Sysroot) -> str | None:
    clocks = root.maybe("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    return next((kind for mark, kind in _CLOCKS if mark in clocks), None)


def container(root: Sysroot) -> str:
    """Return ``none`` or the container's kind (``docker``, ``podman``, ``lxc``, …)."""
    told = root.maybe("/run/systemd/container")
    if told:
        return re.sub(r"[^a-z0-9-]+", "-", told.lower())[:40]
    if root.exists("/run/.containerenv"):
        return "podman"
    if root.exists("/.dockerenv"):
        return "docker"
    groups = root.maybe("/proc/1/cgroup") and root.text("/proc/1/cgroup")
    return next((kind for mark, kind in _CGROUPS if mark in (groups or "")), NONE)
