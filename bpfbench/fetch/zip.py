"""Reads zip: wheels, and archives of projects that publish nothing else."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from bpfbench.fetch.errors import Refused
from bpfbench.fetch.members import Kind, Member
from bpfbench.store.nar import printable

_PIECE = 1 << 20
_TARGET = 4096
_UNIX = 3
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_HEADER = 30
"""Bytes of a local header without its name: the least that lies between two members."""


class Zip:
    """The members of a zip file, in the order of its directory. Raises ``Refused`` for what is wrong with it."""

    def __init__(self, path: Path, archive: str) -> None:
        self._archive = archive
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise Refused(archive, None, f"no whole zip file: {error}") from error
        self._size = path.stat().st_size

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __iter__(self) -> Iterator[Member]:
        members = self._zip.infolist()
        self._apart(members)
        for info in members:
            self._usable(info)
            kind = self._kind(info)
            executable = bool(_mode(info) & stat.S_IXUSR)
            target = self._target(info) if kind == "symlink" else b""
            size = info.file_size if kind == "file" else 0
            if kind == "directory" and info.file_size:
                raise self._refuse(info, f"a directory with {info.file_size} bytes of content")
            yield Member(_name(info), kind, size, executable, target, lambda info=info: self._content(info))  # type: ignore[misc]

    def _apart(self, members: list[zipfile.ZipInfo]) -> None:
        """See that no two members share bytes of the file: that is how a small zip unfolds into petabytes."""
        end = 0
        for info in sorted(members, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise self._refuse(info, "it shares bytes of the archive with another member: a bomb")
            end = info.header_offset + _HEADER + info.compress_size
        if end > self._size:
            raise Refused(self._archive, None, "its directory speaks of more than the file holds")

    def _usable(self, info: zipfile.ZipInfo) -> None:
        if info.orig_filename != info.filename:
            raise self._refuse(info, "its name has a zero byte")
        if "\\" in info.filename:
            raise self._refuse(info, "its name has a backslash, which is a directory elsewhere")
        if info.flag_bits & 0x1:
            raise self._refuse(info, "it is encrypted")
        if info.compress_type not in _METHODS:
            raise self._refuse(info, f"it is compressed in a way that is not known here ({info.compress_type})")

    def _kind(self, info: zipfile.ZipInfo) -> Kind:
        kind = stat.S_IFMT(_mode(info))
        if kind == stat.S_IFLNK:
            return "symlink"
        if info.filename.endswith("/"):
            return "directory"
        if kind in (0, stat.S_IFREG):
            return "file"
        if kind == stat.S_IFDIR:
            return "directory"
        raise self._refuse(info, "a device or pipe has no business in a source")

    def _target(self, info: zipfile.ZipInfo) -> bytes:
        if info.file_size > _TARGET:
            raise self._refuse(info, f"a symlink with a target of {info.file_size} bytes")
        return b"".join(self._content(info))

    def _content(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        left = info.file_size
        try:
            with self._zip.open(info) as stream:
                while data := stream.read(_PIECE):
                    left -= len(data)
                    yield data
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise self._refuse(info, f"its content is broken: {error}") from error
        if left:
            raise self._refuse(info, f"it has {info.file_size - left} bytes, its header says {info.file_size}")

    def _refuse(self, info: zipfile.ZipInfo, why: str) -> Refused:
        return Refused(self._archive, printable(_name(info)[:200]), why)


def _name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8", "surrogateescape")


def _mode(info: zipfile.ZipInfo) -> int:
    """Return the Unix mode, 0 when made where there is none."""
    return info.external_attr >> 16 if info.create_system == _UNIX else 0
