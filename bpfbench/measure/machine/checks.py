"""The checks behind ``bpfbench.measure.prerequisites``: each tries the thing itself and reads an errno in
its context.

A check gives (there?, reason, seen). ``seen`` has no pids, paths of ours or times: only what the verdict
depends on.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from bpfbench.measure.machine import cpu
from bpfbench.measure.machine.kernel import SOCKET_FILTER, Kernel
from bpfbench.measure.machine.standing import (
    AS_ROOT,
    BPF,
    PERFMON,
    SYS_ADMIN,
    SYS_PTRACE,
    SYS_RAWIO,
    Standing,
    standing,
)
from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable

Finding: TypeAlias = tuple[bool, str, Mapping[str, Json]]

UPROBE_TYPE = "/sys/bus/event_source/devices/uprobe/type"
BTF = "/sys/kernel/btf/vmlinux"
JIT = "/proc/sys/net/core/bpf_jit_enable"
CALLS = 5
"""Calls of the scratch function that a working uprobe must count exactly."""


def kernel_bpf(root: Sysroot, kernel: Kernel) -> Finding:
    """Create a map and load a program of the type that uprobes need."""
    who = standing(root)
    seen: dict[str, Json] = {**who.as_json(), **_sysctl(root, "kernel/unprivileged_bpf_disabled")}
    try:
        os.close(kernel.create_map())
    except OSError as error:
        return False, _bpf_refused(error, who, "creating a BPF map"), seen | _error("map", error)
    try:
        os.close(kernel.load_program())
    except OSError as error:
        reason = _program_refused(error, who, kernel)
        return False, reason, seen | _error("program", error)
    return True, "a map was created and a tracing program loaded", seen


def _bpf_refused(error: OSError, who: Standing, what: str) -> str:
    if error.errno == errno.ENOSYS:
        return f"bpf(2) is not there: a kernel without CONFIG_BPF_SYSCALL ({kernel_name(who)})"
    if error.errno in (errno.EPERM, errno.EACCES):
        if _counts_locked_memory(who.release) and who.has(BPF):
            return f"{what} is refused, perhaps by the limit of locked memory: ulimit -l unlimited"
        return who.lacking(what, BPF, PERFMON)
    return f"{what} failed: {_words(error)}"


def _program_refused(error: OSError, who: Standing, kernel: Kernel) -> str:
    if error.errno != errno.EINVAL:
        return _bpf_refused(error, who, "loading a BPF tracing program")
    try:
        os.close(kernel.load_program(SOCKET_FILTER))
    except OSError:
        return f"loading a BPF program failed: {_words(error)}"
    return (
        "the kernel loads BPF programs, but none for tracing: it was built without CONFIG_BPF_EVENTS "
        "(which needs CONFIG_UPROBE_EVENTS or CONFIG_KPROBE_EVENTS)"
    )


def kernel_name(who: Standing) -> str:
    """Name the kernel in a reason."""
    return who.release or "release unknown"


def _counts_locked_memory(release: str | None) -> bool:
    found = re.match(r"(\d+)\.(\d+)", release or "")
    return found is not None and (int(found.group(1)), int(found.group(2))) < (5, 11)


def kernel_uprobes(root: Sysroot, kernel: Kernel) -> Finding:
    """Put a uprobe on a scratch function, call it, and compare the counts."""
    who = standing(root)
    seen: dict[str, Json] = {**who.as_json(), **_sysctl(root, "kernel/perf_event_paranoid")}
    try:
        pmu = root.number(UPROBE_TYPE)
    except Unreadable as why:
        return False, f"the kernel offers no uprobes (CONFIG_UPROBE_EVENTS): {why}", {**seen, "pmu": False}
    seen["pmu"] = True
    try:
        fired = kernel.fire_uprobe(pmu, CALLS)
    except OSError as error:
        return False, _uprobe_refused(error, who), seen | _error("uprobe", error)
    if fired != CALLS:
        reason = f"a uprobe fired {fired} times in {CALLS} calls: the uprobes of this kernel do not work"
        return False, reason, {**seen, "fired": fired}
    return True, f"a uprobe fired {fired} times in {CALLS} calls", seen


def _uprobe_refused(error: OSError, who: Standing) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return who.lacking("opening a uprobe", PERFMON)
    if error.errno == errno.ENOSYS:
        return f"perf_event_open(2) is not there ({kernel_name(who)})"
    return f"opening a uprobe failed: {_words(error)}"


def kernel_btf(root: Sysroot, kernel: Kernel) -> Finding:
    """Look at the first two bytes of the kernel's BTF."""
    try:
        head = root.head(BTF, 2)
    except Unreadable as reason:
        return False, f"no BTF of the running kernel (CONFIG_DEBUG_INFO_BTF): {reason}", {"btf": False}
    if head not in (b"\x9f\xeb", b"\xeb\x9f"):
        return False, f"{BTF} does not begin with the magic number of BTF", {"btf": False}
    return True, f"{BTF} is there", {"btf": True}


def kernel_jit(root: Sysroot, kernel: Kernel) -> Finding:
    """Load a program and ask for its machine code; without permission to, believe the sysctl."""
    setting = _sysctl(root, "net/core/bpf_jit_enable")
    try:
        program = kernel.load_program()
    except OSError as error:
        return _jit_by_setting(root, setting, error)
    try:
        length = kernel.jited_length(program)
    except OSError as error:
        return _jit_by_setting(root, setting, error)
    finally:
        os.close(program)
    if length > 0:
        return True, f"a loaded program became {length} bytes of machine code", {**setting, "jited": True}
    return (
        False,
        "programs are interpreted: sysctl net.core.bpf_jit_enable=1 as root",
        {**setting, "jited": False},
    )


def _jit_by_setting(root: Sysroot, setting: Mapping[str, Json], error: OSError) -> Finding:
    seen = {**setting, "jited": None}
    value = setting["bpf_jit_enable"]
    if value is None:
        return (
            False,
            f"not known: no program could be loaded ({_words(error)}), and {JIT} cannot be read",
            seen,
        )
    if value == "0":
        return False, "programs are interpreted: sysctl net.core.bpf_jit_enable=1 as root", seen
    return True, f"{JIT} is {value} (no program could be loaded to see for ourselves: {_words(error)})", seen


def tracefs(root: Sysroot, kernel: Kernel) -> Finding:
    """Look for tracefs where it is mounted and at its place below debugfs; else mount it nowhere, to see if
    it could be."""
    who = standing(root)
    mounted = next((place for place in _tracefs_places(root) if _readable(root, place)), None)
    seen: dict[str, Json] = {**who.as_json(), "mounted": mounted}
    if mounted:
        return True, f"mounted at {mounted}", seen
    try:
        tree = kernel.mount_detached("tracefs")
    except OSError as error:
        return (
            False,
            _tracefs_refused(root, error, who),
            {**seen, "mountable": False} | _error("mount", error),
        )
    os.close(tree)
    reason = "not mounted where we could read it, but can be: mount -t tracefs tracefs /sys/kernel/tracing"
    return True, reason, {**seen, "mountable": True}


def _tracefs_places(root: Sysroot) -> list[str]:
    try:
        mounts = [line.split() for line in root.text("/proc/self/mounts").splitlines()]
    except Unreadable:
        return []
    return [words[1] for words in mounts if len(words) > 2 and words[2] == "tracefs"]


def _readable(root: Sysroot, place: str) -> bool:
    try:
        return bool(root.names(f"{place}/events"))
    except Unreadable:
        return False


def _tracefs_refused(root: Sysroot, error: OSError, who: Standing) -> str:
    try:
        if not re.search(r"^nodev\s+tracefs$", root.text("/proc/filesystems"), re.MULTILINE):
            return "the kernel has no tracefs (CONFIG_FTRACE)"
    except Unreadable:
        pass
    if error.errno in (errno.EPERM, errno.EACCES):
        return who.lacking("tracefs is not mounted where we could read it; mounting it", SYS_ADMIN)
    return f"mounting tracefs failed: {_words(error)}; mount -t tracefs tracefs /sys/kernel/tracing"


def pku(root: Sysroot, kernel: Kernel) -> Finding:
    """Look for the CPU's and the kernel's flag, then allocate a key."""
    try:
        flags = cpu.flags(root)
    except Unreadable as reason:
        return (
            False,
            f"the CPU's flags cannot be read: {reason}",
            {"pku": None, "ospke": None, "allocated": False},
        )
    seen: dict[str, Json] = {"pku": "pku" in flags, "ospke": "ospke" in flags, "allocated": False}
    if not seen["pku"]:
        return False, "the CPU (or its hypervisor) has no protection keys: no flag pku in /proc/cpuinfo", seen
    if not seen["ospke"]:
        return (
            False,
            "the CPU has protection keys, but the kernel does not use them: boot without nopku",
            seen,
        )
    try:
        kernel.allocate_pkey()
    except OSError as error:
        return (
            False,
            f"pkey_alloc(2) failed although the CPU has keys: {_words(error)}",
            seen | _error("pkey", error),
        )
    return True, "a protection key was allocated", {**seen, "allocated": True}


def ptrace(root: Sysroot, kernel: Kernel) -> Finding:
    """Trace a child, and see whether Yama lets us trace what is no child of ours: tools attach to running
    targets."""
    who = standing(root)
    scope = root.maybe("/proc/sys/kernel/yama/ptrace_scope")
    seen: dict[str, Json] = {**who.as_json(), "ptrace_scope": scope}
    try:
        kernel.seize_child()
    except OSError as error:
        if scope in ("2", "3") and error.errno == errno.EPERM:
            return False, _yama(scope), seen | _error("seize", error)
        reason = f"tracing a child of our own failed: {_words(error)} (a container without CAP_SYS_PTRACE?)"
        return False, reason, seen | _error("seize", error)
    if scope == "3" or (scope in ("1", "2") and not who.has(SYS_PTRACE)):
        return False, _yama(scope), seen
    return True, "a child was traced, and nothing forbids to trace other processes of this user", seen


def _yama(scope: str) -> str:
    if scope == "3":
        return "kernel.yama.ptrace_scope is 3: nothing can be traced until the next boot"
    return f"kernel.yama.ptrace_scope is {scope}: {AS_ROOT}, or sysctl kernel.yama.ptrace_scope=0 as root"


def page_zero(root: Sysroot, kernel: Kernel) -> Finding:
    """Map the page at address 0."""
    who = standing(root)
    seen: dict[str, Json] = {**who.as_json(), **_sysctl(root, "vm/mmap_min_addr")}
    try:
        kernel.map_page_zero()
    except OSError as error:
        reason = who.lacking("mapping the page at address 0", SYS_RAWIO)
        if error.errno not in (errno.EPERM, errno.EACCES):
            reason = f"mapping the page at address 0 failed: {_words(error)}"
        return (
            False,
            f"{reason}, or sysctl vm.mmap_min_addr=0 as root",
            seen | _error("mmap", error),
        )
    return True, "the page at address 0 was mapped", seen


def fuse(root: Sysroot, kernel: Kernel) -> Finding:
    """Open the device."""
    who = standing(root)
    try:
        kernel.open_device(root.real("/dev/fuse"))
    except OSError as error:
        advice = {
            errno.ENOENT: "load the module (modprobe fuse), or start the container with --device /dev/fuse",
            errno.EACCES: AS_ROOT,
            errno.EPERM: "start the container with --device /dev/fuse",
        }.get(error.errno or 0, "modprobe fuse")
        return (
            False,
            f"/dev/fuse cannot be opened: {_words(error)}: {advice}",
            {**who.as_json()} | _error("open", error),
        )
    return True, "/dev/fuse can be opened", who.as_json()


def x86_64(root: Sysroot, kernel: Kernel) -> Finding:
    """Look at the architecture."""
    try:
        machine = root.machine()
    except Unreadable as reason:
        return False, f"the architecture is not known: {reason}", {"machine": None}
    if machine != "x86_64":
        return False, f"this machine is {machine}", {"machine": machine}
    return True, "this machine is x86-64", {"machine": machine}


def _sysctl(root: Sysroot, name: str) -> dict[str, Json]:
    return {name.rpartition("/")[2]: root.maybe(f"/proc/sys/{name}")}


def _error(stage: str, error: OSError) -> dict[str, Json]:
    return {"stage": stage, "errno": errno.errorcode.get(error.errno or 0, str(error.errno))}


def _words(error: OSError) -> str:
    return f"{os.strerror(error.errno or 0)} ({errno.errorcode.get(error.errno or 0, error.errno)})"


CHECKS: Mapping[str, Callable[[Sysroot, Kernel], Finding]] = {
    "kernel-bpf": kernel_bpf,
    "kernel-uprobes": kernel_uprobes,
    "kernel-btf": kernel_btf,
    "kernel-jit": kernel_jit,
    "tracefs": tracefs,
    "pku": pku,
    "ptrace": ptrace,
    "page-zero": page_zero,
    "fuse": fuse,
    "x86-64": x86_64,
}
"""Every name of ``bpfbench.measure.prerequisites.TITLES`` and its check."""
