"""A compressed file as a stream of what is in it, in bounded memory and with a bound on how much comes out."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bpfbench.fetch.errors import Refused
from bpfbench.fetch.members import Limits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MEMORY = 1 << 30
"""Bytes that an xz stream may ask for: the largest preset needs 65 MiB."""
_PIECE = 1 << 18

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface that those of bz2 and lzma have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def kind_of(path: Path) -> str:
    """Tell what a file is by its first bytes, whatever its name: a key of ``MAGIC``, ``tar`` or empty."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" or _old_tar(head) else ""


def _old_tar(head: bytes) -> bool:
    """Whether 512 bytes are a tar header of before ustar: its checksum tells."""
    try:
        told = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return len(head) == 512 and told == sum(head[:148]) + 8 * 32 + sum(head[156:])


class Inflated(io.RawIOBase):
    """What is in a compressed file; several streams one after the other count as one.

    Raises ``Refused`` for what is not compressed data, or unfolds beyond ``limits``.
    """

    def __init__(self, file: BinaryIO, kind: str, archive: str, limits: Limits) -> None:
        self._file = file
        self._kind = kind
        self._archive = archive
        self._limits = limits
        self._decompressor = self._new()
        self._left = b""
        self._read = 0
        self._made = 0
        self._whole = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` as far as one step of decompression goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        try:
            data = self._some(len(view))
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Refused(self._archive, None, f"broken {self._kind} data: {error}") from error
        view[: len(data)] = data
        self._made += len(data)
        self._bounded()
        return len(data)

    def _some(self, most: int) -> bytes:
        while not self._whole:
            if self._decompressor.eof and not self._next_stream():
                break
            fresh = b""
            if self._decompressor.needs_input:
                fresh, self._left = self._left or self._file.read(_PIECE), b""
                self._read += len(fresh)
            if data := self._decompressor.decompress(fresh, most):
                return data
            if not fresh and self._decompressor.needs_input and not self._decompressor.eof:
                raise EOFError("it ends too early")
        return b""

    def _next_stream(self) -> bool:
        """Begin another stream if one follows; zeros at the end are padding."""
        rest = (self._decompressor.unused_data or self._file.read(_PIECE)).lstrip(b"\0")
        while not rest and (more := self._file.read(_PIECE)):
            rest = more.lstrip(b"\0")
        if not rest:
            self._whole = True
            return False
        self._decompressor, self._left = self._new(), rest
        self._read -= len(rest)  # it is counted when it is used
        return True

    def _new(self) -> _Decompressor:
        if self._kind == "gzip":
            return _Gzip()
        if self._kind == "bzip2":
            return bz2.BZ2Decompressor()
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)

    def _bounded(self) -> None:
        limits = self._limits
        if self._made > limits.free and self._made > limits.ratio * self._read:
            raise Refused(self._archive, None, f"a bomb: {self._read} bytes of it unfold into more than {self._made}")
        if self._made > limits.size + limits.count * 1536:
            raise Refused(self._archive, None, f"a bomb: it unfolds into more than {limits.size} bytes")
