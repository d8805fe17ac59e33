"""The processor: its model and microcode from /proc/cpuinfo, its cores and threads from sysfs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable, cpu_list

CPUS = "/sys/devices/system/cpu"

HEAD = 64 * 1024
"""Bytes of /proc/cpuinfo that are looked at. The file grows by 1.5 kB a CPU and costs the kernel as much
time as we read of it; on a machine with hundreds of CPUs the first forty tell the model as well as all of
them."""

ARM_IMPLEMENTERS = {
    0x41: "ARM", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA",
    0x50: "APM", 0x51: "Qualcomm", 0x61: "Apple", 0x6D: "Microsoft", 0xC0: "Ampere",
}  # fmt: skip
ARM_PARTS = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse-N1", (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2", (0x41, 0xD4F): "Neoverse-V2", (0x41, 0xD83): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3", (0xC0, 0xAC3): "Ampere-1", (0xC0, 0xAC4): "Ampere-1a",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """One kind of core. Numbers are as /proc/cpuinfo prints them (ARM in hexadecimal); None: not printed
    there."""

    name: str
    vendor: str | None
    family: str | None
    model: str | None
    stepping: str | None
    microcode: str | None

    def as_json(self) -> dict[str, Json]:
        """Return the fields as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Topology:
    """What is online: logical CPUs, cores, packages and the most threads of one core; None: not in sysfs."""

    online: tuple[int, ...]
    cores: int | None
    packages: int | None
    threads_per_core: int | None


def blocks(text: str) -> list[dict[str, str]]:
    """Split the text of /proc/cpuinfo into one mapping a processor; anything that is not ``key : value`` is
    passed over."""
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if key.strip() == "processor" and "processor" in current:
            found.append(current)
            current = {}
        current[key.strip()] = value.strip()
    return [*found, current] if current else found


def models(text: str) -> tuple[Model, ...]:
    """Return the distinct kinds of core in the text of /proc/cpuinfo, in the order of their first CPU."""
    processors = blocks(text)
    if len(text) >= HEAD and len(processors) > 1:
        processors.pop()  # cut off in the middle
    return tuple(dict.fromkeys(filter(None, map(_model, processors))))


def _model(block: Mapping[str, str]) -> Model | None:
    if "CPU implementer" in block:
        return _arm(block)
    name = block.get("model name") or block.get("cpu") or block.get("uarch")
    if not name:
        return None
    fields = ("vendor_id", "cpu family", "model", "stepping", "microcode")
    return Model(name, *(block.get(key) or None for key in fields))


def _arm(block: Mapping[str, str]) -> Model:
    implementer, part = block["CPU implementer"], block.get("CPU part", "")
    vendor = ARM_IMPLEMENTERS.get(_hex(implementer), f"implementer {implementer}")
    kind = ARM_PARTS.get((_hex(implementer), _hex(part)), f"part {part}")
    name = block.get("model name") or f"{vendor} {kind}"
    return Model(name, vendor, block.get("CPU architecture"), part or None, _arm_stepping(block), None)


def _arm_stepping(block: Mapping[str, str]) -> str | None:
    """ARM says ``r3p1`` where others say stepping 3.1."""
    variant, revision = block.get("CPU variant"), block.get("CPU revision")
    return f"r{_hex(variant)}p{revision}" if variant and revision else None


def _hex(text: str) -> int:
    try:
        return int(text[:20], 16)
    except ValueError:
        return -1


def read_models(root: Sysroot) -> tuple[Model, ...]:
    """Return the distinct kinds of core of this machine. Raise Unreadable when there is nothing
    recognisable."""
    found = models(root.text("/proc/cpuinfo", HEAD))
    if not found:
        raise Unreadable("/proc/cpuinfo: no CPU model in it")
    return found


def flags(root: Sysroot) -> frozenset[str]:
    """Return the CPU's feature flags (x86 ``flags``, ARM ``Features``). Raise Unreadable when there are
    none."""
    for block in blocks(root.text("/proc/cpuinfo", HEAD)):
        words = block.get("flags") or block.get("Features")
        if words:
            return frozenset(words.split())
    raise Unreadable("/proc/cpuinfo: no flags in it")


def topology(root: Sysroot) -> Topology:
    """Return what is online. Raise Unreadable when not even the number of CPUs can be known."""
    online = _online(root)
    cores = _groups(root, online, ("core_cpus_list", "thread_siblings_list"))
    packages = _groups(root, online, ("package_cpus_list", "core_siblings_list"))
    return Topology(online, _count(cores), _count(packages), max(cores) if cores else None)


def _count(groups: list[int] | None) -> int | None:
    return None if groups is None else len(groups)


def _online(root: Sysroot) -> tuple[int, ...]:
    try:
        cpus = cpu_list(root.line(f"{CPUS}/online"))
        if cpus:
            return cpus
    except Unreadable:
        pass  # a container without /sys: /proc/stat has one line for each CPU that is online
    found = re.findall(r"^cpu([0-9]{1,5}) ", root.text("/proc/stat"), re.MULTILINE)
    if not found:
        raise Unreadable(f"neither {CPUS}/online nor /proc/stat says which CPUs are online")
    return tuple(sorted(map(int, found)))


def _groups(root: Sysroot, online: tuple[int, ...], files: tuple[str, str]) -> list[int] | None:
    """Return the sizes of the groups that CPUs form; asks one CPU of each group only, for the sake of big
    machines."""
    sizes: list[int] = []
    seen: set[int] = set()
    for cpu in online:
        if cpu in seen:
            continue
        listed = next(filter(None, (root.maybe(f"{CPUS}/cpu{cpu}/topology/{file}") for file in files)), None)
        if listed is None:
            return None
        try:
            group = set(cpu_list(listed)) & set(online) | {cpu}
        except Unreadable:
            return None
        sizes.append(len(group))
        seen |= group
    return sizes


def caches(root: Sysroot) -> list[dict[str, Json]]:
    """Return the caches that CPU 0 sees: level, type, size as the kernel prints it, and the CPUs that share
    it."""
    base = f"{CPUS}/cpu0/cache"
    return [
        {
            "level": root.number(f"{base}/{index}/level"),
            "type": root.maybe(f"{base}/{index}/type"),
            "size": root.maybe(f"{base}/{index}/size"),
            "shared_by": root.maybe(f"{base}/{index}/shared_cpu_list"),
        }
        for index in root.names(base)
        if re.fullmatch(r"index\d+", index)
    ]
