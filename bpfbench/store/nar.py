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
_ZEROS = bytes(8)

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
    _read(path, size, digest.update)
    return digest.hexdigest()


def printable(path: bytes) -> str:
    """Return ``path`` for messages: as it is where that can be read, with escapes where it cannot."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def _node(path: bytes, name: bytes, write: Write, seen: Callable[[Node], object]) -> None:
    status = os.lstat(path)
    write(_strings(b"(", b"type"))
    if stat.S_ISDIR(status.st_mode):
        seen(Node(name, status, b""))
        write(_string(b"directory"))
        for child in sorted(os.listdir(path)):
            write(_strings(b"entry", b"(", b"name", child, b"node"))
            _node(path + b"/" + child, name + b"/" + child if name else child, write, seen)
            write(_string(b")"))
    elif stat.S_ISREG(status.st_mode):
        seen(Node(name, status, _regular(path, status, write)))
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)
        seen(Node(name, status, target))
        write(_strings(b"symlink", b"target", target))
    else:
        raise BenchError(f"{printable(path)} is neither a file, a directory nor a symlink")
    write(_string(b")"))


def _regular(path: bytes, status: os.stat_result, write: Write) -> bytes:
    digest = hashlib.sha256()

    def both(chunk: memoryview) -> None:
        write(chunk)
        digest.update(chunk)

    write(_string(b"regular"))
    if status.st_mode & stat.S_IXUSR:
        write(_strings(b"executable", b""))
    write(_string(b"contents") + status.st_size.to_bytes(8, "little"))
    _read(path, status.st_size, both)
    write(_ZEROS[: -status.st_size % 8])
    return digest.hexdigest().encode("ascii")


def _read(path: bytes, size: int, take: Callable[[memoryview], object]) -> None:
    """Pass a file of ``size`` bytes on in chunks, so that its size does not matter."""
    total = 0
    buffer = memoryview(bytearray(_CHUNK))
    # O_NOFOLLOW: what lstat saw as a file must not have become a link to elsewhere.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
        while total <= size and (count := file.readinto(buffer)):
            take(buffer[:count])
            total += count
    if total != size:
        raise BenchError(f"{printable(path)} changed while it was being read")


def _strings(*values: bytes) -> bytes:
    return b"".join(map(_string, values))


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value + _ZEROS[: -len(value) % 8]
