"""Tree hashes: the SHA-256 of a tree's NAR serialisation, as Nix and its relatives compute it.

A NAR (Eelco Dolstra, "The Purely Functional Software Deployment Model", figure 5.2) holds names, file
contents, the owner's execute bit and symlink targets; nothing else of a tree changes its hash. Every token
is a string: its length as a 64-bit little-endian number, its bytes, and zeros up to a multiple of eight.
"""

# Paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import binascii
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bpfbench.errors import BenchError

_CHUNK = 1 << 20
"""Bytes of a file that are in memory at a time. Most files are smaller: read and hashed in one go."""

Write = Callable[[bytes | memoryview], object]


class Node(NamedTuple):
    """One thing in a tree. ``content``: a file's SHA-256 in hex, a symlink's target, else empty."""

    path: bytes
    """Relative to the tree; empty for the tree itself."""
    stat: os.stat_result
    content: bytes


def nar_hash(path: Path) -> str:
    """Return the hash of the file, symlink or directory at ``path`` in SRI form: ``sha256-<base64>``."""
    return hash_tree(path)[0]


def hash_tree(path: Path) -> tuple[str, list[Node]]:
    """Return the tree hash of ``path`` and all its nodes (parents first, sorted), reading every file once."""
    digest = hashlib.sha256()
    nodes: list[Node] = []
    serialise(path, digest.update, nodes.append)
    return "sha256-" + binascii.b2a_base64(digest.digest(), newline=False).decode("ascii"), nodes


def serialise(path: Path, write: Write, seen: Callable[[Node], object] = lambda node: None) -> None:
    """Write the NAR of ``path`` piece by piece, calling ``seen`` for each node on the way.

    Raises BenchError for what a NAR cannot hold (sockets, pipes, devices) and for a file that changes under
    our eyes.
    """
    write(_string(b"nix-archive-1"))
    _node(os.fsencode(path), b"", write, seen)


def file_digest(path: bytes, size: int) -> str:
    """Return the SHA-256 of a file of ``size`` bytes in hex."""
    digest = hashlib.sha256()
    file = os.open(path, _FLAGS)
    try:
        _pass_on(file, path, size, digest.update)
    finally:
        os.close(file)
    return digest.hexdigest()


def printable(path: bytes) -> str:
    """Return ``path`` for messages: as it is where that can be read, with escapes where it cannot."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def _node(path: bytes, name: bytes, write: Write, seen: Callable[[Node], object]) -> None:
    status = os.lstat(path)
    mode = status.st_mode
    if stat.S_ISREG(mode):
        content = _regular(path, status.st_size, _EXECUTABLE if mode & stat.S_IXUSR else _REGULAR, write)
        seen(Node(name, status, content))
    elif stat.S_ISDIR(mode):
        seen(Node(name, status, b""))
        write(_DIRECTORY)
        for child in sorted(os.listdir(path)):
            write(_ENTRY + _string(child) + _NODE)
            _node(path + b"/" + child, name + b"/" + child if name else child, write, seen)
            write(_CLOSE)
    elif stat.S_ISLNK(mode):
        target = os.readlink(path)
        seen(Node(name, status, target))
        write(_SYMLINK + _string(target))
    else:
        raise BenchError(f"{printable(path)} is neither a file, a directory nor a symlink")
    write(_CLOSE)


def _regular(path: bytes, size: int, head: bytes, write: Write) -> bytes:
    """Write the NAR of a file but for its last token; return its SHA-256 in hex."""
    head += size.to_bytes(8, "little")
    # O_NOFOLLOW: what lstat saw as a file must not have become a link to elsewhere.
    file = os.open(path, _FLAGS)
    try:
        if size < _CHUNK:
            data = os.read(file, size + 1)  # one more, to see that there is no more
            while 0 < len(data) < size and (more := os.read(file, size + 1 - len(data))):
                data += more
            if len(data) != size:
                raise _changed(path)
            write(b"".join((head, data, _ZEROS[: -size % 8])))
            return hashlib.sha256(data).hexdigest().encode("ascii")
        digest = hashlib.sha256()

        def both(chunk: memoryview) -> None:
            write(chunk)
            digest.update(chunk)

        write(head)
        _pass_on(file, path, size, both)
        write(_ZEROS[: -size % 8])
        return digest.hexdigest().encode("ascii")
    finally:
        os.close(file)


def _pass_on(file: int, path: bytes, size: int, take: Callable[[memoryview], object]) -> None:
    """Pass a file of ``size`` bytes on in chunks, so that its size does not matter."""
    total = 0
    buffer = memoryview(bytearray(min(_CHUNK, size + 1)))
    while total <= size and (count := os.readv(file, [buffer])):
        take(buffer[:count])
        total += count
    if total != size:
        raise _changed(path)


def _changed(path: bytes) -> BenchError:
    return BenchError(f"{printable(path)} changed while it was being read")


def _strings(*values: bytes) -> bytes:
    return b"".join(map(_string, values))


def _string(value: bytes) -> bytes:
    size = len(value)
    return size.to_bytes(8, "little") + value + _ZEROS[: -size % 8]


_ZEROS = bytes(8)
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = _strings(b"(", b"type", b"directory")
_SYMLINK = _strings(b"(", b"type", b"symlink", b"target")
_REGULAR = _strings(b"(", b"type", b"regular", b"contents")
_EXECUTABLE = _strings(b"(", b"type", b"regular", b"executable", b"", b"contents")
_ENTRY = _strings(b"entry", b"(", b"name")
_NODE = _strings(b"node")
_CLOSE = _strings(b")")
