"""The environment record of a result: what the machine was like when it was measured.

Every value that cannot be read is null, and ``missing`` says why under its dotted name; nothing is guessed.
Environment variables and host names are not recorded, secrets on the kernel's command line are hidden.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bpfbench.measure.fingerprint import VULNERABILITIES, mitigations
from bpfbench.measure.machine import cmdline, hardware, limits, programs, virtualisation
from bpfbench.measure.machine.standing import standing
from bpfbench.measure.machine.sysroot import Json, Recorder, Sysroot, Unreadable

SCHEMA = "bpfbench-environment/1"

Command = str | Path | Sequence[str | Path]


def snapshot(
    *,
    checkout: Path | None = None,
    tools: Mapping[str, Command] | None = None,
    root: Sysroot | None = None,
    deadline: float = programs.DEADLINE,
) -> dict[str, Json]:
    """Return the record: plain JSON, keys always in the same order.

    ``tools`` maps a name to the program's path (asked with ``--version``) or to the whole command that
    prints its version; ``checkout`` is a git checkout whose commit and state are noted; each program gets
    ``deadline`` seconds.
    """
    root, recorder = root or Sysroot(), Recorder()
    return {
        "schema": SCHEMA,
        "kernel": _kernel(root, recorder),
        "os": _distribution(root, recorder),
        "cpu": hardware.processor(root, recorder),
        "frequency": hardware.frequency(root, recorder),
        "virtualisation": _virtualisation(root, recorder),
        "mitigations": recorder.take("mitigations", lambda: _mitigations(root)),
        "memory": hardware.memory(root, recorder),
        "limits": limits.section(root, recorder),
        "security": _security(root, recorder),
        "clock": _clock(root, recorder),
        "load": recorder.take("load", lambda: _load(root)),
        "software": _software(recorder, tools or {}, deadline),
        "checkout": _checkout(recorder, checkout, deadline),
        "missing": dict(sorted(recorder.missing.items())),
    }


Readers = dict[str, Callable[[], Json]]


def _take(recorder: Recorder, section: str, readers: Readers) -> dict[str, Json]:
    return {name: recorder.take(f"{section}.{name}", read) for name, read in readers.items()}


def _kernel(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    readers: Readers = {
        "release": lambda: root.line("/proc/sys/kernel/osrelease"),
        "version": lambda: root.line("/proc/sys/kernel/version"),
        "compiler": lambda: _compiler(root.line("/proc/version")),
        "command_line": lambda: cmdline.parse(root.text("/proc/cmdline")).text,
        "init_words_left_out": lambda: cmdline.parse(root.text("/proc/cmdline")).init_words,
        "tainted": lambda: root.number("/proc/sys/kernel/tainted"),
    }
    return _take(recorder, "kernel", readers)


def _compiler(line: str) -> str:
    """The first parentheses of /proc/version name a user and a host, the second what the kernel was
    compiled with."""
    found = re.search(r"\([^()@]*@[^()]*\) \((.*?)\) #", line)
    if not found:
        raise Unreadable("/proc/version: names no compiler")
    return found.group(1)


def _distribution(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    fields = {"name": "PRETTY_NAME", "id": "ID", "version": "VERSION_ID"}
    return _take(recorder, "os", {name: _release_field(root, key) for name, key in fields.items()})


def _release_field(root: Sysroot, key: str) -> Callable[[], Json]:
    def read() -> Json:
        try:
            text = root.text("/etc/os-release")
        except Unreadable:
            text = root.text("/usr/lib/os-release")
        found = os_release(text).get(key)
        if found is None:
            raise Unreadable(f"os-release: no {key}")
        return found

    return read


def os_release(text: str) -> Mapping[str, str]:
    """Parse the shell-like assignments of an os-release file; lines that are none are passed over."""
    import shlex

    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            found[name] = " ".join(shlex.split(value))
        except ValueError:
            continue
    return found


def _virtualisation(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    readers: Readers = {
        "machine": lambda: virtualisation.virtual_machine(root),
        "container": lambda: virtualisation.container(root),
    }
    return _take(recorder, "virtualisation", readers)


def _mitigations(root: Sysroot) -> dict[str, Json]:
    found = mitigations(root)
    if found is None:
        raise Unreadable(f"{VULNERABILITIES}: not there, or not readable")
    return found


def _security(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    numbers = {
        "perf_event_paranoid": "kernel/perf_event_paranoid",
        "kptr_restrict": "kernel/kptr_restrict",
        "unprivileged_bpf_disabled": "kernel/unprivileged_bpf_disabled",
        "bpf_jit_enable": "net/core/bpf_jit_enable",
        "bpf_jit_harden": "net/core/bpf_jit_harden",
        "bpf_stats_enabled": "kernel/bpf_stats_enabled",
        "ptrace_scope": "kernel/yama/ptrace_scope",
    }
    who = standing(root)
    readers: Readers = {name: _number(root, f"/proc/sys/{file}") for name, file in numbers.items()}
    readers["lockdown"] = lambda: hardware.chosen(root.line("/sys/kernel/security/lockdown"))
    readers["modules"] = lambda: root.line("/sys/kernel/security/lsm")
    return _take(recorder, "security", readers) | {
        "uid": who.uid,
        "capabilities": who.as_json()["capabilities"],
        "seccomp": who.seccomp,
        "user_namespace": who.user_namespace,
    }


def _number(root: Sysroot, name: str) -> Callable[[], Json]:
    return lambda: root.number(name)


def _clock(root: Sysroot, recorder: Recorder) -> dict[str, Json]:
    base = "/sys/devices/system/clocksource/clocksource0"
    readers: Readers = {
        "source": lambda: root.line(f"{base}/current_clocksource"),
        "available": lambda: root.line(f"{base}/available_clocksource"),
    }
    return _take(recorder, "clock", readers)


def _load(root: Sysroot) -> dict[str, Json]:
    average = r"([0-9]{1,9}\.[0-9]{1,9})"
    found = re.match(rf"{average} {average} {average} (\S+) ", root.line("/proc/loadavg"))
    if not found:
        raise Unreadable("/proc/loadavg: not in the expected form")
    one, five, fifteen, runnable = found.groups()
    return {"one": float(one), "five": float(five), "fifteen": float(fifteen), "runnable": runnable}


def _software(recorder: Recorder, tools: Mapping[str, Command], deadline: float) -> dict[str, Json]:
    readers: Readers = {
        "libc": _libc,
        "python": lambda: f"{sys.implementation.name} {sys.version.split()[0]}",
        "packages": _packages,
    }
    found = _take(recorder, "software", readers)
    asked = {name: _version(command, deadline) for name, command in sorted(tools.items())}
    return {**found, "tools": _take(recorder, "software.tools", asked)}


def _libc() -> str:
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        found = None
    if not found:
        raise Unreadable("the C library does not tell its version (not glibc)")
    return found


def _packages() -> dict[str, Json]:
    from importlib import metadata

    found = {str(each.metadata["Name"]): each.version for each in metadata.distributions()}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def _version(command: Command, deadline: float) -> Callable[[], Json]:
    words = [command, "--version"] if isinstance(command, (str, Path)) else [*command]
    return lambda: programs.version(words, deadline=deadline)


def _checkout(recorder: Recorder, directory: Path | None, deadline: float) -> dict[str, Json]:
    names = ("commit", "dirty", "changed_files", "untracked_files")

    def read() -> Mapping[str, Json]:
        if directory is None:
            raise Unreadable("no checkout was named")
        return programs.checkout(directory, deadline=deadline)

    found = recorder.take("checkout", read)
    return {name: found[name] if found else None for name in names}
