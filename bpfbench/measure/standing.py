"""Prerequisites as a key sees them: remembered for as long as nothing that decides them has changed.

Trying a real uprobe costs the kernel a grace period of a tenth of a second, too much for every ``doit`` that has nothing to do.
What decides a prerequisite changes with the boot, the user and the capabilities, or by hand under /proc/sys: as long as
those are the same, so is the answer. A run itself always tries anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bpfbench.measure import prerequisites
from bpfbench.measure.prerequisites import Prerequisite
from bpfbench.process.identity import privileged
from bpfbench.store.files import write_cache

_DECIDING = (
    "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/unprivileged_bpf_disabled", "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/net/core/bpf_jit_enable", "/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/vm/mmap_min_addr",
    "/sys/kernel/security/lockdown", "/sys/bus/event_source/devices/uprobe/type",
)
_DECIDING_BY_BEING_THERE = ("/sys/kernel/btf/vmlinux", "/dev/fuse", "/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events")


def remembered(names: Iterable[str], cache: Path) -> dict[str, Any]:
    """Return name → {ok, seen} for a key, from ``cache`` where nothing that decides it has changed since."""
    now = deciding()
    known = _load(cache)
    if known.get("deciding") != now:
        known = {"deciding": now, "found": {}}
    found = known["found"]
    wanted = sorted(set(names))
    missing = [name for name in wanted if name not in found]
    for name in missing:
        found[name] = _plain(_check(name))
    if missing:
        _save(cache, known)
    return {name: found[name] for name in wanted}


def tried(names: Iterable[str], cache: Path) -> dict[str, Prerequisite]:
    """Try every prerequisite now, and remember the answers."""
    fresh = {name: _check(name) for name in sorted(set(names))}
    _save(cache, {"deciding": deciding(), "found": {name: _plain(one) for name, one in fresh.items()}})
    return fresh


def _check(name: str) -> Prerequisite:
    # Under sudo all else is done as the user who called; programs are loaded as root, and that is what is asked here.
    with privileged():
        return prerequisites.check(name)


def _plain(found: Prerequisite) -> dict[str, Any]:
    return {"ok": found.ok, "seen": dict(found.seen)}


def deciding() -> str:
    """Return a digest of all that decides which prerequisites this machine has."""
    with privileged():
        return _deciding_now()


def _deciding_now() -> str:
    told = [f"{os.getresuid()}", *(name for name in _DECIDING_BY_BEING_THERE if os.path.lexists(name))]
    for name in _DECIDING:
        with contextlib.suppress(OSError):
            told.append(Path(name).read_text())
    with contextlib.suppress(OSError):
        told += [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(("Cap", "Seccomp", "NoNew"))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _load(cache: Path) -> dict[str, Any]:
    try:
        known = json.loads(cache.read_text())
        return known if isinstance(known, dict) and isinstance(known.get("found"), dict) else {}
    except (OSError, ValueError):
        return {}


def _save(cache: Path, known: dict[str, Any]) -> None:
    write_cache(cache, json.dumps(known, sort_keys=True).encode())
