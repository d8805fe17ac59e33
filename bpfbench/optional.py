"""What of the operating system is only wanted: installed where that can be done; what needs it is unsupported elsewhere.

An attempt that failed is written down, so that a machine without a network does not try at every call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bpfbench import system
from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement
from bpfbench.store import availability

AGAIN = 24 * 3600.0
"""Seconds after which what could not be installed is tried again unasked."""


def worth_trying(store: Path, requirement: Requirement) -> bool:
    """Whether a missing optional requirement could be installed here, as far as is known."""
    return system.installable([requirement]) and not _failed_lately(store, requirement)


def install(store: Path, requirement: Requirement, announce: Callable[[str], None]) -> None:
    """Install an optional requirement if it is missing and that can be done here; else say what follows."""
    try:
        system.install([requirement], announce)
    except BenchError as error:
        reason = str(error).partition("\n")[0]
        availability.record(store / availability.FOLDER, _name(requirement), False, reason, {"at": int(time.time())})
        announce(f"going on without {requirement.name} ({requirement.why}): {reason}")


def _failed_lately(store: Path, requirement: Requirement) -> bool:
    known = availability.read(store / availability.FOLDER, _name(requirement))
    at = known.seen.get("at") if known and not known.ok else None
    return isinstance(at, int) and 0 <= time.time() - at < AGAIN


def _name(requirement: Requirement) -> str:
    return f"system-{requirement.name}"
