"""What nobody needs any more: found, shown and removed, beside whoever is working with the store.

An item stays if a checkout names it or shows one of its files, if a key that is asked for now is its own, or
if somebody uses it (``bpfbench.store.uses``). All of that is looked at once more, item by item, while the
item is locked: between showing and removing, somebody may have come to need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store import uses, workshop
from bpfbench.store.locks import Flock
from bpfbench.store.roots import Root
from bpfbench.store.store import Store

_AT_ONCE = 200
"""Items locked at the same time, for which the roots are read once: each takes an open file."""


@dataclass(frozen=True, slots=True)
class Held:
    """An item of a store as far as its collection is concerned."""

    id: str
    size: int
    """Bytes in its files."""
    seconds: float
    """What it took to make it."""
    contents: frozenset[str] = field(repr=False)
    """SHA-256 of every file in it that is not empty."""
    made: float
    """When it was put there, by the clock that the file system stamps with."""

    @property
    def name(self) -> str:
        """What it is, without the digest."""
        return self.id[33:]

    def needed(self, roots: Iterable[Root]) -> bool:
        """Whether any checkout needs it."""
        return any(self._needed(root) for root in roots if root.state != "gone")

    def _needed(self, root: Root) -> bool:
        if self.id in root.items or not root.shown.isdisjoint(self.contents):
            return True
        return root.since is not None and self.made >= root.since


@dataclass(frozen=True, slots=True)
class Survey:
    """What would go (``dead``) and what would stay (``live``), each sorted by name and id."""

    dead: tuple[Held, ...]
    live: tuple[Held, ...]


@dataclass(slots=True)
class Collected:
    """What was done, as ids."""

    removed: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """Still there, because somebody came to use or need them."""
    refused: list[str] = field(default_factory=list)
    """Still there, because we may not remove them."""
    undeleted: list[str] = field(default_factory=list)
    """Removed, but the files are another user's, whose next run frees the room."""


def survey(store: Store, roots: Iterable[Root], wanted: Collection[str] = ()) -> Survey:
    """Tell the dead from the living; ``wanted`` are the ids of keys that are asked for now."""
    roots = list(roots)
    dead: list[Held] = []
    live: list[Held] = []
    found = [_look(store, item_id) for item_id in store.ids()]
    for held in sorted(found, key=lambda held: (held.name, held.id)):
        (live if held.id in wanted or held.needed(roots) else dead).append(held)
    return Survey(tuple(dead), tuple(live))


def collect(store: Store, dead: Sequence[Held], roots: Callable[[], Iterable[Root]]) -> Collected:
    """Remove what nobody has come to use or need since it was found dead. Raises BenchError.

    ``roots`` reads them anew.
    """
    done = Collected()
    for start in range(0, len(dead), _AT_ONCE):
        with workshop.told(store.root):
            _collect(store, dead[start : start + _AT_ONCE], roots, done)
    return done


def _collect(
    store: Store, dead: Sequence[Held], roots: Callable[[], Iterable[Root]], done: Collected
) -> None:
    claimed: list[tuple[Held, Flock]] = []
    trash: list[tuple[Held, Path]] = []
    try:
        for held in dead:
            if flock := uses.claim(store.path(held.id)):
                claimed.append((held, flock))
            elif store.path(held.id).exists():
                done.used.append(held.id)
        now = list(roots())
        for held, _ in claimed:
            if _look(store, held.id).needed(now):  # looked at again: it may have been replaced
                done.used.append(held.id)
                continue
            try:
                trash.append((held, workshop.put_aside(store.path(held.id))))
                done.removed.append(held.id)
            except PermissionError:  # a directory with the sticky bit: everybody for himself
                done.refused.append(held.id)
    finally:
        for _, flock in claimed:
            flock.close()  # before the deleting, which takes its time
    done.undeleted += [held.id for held, path in trash if not workshop.empty(path)]


def _look(store: Store, item_id: str) -> Held:
    item, path = store.recall(item_id), store.path(item_id)
    if item is None:
        return Held(item_id, _size(path), 0.0, frozenset(), _made(path))
    files = frozenset(entry.content for entry in item.manifest.entries if entry.kind == "file" and entry.size)
    wall = item.meta.get("wall")
    seconds = float(wall) if isinstance(wall, int | float) else 0.0
    return Held(item_id, item.manifest.size, seconds, files, _made(path))


def _made(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_ctime
    return 0.0


def _size(path: Path) -> int:
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def forget_gone(roots: Iterable[Root]) -> list[Path]:
    """Take the checkouts that are gone out of the list; return their paths."""
    gone = []
    for root in roots:
        if root.state == "gone" and root.entry is not None:
            try:
                root.entry.unlink(missing_ok=True)
            except OSError as error:
                raise BenchError(f"{root.entry} cannot be removed: {error.strerror}") from error
            gone.append(root.checkout)
    return gone
