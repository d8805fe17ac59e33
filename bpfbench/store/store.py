"""The store: trees by key, made once, never changed, and looked at before they are trusted.

``<root>/<id>/`` holds ``tree/`` and ``manifest.json``. It appears there whole, by a rename, and so it
stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bpfbench.errors import BenchError
from bpfbench.store import manifest as manifests
from bpfbench.store import tree as trees
from bpfbench.store import uses, workshop
from bpfbench.store.files import FULL, sweep_temporaries, sync_directory
from bpfbench.store.keys import ID, Json, Key, plain
from bpfbench.store.locks import OnWait
from bpfbench.store.manifest import Manifest

Make = Callable[[Path], Mapping[str, Json] | None]
"""Fills the empty directory that it is given (or puts one file in its place); may return ``meta``."""


class WrongHash(BenchError):
    """A tree was made, and is not the one that was expected; nothing of it was kept."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(
            f"{name} has the tree hash {got}, but {expected} was expected",
            hint="if the new content is what you want, pin its hash instead",
        )
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True)
class Item:
    """A thing in the store. ``tree`` is what was made: a directory, or a single file."""

    id: str
    path: Path
    tree: Path
    hash: str
    """NAR SHA-256 of the tree in SRI form."""
    manifest: Manifest

    @property
    def meta(self) -> Mapping[str, Json]:
        """What its maker wanted to be remembered."""
        return self.manifest.meta


@dataclass(frozen=True, slots=True)
class Status:
    """How a key stands. ``reasons`` say what is damaged; ``item`` is there if it is intact."""

    state: Literal["absent", "intact", "damaged"]
    reasons: tuple[str, ...] = ()
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """The items under ``root``, shared by checkouts and users perhaps, and read-only perhaps."""

    root: Path

    def path(self, key: Key | str) -> Path:
        """Return where an item is or would be. Raises BenchError for what is no item id."""
        item_id = key if isinstance(key, str) else key.id
        if not ID.fullmatch(item_id):
            raise BenchError(f"{item_id!r} is no item id", hint="an id is 32 hex digits, '-' and a name")
        return self.root / item_id

    def find(self, key: Key | str) -> Item | None:
        """Return the item if it is realised and intact (one lstat a file; only what differs is hashed)."""
        return self.status(key).item

    def status(self, key: Key | str) -> Status:
        """Say whether an item is there, and whether it is what its manifest says."""
        path = self.path(key)
        uses.hold(path)
        try:
            manifest = manifests.load(path / "manifest.json")
            if manifest.key.id != path.name:
                return Status("damaged", (f"the manifest is that of {manifest.key.id}",))
            look = manifests.check(manifest, path / "tree")
        except (OSError, BenchError) as error:
            return Status("damaged", (str(error),)) if os.path.lexists(path) else Status("absent")
        if look.damage:
            return Status("damaged", look.damage)
        if look.manifest is not manifest:
            # Same bytes on other inodes: a copied or restored store. Remember that, if we may.
            with suppress(OSError):
                manifests.save(look.manifest, path / "manifest.json")
        return Status("intact", item=_item(path, look.manifest))

    def realise(
        self, key: Key, make: Make, *, expected_hash: str | None = None, on_wait: OnWait | None = None
    ) -> Item:
        """Return the item of ``key``; if it is not there intact, call ``make`` and put the whole item there.

        Processes that want the same key at once make it once: the others wait (``on_wait`` is told for how
        long). If ``make`` raises, or the tree's hash is not ``expected_hash``, nothing has happened to the
        store. Other locks are best taken within ``make``, so that all take them in the same order.
        """
        if item := self._wanted(key, expected_hash):
            return item
        with workshop.workshop(self.root, key.id, on_wait) as room:
            if item := self._wanted(key, expected_hash):
                return item
            with workshop.told(self.root, only=FULL):
                (room / "tree").mkdir()
                manifest = _make(key, room / "tree", make, expected_hash)
            with workshop.told(self.root):
                manifests.save(manifest, room / "manifest.json")
                self._install(room, key.id)
        return _item(self.path(key), manifest)

    def recall(self, item_id: str) -> Item | None:
        """Return an item by its manifest alone, whatever has become of its tree; None without a manifest."""
        with suppress(OSError, BenchError):
            path = self.path(item_id)
            return _item(path, manifests.load(path / "manifest.json"))
        return None

    def verify(self, item: Item) -> list[str]:
        """Hash everything in an item and return what is wrong with it."""
        return list(manifests.verify(item.manifest, item.tree))

    def ids(self) -> list[str]:
        """Return the ids of all items, damaged ones too, sorted."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return sorted(path.name for path in self.root.iterdir() if ID.fullmatch(path.name))
        return []

    def items(self) -> Iterator[Item]:
        """Yield all items that have a manifest, without looking at their trees."""
        for item_id in self.ids():
            if item := self.recall(item_id):
                yield item

    def remove(self, key: Key | str) -> None:
        """Delete an item; it vanishes at once. Nothing happens if it is not there."""
        with workshop.told(self.root):
            workshop.throw_away(self.path(key))

    def sweep(self, *, within_items: bool = True) -> list[str]:
        """Delete what killed makers left behind; return its names. Touches no item and no living maker.

        Within items that is at most a manifest that was being refreshed; to look into each of thousands takes its time.
        """
        swept = workshop.sweep(self.root)
        for folder in workshop.FOLDERS:
            swept += [f"{folder}/{name}" for name in sweep_temporaries(self.root / folder)]
        for item_id in self.ids() if within_items else ():
            swept += [f"{item_id}/{name}" for name in sweep_temporaries(self.path(item_id))]
        return swept

    def _wanted(self, key: Key, expected_hash: str | None) -> Item | None:
        item = self.find(key)
        return item if item and expected_hash in (None, item.hash) else None

    def _install(self, made: Path, item_id: str) -> None:
        path = self.path(item_id)
        made.chmod(0o755)  # whatever the umask: items are for all to read
        trees.flush(made)
        uses.hold(path, made)
        workshop.throw_away(path)
        made.rename(path)
        sync_directory(self.root)


def _make(key: Key, tree: Path, make: Make, expected_hash: str | None) -> Manifest:
    meta = plain(make(tree) or {}, f"{key.name}.meta")
    trees.seal(tree)
    manifest = manifests.describe(key, tree, meta)
    if expected_hash is not None and expected_hash != manifest.hash:
        raise WrongHash(key.name, expected_hash, manifest.hash)
    return manifest


def _item(path: Path, manifest: Manifest) -> Item:
    return Item(path.name, path, path / "tree", manifest.hash, manifest)
