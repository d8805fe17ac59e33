"""The environment record's sections on the processor, its frequency, and memory."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Mapping

from bpfbench.measure.machine import cpu
from bpfbench.measure.machine.sysroot import Json, Recorder, Sysroot, Unreadable

FREQUENCY = f"{cpu.CPUS}/cpu0/cpufreq"
HUGE = "/sys/kernel/mm/transparent_hugepage"

_INTERESTING = re.compile(
    r"aes|avx.*|amx.*|bmi[12]|bti|erms|fsgsbase|fsrm|gfni|hypervisor|ibt|invpcid|la57|mte|ospke|pac[ag]|pcid|pku"
    r"|rdpid|rdrand|rdtscp|smap|smep|sse4_[12]|sve.*|umip|user_shstk|(?:constant|nonstop)_tsc|tsc_known_freq"
    r"|asimd|atomics|crc32|sha[_0-9a-z]*|xsavec?|lm|cx16"
)
"""Flags that change what a JIT emits, what isolation there is, or how a kernel is entered."""


def processor(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    """Return the section ``cpu``: models, topology, caches, flags of interest, CPUs kept free of other
    work."""
    readers: dict[str, Callable[[], Json]] = {
        "architecture": root.machine,
        "models": lambda: [model.as_json() for model in cpu.read_models(root)],
        **{name: _topology(root, name) for name in ("online", "cores", "packages", "threads_per_core")},
        "numa_nodes": lambda: root.line("/sys/devices/system/node/online"),
        "caches": lambda: cpu.caches(root),
        "flags": lambda: sorted(filter(_INTERESTING.fullmatch, cpu.flags(root))),
        "isolated": lambda: _maybe_empty(root, f"{cpu.CPUS}/isolated"),
        "nohz_full": lambda: _maybe_empty(root, f"{cpu.CPUS}/nohz_full"),
    }
    return {name: recorder.take(f"cpu.{name}", read) for name, read in readers.items()}


def _topology(root: Sysroot, name: str) -> Callable[[], Json]:
    def read() -> Json:
        value = getattr(cpu.topology(root), name)
        if value is None:
            raise Unreadable(f"{cpu.CPUS}/cpu*/topology: not there, or not readable")
        return len(value) if name == "online" else int(value)

    return read


def _maybe_empty(root: Sysroot, name: str) -> str:
    """An empty list of CPUs is an answer: none. The kernel also prints it as ``(null)``."""
    text = root.text(name).strip()
    return "" if text == "(null)" else text


def frequency(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    """Return the section ``frequency``: who sets it, its range in MHz, turbo, SMT, idle driver."""
    readers: dict[str, Callable[[], Json]] = {
        "driver": lambda: root.line(f"{FREQUENCY}/scaling_driver"),
        "governors": lambda: _governors(root),
        "preference": lambda: root.line(f"{FREQUENCY}/energy_performance_preference"),
        "least_mhz": lambda: root.number(f"{FREQUENCY}/scaling_min_freq") // 1000,
        "most_mhz": lambda: root.number(f"{FREQUENCY}/scaling_max_freq") // 1000,
        "hardware_most_mhz": lambda: root.number(f"{FREQUENCY}/cpuinfo_max_freq") // 1000,
        "turbo": lambda: turbo(root),
        "smt": lambda: root.line(f"{cpu.CPUS}/smt/control"),
        "idle_driver": lambda: root.line(f"{cpu.CPUS}/cpuidle/current_driver"),
    }
    return {name: recorder.take(f"frequency.{name}", read) for name, read in readers.items()}


def _governors(root: Sysroot) -> dict[str, Json]:
    """Governor → the number of policies that have it: one CPU with another governor is easily overlooked."""
    base = f"{cpu.CPUS}/cpufreq"
    policies = [name for name in root.names(base) if re.fullmatch(r"policy\d+", name)]
    if not policies:
        raise Unreadable(f"{base}: no policies, the frequency is not set by this kernel")
    found = [root.line(f"{base}/{policy}/scaling_governor") for policy in policies]
    return {governor: found.count(governor) for governor in sorted(set(found))}


def turbo(root: Sysroot) -> bool:
    """Return whether the processor may go beyond its base frequency. Raise Unreadable where no driver
    tells."""
    inverted = root.maybe(f"{cpu.CPUS}/intel_pstate/no_turbo")
    if inverted in ("0", "1"):
        return inverted == "0"
    boost = root.maybe(f"{cpu.CPUS}/cpufreq/boost")
    if boost in ("0", "1"):
        return boost == "1"
    raise Unreadable(f"neither {cpu.CPUS}/intel_pstate/no_turbo nor {cpu.CPUS}/cpufreq/boost tells")


def memory(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    """Return the section ``memory``: sizes in KiB, page size in bytes, huge pages and address
    randomisation."""
    sizes = {
        "total": "MemTotal",
        "available": "MemAvailable",
        "swap_total": "SwapTotal",
        "swap_free": "SwapFree",
    }
    readers: dict[str, Callable[[], Json]] = {
        **{f"{name}_kib": _meminfo(root, key) for name, key in sizes.items()},
        "page_size": lambda: _page_size(root),
        "huge_pages": lambda: chosen(root.line(f"{HUGE}/enabled")),
        "huge_pages_defrag": lambda: chosen(root.line(f"{HUGE}/defrag")),
        "swappiness": lambda: root.number("/proc/sys/vm/swappiness"),
        "address_randomisation": lambda: root.number("/proc/sys/kernel/randomize_va_space"),
        "mmap_min_addr": lambda: root.number("/proc/sys/vm/mmap_min_addr"),
    }
    return {name: recorder.take(f"memory.{name}", read) for name, read in readers.items()}


def _meminfo(root: Sysroot, key: str) -> Callable[[], Json]:
    def read() -> Json:
        found = meminfo(root.text("/proc/meminfo")).get(key)
        if found is None:
            raise Unreadable(f"/proc/meminfo: no line {key}")
        return found

    return read


def meminfo(text: str) -> Mapping[str, int]:
    """Parse /proc/meminfo: name → KiB."""
    return {
        name: int(size) for name, size in re.findall(r"^([\w()]+):\s+([0-9]{1,18}) kB$", text, re.MULTILINE)
    }


def _page_size(root: Sysroot) -> int:
    if root.live:
        return mmap.PAGESIZE
    found = re.search(r"^KernelPageSize:\s+([0-9]{1,9}) kB", root.text("/proc/self/smaps"), re.MULTILINE)
    if not found:
        raise Unreadable("/proc/self/smaps: no KernelPageSize")
    return int(found.group(1)) * 1024


def chosen(line: str) -> str:
    """Return the word in brackets of a sysfs choice such as ``always [madvise] never``. Raise Unreadable."""
    found = re.search(r"\[([\w+-]+)\]", line)
    if not found:
        raise Unreadable(f"no choice marked in {line[:40]!r}")
    return found.group(1)
