"""What stands behind a task: a store item by key, and perhaps a view of it where people look.

A task is up to date when the item of its *present* key is realised and intact and the view shows exactly that item. Nothing
else decides: no time stamp and no database, so both can be lost without harm (design, decision 1).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.glance import below
from bpfbench.store import pointers
from bpfbench.store.files import write_atomic
from bpfbench.store.keys import Change, Key, changes
from bpfbench.store.locks import MachineLock
from bpfbench.store.store import Item, Store

if TYPE_CHECKING:
    from bpfbench.layout import Layout
    from bpfbench.progress import Progress

WAITS = "waits for what it is made from"
"""Why a step without a key does not stand."""

Make = Callable[[Path, "Progress"], "Mapping[str, Any] | None"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a task has to run, and why in words."""

    uptodate: bool
    why: str


@dataclass(frozen=True, slots=True)
class View:
    """Where an item's files are shown: each file of the tree below ``target``."""

    target: Path

    def show(self, item: Item) -> dict[str, list[int]]:
        """Copy the item's files into place, each atomically, and return what they look like there."""
        seen = {}
        for source in sorted(path for path in item.tree.rglob("*") if path.is_file()):
            name = source.relative_to(item.tree).as_posix()
            place = self.target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, source.read_bytes())
            seen[name] = _look(place)
        return seen

    def shows(self, seen: Mapping[str, list[int]]) -> bool:
        """Whether the files are still those that ``show`` put there."""
        with contextlib.suppress(OSError):
            return all(_look(self.target / name) == look for name, look in seen.items())
        return False


@dataclass(frozen=True, slots=True)
class Step:
    """One item that a task realises. ``key`` returns None while something that it needs is not there yet."""

    name: str
    layout: Layout
    key: Callable[[], Key | None]
    make: Make
    view: View | None = None
    shares_machine: bool = False
    """Whether making it is heavy work that must not run beside a measurement."""
    inputs: Callable[[], Iterable[Path]] = tuple
    """The files that go into the key, and the directories in which they are looked for."""

    @property
    def pointer(self) -> Path:
        """The small file that names the item this step last realised: the task's target for doit."""
        return self.layout.pointers / f"{self.name}.json"

    def item(self) -> Item | None:
        """Return the item of the present key if it is realised and intact."""
        key = self.key()
        return Store(self.layout.store).find(key) if key else None

    def wanted(self) -> list[Key]:
        """Return the keys of all that this step realises; none while something that it needs is not there yet."""
        key = self.key()
        return [key] if key else []

    def standing(self) -> Standing:
        """Say whether there is something to do, and why."""
        return self._standing(self.key())

    def look(self) -> tuple[bool, list[str]]:
        """Say whether it is up to date, and name every path that this depends on."""
        key = self.key()
        return self._standing(key).uptodate, [*map(str, self.inputs()), *self._paths(key)]

    def _paths(self, key: Key | None) -> Iterator[str]:
        """Yield the paths of what this step realised, and of what it would realise."""
        yield str(self.pointer)
        pointer = pointers.read(self.pointer)
        store = Store(self.layout.store)
        items = {pointer.item} if pointer else set()
        for item in sorted(items | ({key.id} if key else set())):
            place = str(store.path(item))
            yield f"{place}/manifest.json"
            yield from below(f"{place}/tree")
        if self.view and pointer:
            yield from (f"{self.view.target}/{name}" for name in pointer.meta.get("view", {}))

    def _standing(self, key: Key | None) -> Standing:
        if key is None:
            return Standing(False, WAITS)
        store = Store(self.layout.store)
        if store.find(key) is None:
            return Standing(False, self._why_absent(store, key))
        pointer = pointers.read(self.pointer)
        if pointer is None or pointer.item != key.id:
            return Standing(False, "in the store already; only to be put in place")
        if self.view and not self.view.shows(pointer.meta.get("view", {})):
            return Standing(False, f"what is shown in {self.view.target} was changed or removed")
        return Standing(True, "realised and intact")

    def run(self, progress: Progress) -> Item:
        """Realise the item (at once when the store has it), show it, and point to it."""
        key = self.key()
        if key is None:
            raise BenchError(f"{self.name}: what it is made from is not there", hint=f"./bench {self.name} makes that first")
        store = Store(self.layout.store)
        item = store.find(key) or self._realise(store, key, progress)
        self.point(item)
        return item

    def point(self, item: Item) -> None:
        """Show the item and write the pointer."""
        seen = self.view.show(item) if self.view else {}
        pointers.write(self.pointer, item.id, {"view": seen} if seen else {})

    def changed(self) -> list[Change] | None:
        """Return which components of the key changed since this step last ran; None when it never ran or cannot be told."""
        key, last = self.key(), self.last()
        return changes(last.manifest.key.components, key.components) if key and last else None

    def shown_files(self) -> list[Path]:
        """Return the files that are shown now because this step put them there."""
        pointer = pointers.read(self.pointer)
        names = pointer.meta.get("view", {}) if self.view and pointer else {}
        return [path for name in names if self.view and (path := self.view.target / name).exists()]

    def forget_view(self) -> None:
        """Remove what is shown (``doit clean``); the store keeps the item."""
        pointer = pointers.read(self.pointer)
        if self.view and pointer:
            for name in pointer.meta.get("view", {}):
                (self.view.target / name).unlink(missing_ok=True)
            _remove_empty(self.view.target)
        self.pointer.unlink(missing_ok=True)

    def last(self) -> Item | None:
        """Return the item that this step last realised, whatever its present key is."""
        pointer = pointers.read(self.pointer)
        return Store(self.layout.store).recall(pointer.item) if pointer else None

    def last_alike(self) -> Item | None:
        """Return the item that tells best how long this step takes."""
        return self.last()

    def _realise(self, store: Store, key: Key, progress: Progress) -> Item:
        def make(tree: Path) -> Mapping[str, Any]:
            begun = time.monotonic()
            meta = self.make(tree, progress) or {}
            return {"wall": round(time.monotonic() - begun, 3), **meta}

        def waiting(seconds: float) -> None:
            progress("waiting until nobody measures on this machine")

        def make_sharing(tree: Path) -> Mapping[str, Any]:
            with MachineLock().shared(on_wait=waiting):
                return make(tree)

        return store.realise(key, make_sharing if self.shares_machine else make)

    def _why_absent(self, store: Store, key: Key) -> str:
        if store.path(key).exists():
            return "its item in the store is damaged"
        changed = self.changed()
        if not changed:
            return "never made before"
        names = ", ".join(change.path for change in changed[:3])
        return f"changed: {names}" + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")


def _look(path: Path) -> list[int]:
    info = os.lstat(path)
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def _remove_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)
