"""Who needs what is in a store: the checkouts that use it, and the items that each of them names.

A checkout that runs with a store is entered in ``<store>/roots/``, as ``<digest of its path>.json``.
What it needs is read from the checkout itself, as of now: its pointers and the results that it shows. For
those who may not look into it (another user's home), the entry repeats the list as it was at the end of the
last run. A checkout that is gone needs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bpfbench.layout import Layout
from bpfbench.store import pointers
from bpfbench.store.files import make_shared, write_atomic

FOLDER = "roots"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Root:
    """One checkout as a user of a store."""

    checkout: Path
    state: Literal["open", "closed", "gone"]
    """``closed``: it may not be looked into, so that only what it last said is known."""
    items: frozenset[str]
    """The ids that it names."""
    shown: frozenset[str]
    """SHA-256 (hex) of every file that it shows: an item that holds such a file is needed too."""
    since: float | None = None
    """Of a closed one: when it last said what it needs; whatever was made later may be needed too."""
    entry: Path | None = None
    """The file in the store that names it; None for one that was never entered."""


def register(layout: Layout) -> None:
    """Enter a checkout in its store, if there is one, unless nothing has changed since the last time.

    In a store that may only be read nothing is entered, and nothing is made there either.
    """
    if not layout.store.is_dir():
        return
    with contextlib.suppress(OSError):
        entry, seen = _entry(layout), _seen(layout)
        known = _load(entry)
        if known is not None and known.get("checkout") == str(layout.root) and known.get("seen") == seen:
            return
        make_shared(entry.parent)
        items = sorted(named(layout))
        data = {"format": _FORMAT, "checkout": str(layout.root), "seen": seen, "items": items}
        write_atomic(entry, (json.dumps(data, indent=1) + "\n").encode())


def roots(store: Path, own: Layout | None = None) -> list[Root]:
    """Return all users of a store, the checkout ``own`` among them in any case, sorted by path."""
    found: dict[Path, Root] = {}
    for path in sorted(store.joinpath(FOLDER).glob("*.json")):
        entry = _load(path)
        if entry is not None:
            root = _root(entry, path)
            found[root.checkout] = root
    if own is not None and (own.root not in found or found[own.root].state != "open"):
        found[own.root] = _looked_into(own, None)
    return [found[path] for path in sorted(found)]


def named(layout: Layout) -> frozenset[str]:
    """Return the ids of all items that a checkout's pointers and results name. Raises OSError."""
    ids = set()
    for path in _files(layout.pointers):
        pointer = pointers.read(path)
        ids |= {pointer.item} if pointer else set()
    for path in _files(layout.results):
        if path.suffix == ".json":
            with contextlib.suppress(ValueError, AttributeError):
                ids.add(str(json.loads(path.read_bytes()).get("run_key")))
    return frozenset(ids)


def _root(entry: dict[str, Any], path: Path) -> Root:
    checkout = Path(entry["checkout"])
    items = frozenset(map(str, entry["items"]))
    try:
        # A checkout without its task file is none any more, whatever else is left in its directory.
        os.lstat(checkout / "dodo.py")
    except (FileNotFoundError, NotADirectoryError):
        return Root(checkout, "gone", items, frozenset(), entry=path)
    except OSError:
        return _closed(checkout, items, path)
    try:
        return _looked_into(Layout.of(checkout), path)
    except OSError:
        return _closed(checkout, items, path)


def _closed(checkout: Path, items: frozenset[str], path: Path) -> Root:
    return Root(checkout, "closed", items, frozenset(), path.stat().st_mtime, path)


def _looked_into(layout: Layout, entry: Path | None) -> Root:
    shown = set()
    for path in _files(layout.results):
        with path.open("rb") as file:
            shown.add(hashlib.file_digest(file, "sha256").hexdigest())
    return Root(layout.root, "open", named(layout), frozenset(shown), entry=entry)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files with any content below ``folder``, if it is there. OSError if it may not be read."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            path = Path(place, name)
            if path.is_file() and path.stat().st_size:
                yield path


def _entry(layout: Layout) -> Path:
    digest = hashlib.sha256(os.fsencode(layout.root)).hexdigest()[:32]
    return layout.store / FOLDER / f"{digest}.json"


def _seen(layout: Layout) -> list[int]:
    """Return what changes whenever a pointer does: they are replaced by renaming."""
    try:
        info = layout.pointers.stat()
    except FileNotFoundError:
        return []
    return [info.st_ino, info.st_mtime_ns]


def _load(path: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(path.read_bytes())
        good = entry["format"] == _FORMAT and isinstance(entry["items"], list)
        return entry if good and Path(entry["checkout"]).is_absolute() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
