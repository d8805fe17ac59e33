"""Reads tar: the formats ustar, pax and GNU's long names, and nothing that no source needs.

Not the standard library's: that one reads headers of any announced size into memory, repairs what it does not
understand where we want to refuse it, and takes three times as long.
Formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

from bpfbench.fetch.errors import Refused
from bpfbench.fetch.members import Kind, Member
from bpfbench.store.nar import printable

BLOCK = 512
EXTENDED = 1 << 20
"""Bytes in one extended header: what a member may have instead of a name."""
_PIECE = 1 << 20
_ZEROS = bytes(BLOCK)
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "symlink", b"5": "directory",
}  # fmt: skip
_NEVER = {b"3": "a character device", b"4": "a block device", b"6": "a named pipe", b"S": "a sparse file"}


class _Extended(NamedTuple):
    """What extended headers say of the member that follows."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None


class Tar:
    """The members of a tar in a stream, in order; whatever of a member's content is not read is skipped."""

    def __init__(self, stream: BufferedIOBase, archive: str) -> None:
        self._stream = stream
        self._archive = archive
        self._left = 0
        """Bytes of content and padding that come before the next header."""
        self._at = b""
        """The member being read, for messages."""

    def __iter__(self) -> Iterator[Member]:
        extended = _Extended()
        while (header := self._block()) != _ZEROS:
            self._check(header)
            kind = header[156:157]
            if kind in b"xgLK":
                extended = self._extend(extended, header, kind)
                continue
            yield self._member(header, kind, extended)
            self._skip()
            extended = _Extended()
        if extended != _Extended():
            raise self._refuse("ends after an extended header")
        self._end()

    def _member(self, header: bytes, kind: bytes, extended: _Extended) -> Member:
        self._at = name = extended.name if extended.name is not None else _name(header)
        if kind in _NEVER:
            raise self._refuse(f"{_NEVER[kind]} has no business in a source")
        if kind not in _KINDS:
            raise self._refuse(f"a kind of member that is not known here ({printable(kind)})")
        what = _KINDS[kind]
        if what == "file" and name.endswith(b"/"):
            what = "directory"  # as before ustar
        size = extended.size if extended.size is not None else self._number(header[124:136], "size")
        if what != "file" and size:
            raise self._refuse(f"a {what} with {size} bytes of content")
        self._left = size + -size % BLOCK
        target = b""
        if what in ("symlink", "hard link"):
            target = extended.target if extended.target is not None else header[157:257].rstrip(b"\0")
        executable = bool(self._number(header[100:108], "mode") & 0o100)
        return Member(name, what, size, executable, target, lambda: self._content(size))

    def _content(self, size: int) -> Iterator[bytes]:
        while size:
            data = self._stream.read(min(size, _PIECE))
            if not data:
                raise self._refuse("the archive ends in the middle of it")
            size -= len(data)
            self._left -= len(data)
            yield data

    def _skip(self) -> None:
        while self._left:
            data = self._stream.read(min(self._left, _PIECE))
            if not data:
                raise self._refuse("the archive ends in the middle of it")
            self._left -= len(data)

    def _block(self) -> bytes:
        block = self._stream.read(BLOCK)
        if len(block) != BLOCK:
            raise Refused(self._archive, None, "the archive ends without its end mark, as if cut off")
        return block

    def _check(self, header: bytes) -> None:
        told = header[148:156].strip(b" \0")
        if not told.isdigit() or b"8" in told or b"9" in told or int(told, 8) != _checksum(header):
            after = f" after {printable(self._at)}" if self._at else ""
            raise Refused(self._archive, None, f"no tar header where one should be{after}")

    def _extend(self, before: _Extended, header: bytes, kind: bytes) -> _Extended:
        self._at = _name(header)
        size = self._number(header[124:136], "size")
        if size > EXTENDED:
            raise self._refuse(f"an extended header of {size} bytes; at most {EXTENDED} are taken")
        self._left = size + -size % BLOCK
        data = b"".join(self._content(size))
        self._skip()
        if kind == b"L":
            return before._replace(name=data.rstrip(b"\0"))
        if kind == b"K":
            return before._replace(target=data.rstrip(b"\0"))
        return self._pax(before, data, everywhere=kind == b"g")

    def _pax(self, before: _Extended, data: bytes, *, everywhere: bool) -> _Extended:
        for key, value in self._records(data):
            if key.startswith(b"GNU.sparse"):
                raise self._refuse("a sparse file has no business in a source")
            if key not in (b"path", b"linkpath", b"size"):
                continue  # times, owners, comments: nothing of it is kept
            if everywhere:
                raise self._refuse(f"a {key.decode()} for all members at once")
            if key == b"path":
                before = before._replace(name=value)
            elif key == b"linkpath":
                before = before._replace(target=value)
            elif value.isdigit() and len(value) < 20:
                before = before._replace(size=int(value))
            else:
                raise self._refuse(f"a size that is no number: {printable(value[:40])}")
        return before

    def _records(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records ``<length> <key>=<value>\\n`` of a pax header; the length counts all of it."""
        while data.strip(b"\0"):
            digits, blank, _ = data.partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
            key, equals, value = data[len(digits) + 1 : length].partition(b"=")
            if not (blank and equals and key and value.endswith(b"\n")):
                raise self._refuse("a broken extended header")
            yield key, value[:-1]
            data = data[length:]

    def _number(self, digits: bytes, what: str) -> int:
        if digits[0] & 0x80:  # GNU: too large for octal digits
            value = int.from_bytes(digits, "big") - (0x80 << 8 * (len(digits) - 1))
            if not 0 <= value < 1 << 63:
                raise self._refuse(f"an impossible {what}")
            return value
        text = digits.strip(b" \0")
        if not text:
            return 0
        if text.translate(None, b"01234567"):
            raise self._refuse(f"a {what} that is no number: {printable(text)}")
        return int(text, 8)

    def _end(self) -> None:
        """See that nothing hides after the end mark; this also reads a compressed stream to its checksum."""
        while data := self._stream.read(_PIECE):
            if data.count(0) != len(data):
                raise Refused(self._archive, None, "there is something after its end mark")

    def _refuse(self, why: str) -> Refused:
        return Refused(self._archive, printable(self._at[:200]) or None, why)


def _checksum(header: bytes) -> int:
    return sum(header) - sum(header[148:156]) + 8 * 32  # its own eight bytes count as blanks


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    # GNU puts other things where ustar has the prefix.
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].partition(b"\0")[0]):
        return prefix + b"/" + name
    return name
