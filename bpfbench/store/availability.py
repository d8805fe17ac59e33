"""Records of optional things: whether they could be had, why not, and what was seen when that was decided."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store.files import make_shared, write_atomic
from bpfbench.store.keys import Json, plain

FOLDER = "availability"
"""Where, below a store, such records lie."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an optional thing is there. If what was ``seen`` then is different now, look again."""

    name: str
    ok: bool
    reason: str
    """Why it is not available; empty if it is."""
    seen: Mapping[str, Json]
    tried_at: str
    """UTC, ISO 8601."""


def record(directory: Path, name: str, ok: bool, reason: str, seen: Mapping[str, Json]) -> Availability:
    """Write down whether ``name`` is available, in place of what was known before. Raises BenchError."""
    tried_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = Availability(name, ok, reason, plain(seen, f"{name}.seen"), tried_at)
    path = _path(directory, name)
    try:
        make_shared(directory)
        write_atomic(path, (json.dumps(asdict(found), sort_keys=True, indent=1) + "\n").encode("ascii"))
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from error
    return found


def read(directory: Path, name: str) -> Availability | None:
    """Return what is known about ``name``; None if nothing is."""
    try:
        return Availability(**json.loads(_path(directory, name).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _path(directory: Path, name: str) -> Path:
    if not name or "/" in name or name.startswith("."):
        raise BenchError(f"{name!r} cannot name an availability record")
    return directory / f"{name}.json"
