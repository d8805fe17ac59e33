"""What a realised tree looked like when it was made, and whether it still does.

A look at a tree costs one lstat a file: a file whose (size, mtime, ctime, inode, mode) are the recorded
ones is the recorded one, because nobody, root included, can choose a ctime. Only what differs is hashed.
Directories and the modes of things need no hashing, so their times are not recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bpfbench.errors import BenchError
from bpfbench.store import tree as trees
from bpfbench.store.files import write_atomic
from bpfbench.store.keys import Json, Key
from bpfbench.store.nar import Node, file_digest, hash_tree, printable

FORMAT = 1
_SUM = b',\n "sum": "'
"""Before the SHA-256 of all that comes before it, at the end of a manifest."""


class Entry(NamedTuple):
    """One file, directory or symlink; a row of the manifest."""

    path: str
    """Relative to the tree (empty: the tree itself); bytes that are no UTF-8 become surrogate escapes."""
    kind: str
    """``file``, ``directory`` or ``symlink``."""
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    content: str
    """A file's SHA-256 in hex, a symlink's target, empty for a directory."""

    @property
    def shown(self) -> str:
        """The path, for messages."""
        return printable(_bytes(self.path)) or "the tree itself"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known about an item. ``hash`` is the NAR SHA-256 in SRI form, ``meta`` its maker's own."""

    key: Key
    hash: str
    entries: tuple[Entry, ...]
    meta: Mapping[str, Json]

    @property
    def size(self) -> int:
        """Bytes in files."""
        return sum(entry.size for entry in self.entries if entry.kind == "file")


@dataclass(frozen=True, slots=True)
class Look:
    """What was found: ``damage`` in words (none: intact), and the manifest with the stat data as of now."""

    damage: tuple[str, ...]
    manifest: Manifest


def describe(key: Key, tree: Path, meta: Mapping[str, Json]) -> Manifest:
    """Hash a sealed tree and return its manifest."""
    trees.wait_for_next_stamp()
    digest, nodes = hash_tree(tree)
    return Manifest(key, digest, tuple(map(_entry, nodes)), meta)


def check(manifest: Manifest, tree: Path) -> Look:
    """Compare a tree with its manifest, hashing only what may have changed."""
    if not os.path.lexists(tree):
        return Look(("the tree is missing",), manifest)
    present = {_text(path): status for path, status in trees.look(tree)}
    damage, suspects = [], []
    for entry in manifest.entries:
        status = present.pop(entry.path, None)
        if status is None:
            damage.append(f"{entry.shown} is missing")
        elif _stat_of(entry.kind, status) != entry[2:7] or _kind(status.st_mode) != entry.kind:
            suspects.append(entry)
    damage += [f"{printable(_bytes(path))} was added" for path in present]
    if not suspects:
        return Look(tuple(damage), manifest)
    trees.wait_for_next_stamp()
    examined = {entry.path: _examine(entry, tree) for entry in suspects}
    damage += [found for found in examined.values() if isinstance(found, str)]
    fresh = [examined.get(entry.path, entry) for entry in manifest.entries]
    return Look(tuple(damage), replace(manifest, entries=tuple(e for e in fresh if isinstance(e, Entry))))


def verify(manifest: Manifest, tree: Path) -> tuple[str, ...]:
    """Compare a tree with its manifest, hashing everything; return the damage in words."""
    try:
        digest, nodes = hash_tree(tree)
    except (OSError, BenchError) as error:
        return (f"the tree cannot be read: {error}",)
    found = {entry.path: entry for entry in map(_entry, nodes)}
    damage = []
    for entry in manifest.entries:
        now = found.pop(entry.path, None)
        damage += [f"{entry.shown} is missing"] if now is None else _differences(entry, now)
    damage += [f"{entry.shown} was added" for entry in found.values()]
    if digest != manifest.hash and not damage:
        damage.append(f"the tree hash is {digest}, the manifest says {manifest.hash}")
    return tuple(damage)


def load(path: Path) -> Manifest:
    """Read a manifest. Raises BenchError if it is not a whole one, OSError if it cannot be read."""
    try:
        data = json.loads(_checked(path.read_bytes()))
        if data["format"] != FORMAT:
            raise BenchError(f"{path} has format {data['format']}, not {FORMAT}")
        key = Key(str(data["name"]), str(data["digest"]), data["components"])
        entries = tuple(map(Entry._make, data["entries"]))
        for entry in entries:
            _bytes(entry.path)
        return Manifest(key, str(data["hash"]), entries, data["meta"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BenchError(f"{path} is no complete manifest: {error}") from error


def save(manifest: Manifest, path: Path) -> None:
    """Write a manifest, one entry a line, and its own digest at the end. Raises OSError if it cannot be written; the old one stays then."""
    head = {
        "format": FORMAT,
        "name": manifest.key.name,
        "digest": manifest.key.digest,
        "hash": manifest.hash,
        "components": manifest.key.components,
        "meta": manifest.meta,
    }
    rows = ",\n".join(json.dumps(row) for row in manifest.entries)
    text = f'{json.dumps(head, indent=1)[:-2]},\n "entries": [\n{rows}\n]'.encode("ascii")
    digest = hashlib.sha256(text).hexdigest().encode("ascii")
    write_atomic(path, text + _SUM + digest + b'"}\n', mode=0o444)


def _checked(text: bytes) -> bytes:
    """Return the text of a manifest if it is the one that was written. Raises ValueError.

    Nothing else watches over what is in there: the key, ``meta``, the hashes themselves. Manifests of earlier
    versions end without a sum.
    """
    body, summed, rest = text.rpartition(_SUM)
    if summed and rest[64:] == b'"}\n' and hashlib.sha256(body).hexdigest().encode("ascii") != rest[:64]:
        raise ValueError("it was changed after it had been written")
    return text


def _examine(entry: Entry, tree: Path) -> Entry | str:
    """Look closely at one thing: return its entry as of now, or what is wrong with it."""
    path = os.fsencode(tree) + (b"/" + _bytes(entry.path) if entry.path else b"")
    try:
        status = os.lstat(path)
        kind = _kind(status.st_mode)
        if kind == "file" and status.st_size != entry.size:
            content = "another size"
        elif kind == "file":
            content = file_digest(path, entry.size)
        else:
            content = _text(os.readlink(path)) if kind == "symlink" else ""  # noqa: PTH115 (bytes)
    except OSError as error:
        return f"{entry.shown} cannot be read: {error.strerror}"
    now = Entry(entry.path, kind, *_stat_of(kind, status), content)
    return "; ".join(_differences(entry, now)) or now


def _differences(entry: Entry, now: Entry) -> list[str]:
    """Say in what way ``now`` is not what was recorded; stat data alone do not count."""
    if now.kind != entry.kind:
        return [f"{entry.shown} is a {now.kind}, not a {entry.kind}"]
    found = []
    if now.mode != entry.mode:
        found.append(f"{entry.shown} has mode {now.mode:04o}, not {entry.mode:04o}")
    if now.content != entry.content:
        found.append(f"{entry.shown} has other content")
    return found


def _entry(node: Node) -> Entry:
    kind = _kind(node.stat.st_mode)
    return Entry(_text(node.path), kind, *_stat_of(kind, node.stat), _text(node.content))


def _stat_of(kind: str, status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return (mode, size, mtime, ctime, inode): what tells, without reading, that a thing is unchanged."""
    mode = stat.S_IMODE(status.st_mode)
    if kind == "directory":
        return mode, 0, 0, 0, 0  # its content is other entries
    return mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
