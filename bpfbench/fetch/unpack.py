"""An archive into a directory: whole and harmless, or not at all as far as the caller is concerned."""

# Paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH103, PTH211

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.fetch.ahead import Ahead
from bpfbench.fetch.errors import Refused
from bpfbench.fetch.inflate import Inflated, kind_of
from bpfbench.fetch.members import Census, Limits, Member
from bpfbench.fetch.tar import Tar
from bpfbench.fetch.zip import Zip

BUFFER = 1 << 20


def unpack(
    archive: Path,
    tree: Path,
    *,
    strip: int = 0,
    name: str | None = None,
    limits: Limits | None = None,
    progress: Callable[[str], object] = lambda note: None,
    zstd: Callable[[Path], Path] | None = None,
) -> int:
    """Unpack a tar (plain, gzip, xz, bzip2, zstd) or zip into the existing directory ``tree``; return the members.

    ``strip`` leading directories are taken off all names. Modes become 0444 or 0555, as the store has them; owners and times are not kept.
    ``name`` is what messages call the archive. ``zstd`` turns a zstd file into a plain one, where there is such
    a program. Raises ``Refused``, naming the member; ``tree`` may then hold part of the archive, but nothing
    outside it was ever touched.
    """
    name, limits = name or archive.name, limits or Limits()
    kind = kind_of(archive)
    if not kind:
        raise Refused(name, None, "neither a tar nor a zip: its first bytes are those of something else")
    if kind == "zstd":
        if zstd is None:
            raise BenchError(f"{name}: compressed by zstd, which is not here", hint="install zstd")
        archive, kind = zstd(archive), "tar"
    writer = _Writer(tree, Census(name, strip, limits), name, progress)
    with _told(tree):
        if kind == "zip":
            with Zip(archive, name) as members:
                return writer.write(_bounded(members, archive.stat().st_size, name, limits))
        with archive.open("rb", buffering=0) as file:
            if kind == "tar":
                return writer.write(Tar(io.BufferedReader(file, BUFFER), name))
            with Ahead(Inflated(file, kind, name, limits)) as ahead:
                return writer.write(Tar(io.BufferedReader(ahead, BUFFER), name))


class _Writer:
    """Makes on the disk what a census has admitted."""

    def __init__(self, tree: Path, census: Census, name: str, progress: Callable[[str], object]) -> None:
        self._name = name
        self._root = os.fsencode(tree) + b"/"
        self._census = census
        self._progress = progress
        self._made = {b""}
        """Directories that are there."""

    def write(self, members: Iterable[Member]) -> int:
        count = 0
        for member in members:
            count += 1
            path = self._census.admit(member)
            if path is None:
                continue
            if member.kind == "directory":
                self._directory(path)
                continue
            self._directory(path[: max(path.rfind(b"/"), 0)])
            if member.kind == "file":
                self._file(path, member)
            elif member.kind == "hard link":
                self._copy(path, self._census.hard_link(member), member.executable)
            if not count & 0xFF:
                self._progress(f"unpacking: {count} members")
        self._census.finish()
        if self._made == {b""} and not any(os.scandir(self._root)) and not self._census.symlinks:
            raise Refused(self._name, None, "there is nothing in it")
        # Last, so that nothing can have been written through one of them.
        for path, target in self._census.symlinks.items():
            os.symlink(target, self._root + path)
        return count

    def _directory(self, path: bytes) -> None:
        if path not in self._made:
            os.makedirs(self._root + path, 0o755, exist_ok=True)
            self._made.add(path)

    def _file(self, path: bytes, member: Member) -> None:
        fd = _create(self._root + path, member.executable)
        try:
            if member.size:
                for data in member.content():
                    _write(fd, data)
        finally:
            os.close(fd)

    def _copy(self, path: bytes, of: bytes, executable: bool) -> None:
        source = os.open(self._root + of, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = _create(self._root + path, executable or bool(os.fstat(source).st_mode & 0o100))
            try:
                while data := os.read(source, BUFFER):
                    _write(fd, data)
            finally:
                os.close(fd)
        finally:
            os.close(source)


def _create(path: bytes, executable: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o555 if executable else 0o444)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _bounded(members: Iterable[Member], size: int, name: str, limits: Limits) -> Iterable[Member]:
    """Let a zip's members through until they announce more than their archive can reasonably hold."""
    total = 0
    for member in members:
        total += member.size
        if total > limits.free and total > limits.ratio * size:
            raise Refused(name, member.name.decode("utf-8", "replace"), f"a bomb: {size} bytes announce more than {total}")
        yield member


@contextmanager
def _told(tree: Path) -> Iterator[None]:
    """Say which disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "make room (`doit gc` shows what can go), or use a store on another disk: store=/path"
        raise BenchError(f"the disk is full: {tree}", hint=hint) from error
