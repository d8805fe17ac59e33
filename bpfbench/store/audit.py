"""Hashing everything: whether items are what their manifests say, to the last byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store import manifest as manifests
from bpfbench.store import uses, workshop
from bpfbench.store.store import Store

_PARTS = {"tree", "manifest.json"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One item, looked at closely. ``damage`` in words: none if all is well. ``size`` is what was hashed."""

    id: str
    damage: tuple[str, ...]
    size: int


def audit(store: Store, ids: Iterable[str]) -> Iterator[Finding]:
    """Hash these items, each held against removal meanwhile; one that is removed before is passed over."""
    for item_id in ids:
        path = store.path(item_id)
        with uses.held(path) as there:
            if there:
                yield _examine(item_id, path)
            elif path.is_symlink() or path.exists():
                yield Finding(item_id, ("is no directory, or may not be read",), 0)


def strays(store: Store) -> list[str]:
    """Return the names of what lies in the store's directory and is nothing of the store's."""
    try:
        names = {path.name for path in store.root.iterdir()}
    except FileNotFoundError:
        return []
    return sorted(name for name in names - {*store.ids()} if not workshop.is_ours(name))


def _examine(item_id: str, path: Path) -> Finding:
    try:
        manifest = manifests.load(path / "manifest.json")
        # A temporary file here is that of a manifest being refreshed, or of one that a kill cut short.
        parts = {child.name for child in path.iterdir() if not child.name.startswith(".")}
    except (OSError, BenchError) as error:
        return Finding(item_id, (str(error),), 0)
    damage = [f"{name} was added beside the tree" for name in sorted(parts - _PARTS)]
    if manifest.key.id != item_id:
        damage.append(f"the manifest is that of {manifest.key.id}")
    return Finding(item_id, (*damage, *manifests.verify(manifest, path / "tree")), manifest.size)
