"""Store items in one file, for a machine that has no network.

A closure is a tar archive of ``manifest.json`` (format, and for every item its key, tree hash, size and
``meta``) and one ``<id>.nar`` an item in the same order: trees as Nix serialises them, so that ``nix-store
--restore`` and sha256sum can check what we say. The same items give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bpfbench.errors import BenchError
from bpfbench.store import uses, workshop
from bpfbench.store.files import sync_directory
from bpfbench.store.keys import Key, make_key
from bpfbench.store.nar import serialise
from bpfbench.store.store import Item, Store
from bpfbench.store.unnar import length, restore

FORMAT = "bpfbench-closure/1"
HEAD = "manifest.json"
_LONGEST_HEAD = 256 << 20
_BLOCK = 512

Told = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Listed:
    """An item as an archive's manifest has it. ``size`` is that of its serialisation."""

    key: Key
    hash: str
    size: int
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """A closure: its items, its bytes, and their SHA-256 in hex."""

    ids: tuple[str, ...]
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of an import: ids that are new here, and ids that were here intact."""

    new: tuple[str, ...]
    kept: tuple[str, ...]


# Writing ----------------------------------------------------------------------------------------------------


def export(items: Sequence[Item], to: Path, told: Told = lambda item_id: None) -> Written:
    """Write a closure of ``items`` to ``to``, whole or not at all.

    Raises BenchError, for damaged items too.
    """
    items = sorted({item.id: item for item in items}.values(), key=lambda item: item.id)
    listed = [_listed(item) for item in items]
    temporary = to.with_name(f".{to.name}.{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            out = _Sink(file)
            head = {"format": FORMAT, "items": [_row(one) for one in listed]}
            _member(out, HEAD, (json.dumps(head, sort_keys=True, indent=1) + "\n").encode("ascii"))
            for item, one in zip(items, listed, strict=True):
                told(item.id)
                _export(out, item, one)
            out.write(bytes(2 * _BLOCK))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(to)
        sync_directory(to.parent)
    except OSError as error:
        raise BenchError(f"{to} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Written(tuple(item.id for item in items), out.size, out.digest.hexdigest())


class _Sink:
    """Writes, counts and hashes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)


def _member(out: _Sink, name: str, data: bytes) -> None:
    _header(out, name, len(data))
    out.write(data)
    out.write(bytes(-len(data) % _BLOCK))


def _header(out: _Sink, name: str, size: int) -> None:
    info = tarfile.TarInfo(name)  # owner root, time 0: the same bytes whoever writes it, whenever
    info.size, info.mode = size, 0o444
    out.write(info.tobuf(tarfile.PAX_FORMAT))


def _export(out: _Sink, item: Item, listed: Listed) -> None:
    with uses.held(item.path):
        _header(out, f"{item.id}.nar", listed.size)
        before, digest = out.size, hashlib.sha256()

        def write(data: bytes | memoryview) -> None:
            out.write(data)
            digest.update(data)

        try:
            serialise(item.tree, write)
        except OSError as error:
            if error.errno in workshop.FULL:
                raise
            raise _damaged(item.id) from error
        if out.size - before != listed.size or _sri(digest.digest()) != item.hash:
            raise _damaged(item.id)
        out.write(bytes(-listed.size % _BLOCK))


def _listed(item: Item) -> Listed:
    return Listed(item.manifest.key, item.hash, length(item.manifest.entries), item.meta)


def _row(one: Listed) -> dict[str, Any]:
    key = one.key
    return {
        "id": key.id, "name": key.name, "digest": key.digest, "components": key.components,
        "hash": one.hash, "size": one.size, "meta": one.meta,
    }  # fmt: skip


def _damaged(item_id: str) -> BenchError:
    return BenchError(f"{item_id} is damaged", hint="./bench verify tells how; ./bench makes it again")


# Reading ----------------------------------------------------------------------------------------------------


def take(store: Store, archive: Path, told: Told = lambda item_id: None) -> Taken:
    """Put the items of a closure into the store, each after its content was verified.

    What is here intact stays as it is. Raises BenchError for whatever is no closure, or not a whole one; the
    items before the place where that was noticed are in the store then, for they were good.
    """
    new, kept = [], []
    with opened(archive) as (tar, listed):
        for one in listed:
            told(one.key.id)
            if store.find(one.key):
                kept.append(one.key.id)
                _next(tar, one)
            else:
                _take(store, tar, one)
                new.append(one.key.id)
        if tar.next() is not None:
            raise BenchError("there is more in it than its manifest says")
    return Taken(tuple(new), tuple(kept))


@contextmanager
def opened(archive: Path) -> Iterator[tuple[tarfile.TarFile, list[Listed]]]:
    """Open a closure and read its manifest; errors within the block are told as those of the archive."""
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar, _head(tar)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise BenchError(f"{archive} is no closure: {error}", hint="export it again") from error
    except OSError as error:
        raise BenchError(f"{archive} cannot be read: {error.strerror or error}") from error
    except BenchError as error:
        raise BenchError(f"{archive}: {error.message}", hint=error.hint or "export it again") from error


def _head(tar: tarfile.TarFile) -> list[Listed]:
    member = tar.next()
    if member is None or member.name != HEAD or not _plain(member) or member.size > _LONGEST_HEAD:
        raise BenchError(f"the archive does not begin with {HEAD}: it is no closure")
    data = json.loads(_Content(tar, member).read(member.size))
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("items"), list):
        raise BenchError(f"the archive is not in the format {FORMAT}")
    listed = [_checked(row) for row in data["items"]]
    ids = [one.key.id for one in listed]
    if ids != sorted(set(ids)):
        raise BenchError("its items are not sorted, or not unique")
    return listed


def _checked(row: Any) -> Listed:
    try:
        key = make_key(row["name"], row["components"])
        one = Listed(key, str(row["hash"]), int(row["size"]), dict(row["meta"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"its manifest has an item that is none: {error}") from error
    if (row.get("id"), row.get("digest")) != (key.id, key.digest):
        message = f"{str(row.get('id'))[:200]!r} is not the id of its components"
        raise BenchError(message, hint="it was made by another version: use the same on both machines")
    return one


def _take(store: Store, tar: tarfile.TarFile, one: Listed) -> None:
    content = _Content(tar, _next(tar, one))

    def make(tree: Path) -> Mapping[str, Any]:
        tree.rmdir()  # what comes may be a single file
        try:
            restore(content.read, tree)
        except BenchError as error:
            raise BenchError(f"{one.key.id} is damaged: {error.message}") from error
        if content.left or _sri(content.digest.digest()) != one.hash:
            raise BenchError(f"{one.key.id} is damaged: its content has not the hash that its manifest says")
        return one.meta

    store.realise(one.key, make, expected_hash=one.hash)


def _next(tar: tarfile.TarFile, one: Listed) -> tarfile.TarInfo:
    member = tar.next()
    name = f"{one.key.id}.nar"
    if member is None:
        raise BenchError(f"it is cut off before {name}")
    if member.name != name or not _plain(member) or member.size != one.size:
        raise BenchError(f"expected {name} of {one.size} bytes, found {member.name[:200]!r} of {member.size}")
    return member


def _plain(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


class _Content:
    """What a member of an archive holds: read, hashed and counted."""

    def __init__(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._file = tar.extractfile(member)
        self._name = member.name
        self.left = member.size
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. Raises BenchError if there are less."""
        data = self._file.read(size) if size and size <= self.left and self._file else b""
        if len(data) != size:
            raise BenchError(f"{self._name} is cut off")
        self.left -= size
        self.digest.update(data)
        return data


def _sri(digest: bytes) -> str:
    import base64

    return "sha256-" + base64.b64encode(digest).decode("ascii")


def sha256_of(archive: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises BenchError."""
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"{archive} cannot be read: {error.strerror}") from error
