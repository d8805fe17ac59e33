"""Pointer files: the targets of doit's tasks, each naming the store item that its task realised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bpfbench.store.files import unwritable, write_atomic
from bpfbench.store.keys import Json, plain


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer file says."""

    item: str
    """The id of a store item."""
    meta: Mapping[str, Json]


def write(path: Path, item_id: str, meta: Mapping[str, Json] | None = None) -> None:
    """Let the file at ``path`` point to an item; leave it alone if it does. Raises BenchError."""
    pointer = {"item": item_id, "meta": plain(meta or {}, "meta")}
    data = (json.dumps(pointer, sort_keys=True, indent=1) + "\n").encode("ascii")
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    try:
        write_atomic(path, data)
    except OSError as error:
        raise unwritable(path, error) from error


def write_absent(path: Path, reason: str) -> None:
    """Let a file say that there is nothing to point to; one that points to something is left alone. Raises BenchError."""
    if path.exists():
        return
    try:
        write_atomic(path, (json.dumps({"absent": reason}) + "\n").encode("ascii"))
    except OSError as error:
        raise unwritable(path, error) from error


def read(path: Path) -> Pointer | None:
    """Return what the file at ``path`` points to; None if there is none, or if it is no pointer."""
    try:
        data = json.loads(path.read_bytes())
        return Pointer(str(data["item"]), dict(data["meta"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
