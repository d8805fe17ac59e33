"""Reading tree serialisations (``bpfbench.store.nar``) that come from elsewhere, and making the trees again.

Nothing in them is trusted: only what a serialiser would write is taken. Names in a directory are sorted and
unique, so nothing can be written through a link that was made before, and a name never leads out of the tree.
"""

# Paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH102, PTH211

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store.manifest import Entry

_CHUNK = 1 << 20
_LONGEST_NAME = 255
_LONGEST_PATH = 4095
_DEEPEST = 256
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Read = Callable[[int], bytes]
"""Returns exactly that many bytes, or raises BenchError."""


def restore(read: Read, place: Path) -> None:
    """Make the tree at ``place``, where nothing is yet, from its serialisation.

    Raises BenchError where a serialiser would have written something else, OSError where it cannot be made.
    """
    reader = _Reader(read)
    reader.expect(b"nix-archive-1")
    reader.node(os.fsencode(place), 0)


def length(entries: Iterable[Entry]) -> int:
    """Return how many bytes the serialisation of a tree with these entries has."""
    total = _padded(13)
    for entry in entries:
        total += 2 * _padded(1) + _padded(4)  # ( type )
        if entry.kind == "directory":
            total += _padded(9)
        elif entry.kind == "symlink":
            total += _padded(7) + _padded(6) + _padded(_bytes(entry.content))
        else:
            total += _padded(7) + _padded(8) + _padded(entry.size)
            total += (_padded(10) + _padded(0)) * bool(entry.mode & 0o100)
        if entry.path:
            name = _bytes(entry.path.rpartition("/")[2])
            total += _padded(5) + 2 * _padded(1) + 2 * _padded(4) + _padded(name)
    return total


def _padded(length: int) -> int:
    return 8 + length + -length % 8


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


class _Reader:
    """Reads tokens, and makes what they describe."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def node(self, path: bytes, depth: int) -> None:
        if depth > _DEEPEST or len(path) > _LONGEST_PATH:
            raise BenchError("directories nest too deeply")
        self.expect(b"(")
        self.expect(b"type")
        kind = self.token(16)
        if kind == b"directory":
            os.mkdir(path, 0o700)
            self._directory(path, depth)
        elif kind == b"symlink":
            self.expect(b"target")
            target = self.token(_LONGEST_PATH)
            if not target or b"\0" in target:
                raise BenchError("a symlink leads nowhere")
            os.symlink(target, path)
            self.expect(b")")
        elif kind == b"regular":
            self._regular(path)
            self.expect(b")")
        else:
            raise BenchError(f"there is no such kind of file: {_shown(kind)}")

    def expect(self, wanted: bytes) -> None:
        if (found := self.token(max(16, len(wanted)))) != wanted:
            raise BenchError(f"expected {_shown(wanted)}, found {_shown(found)}")

    def token(self, longest: int) -> bytes:
        length = self._length()
        if length > longest:
            raise BenchError(f"a word of {length} bytes, where {longest} are possible")
        word = self._read(length)
        self._padding(length)
        return word

    def _directory(self, path: bytes, depth: int) -> None:
        last = b""
        while (word := self.token(16)) == b"entry":
            self.expect(b"(")
            self.expect(b"name")
            name = self.token(_LONGEST_NAME)
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise BenchError(f"no file can be called {_shown(name)}")
            if name <= last:
                raise BenchError(f"{_shown(name)} comes after {_shown(last)}")
            last = name
            self.expect(b"node")
            self.node(path + b"/" + name, depth + 1)
            self.expect(b")")
        if word != b")":
            raise BenchError(f"expected ), found {_shown(word)}")

    def _regular(self, path: bytes) -> None:
        executable = False
        word = self.token(16)
        if word == b"executable":
            executable = True
            self.expect(b"")
            word = self.token(16)
        if word != b"contents":
            raise BenchError(f"expected contents, found {_shown(word)}")
        left = length = self._length()
        with os.fdopen(os.open(path, _FLAGS, 0o755 if executable else 0o644), "wb", buffering=0) as file:
            while left:
                chunk = self._read(min(left, _CHUNK))
                left -= len(chunk)
                _write(file.fileno(), chunk)
        self._padding(length)

    def _length(self) -> int:
        return int.from_bytes(self._read(8), "little")

    def _padding(self, length: int) -> None:
        if self._read(-length % 8).strip(b"\0"):
            raise BenchError("padding is not zero")


def _write(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _shown(word: bytes) -> str:
    return repr(word[:60])[1:]
