"""Who this machine is, as far as a measurement can tell: part of every run key, so it is cheap and stable.

In it: CPU models with microcode, the number of cores, threads and packages, the kernel build, the
mitigation of every vulnerability, the kernel's command line, hypervisor and container. Not in it: host
name, memory, date, boot id, addresses, and settings that change while the machine runs (governor, load);
the environment record has those.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bpfbench.measure.machine import cmdline, cpu, virtualisation
from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable

T = TypeVar("T")

VERSION = 1
"""Raised when the components change their meaning: everything is measured again then."""

VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"
_MARKS = re.compile(r"\((?:r|tm|c)\)|@.*|\swith\s.*", re.IGNORECASE)
_FILLERS = re.compile(r"cpu|processor|genuine|\d+-core|dual-core|quad-core|0", re.IGNORECASE)
"""Words of a model name that tell nothing to someone who looks for a directory."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """``name`` is a directory name for people, ``digest`` the SHA-256 (hex) of ``components``."""

    name: str
    digest: str
    components: Mapping[str, Json]


def fingerprint(root: Sysroot | None = None) -> Fingerprint:
    """Return this machine's fingerprint. What cannot be read is null in the components; nothing is
    guessed."""
    root = root or Sysroot()
    models, topology = _or_none(cpu.read_models, root), _or_none(cpu.topology, root)
    components: dict[str, Json] = {
        "version": VERSION,
        "architecture": _or_none(Sysroot.machine, root),
        "cpus": [model.as_json() for model in models] if models else None,
        "topology": _counts(topology),
        "kernel": {
            "release": root.maybe("/proc/sys/kernel/osrelease"),
            "version": root.maybe("/proc/sys/kernel/version"),
        },
        "mitigations": mitigations(root),
        "command_line": _command_line(root),
        "vm": _or_none(virtualisation.virtual_machine, root),
        "container": virtualisation.container(root),
    }
    digest = hashlib.sha256(canonical(components).encode()).hexdigest()
    return Fingerprint(_name(models, topology, digest), digest, components)


def canonical(components: Mapping[str, Json]) -> str:
    """Return the one JSON text of ``components``: sorted keys, no blanks, ASCII."""
    return json.dumps(components, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def mitigations(root: Sysroot) -> dict[str, Json] | None:
    """Return vulnerability → what the kernel says about it, or None without that directory."""
    try:
        names = root.names(VULNERABILITIES)
    except Unreadable:
        return None
    return {name: root.maybe(f"{VULNERABILITIES}/{name}") for name in names}


def _or_none(read: Callable[[Sysroot], T], root: Sysroot) -> T | None:
    try:
        return read(root)
    except Unreadable:
        return None


def _command_line(root: Sysroot) -> list[Json] | None:
    try:
        return list(cmdline.parse(root.text("/proc/cmdline")).stable)
    except Unreadable:
        return None


def _counts(topology: cpu.Topology | None) -> dict[str, Json]:
    if topology is None:
        return {"cpus": None, "cores": None, "packages": None, "threads_per_core": None}
    return {
        "cpus": len(topology.online),
        "cores": topology.cores,
        "packages": topology.packages,
        "threads_per_core": topology.threads_per_core,
    }


def _name(models: tuple[cpu.Model, ...] | None, topology: cpu.Topology | None, digest: str) -> str:
    parts = [slug(models[0].name) if models else "unknown-cpu"]
    if topology:
        cores, threads = topology.cores or len(topology.online), len(topology.online)
        parts.append(f"{cores}c" if cores == threads else f"{cores}c{threads}t")
    return "-".join([*parts, digest[:8]])


def slug(model: str) -> str:
    """Return a CPU's model name as a short part of a file name: ``Intel(R) Xeon(R) CPU E5-2697 v2`` →
    ``intel-xeon-e5-2697-v2``."""
    words = [word for word in _MARKS.sub(" ", model).split() if not _FILLERS.fullmatch(word)]
    plain = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
    return plain[:32].rstrip("-") or "unknown-cpu"
