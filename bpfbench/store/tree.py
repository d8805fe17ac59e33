"""Trees on disk, whatever they are for: look at them, seal them, flush them, delete them.

Names are bytes throughout, because a file name need not be text.
"""

# Paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH208

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store.nar import printable

_SEALED_NS = 10**9
"""Every sealed thing was modified one second after the epoch: times must not tell two realisations apart."""

_CLOCK_REALTIME_COARSE = 5
"""The clock that file systems stamp with (linux/time.h); Python has no name for it."""


def look(root: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield the relative path and lstat of everything at and under ``root`` (itself first, as ``b""``)."""
    top = os.fsencode(root)
    status = os.lstat(top)
    yield b"", status
    waiting = [b""] if stat.S_ISDIR(status.st_mode) else []
    while waiting:
        folder = waiting.pop()
        prefix = folder + b"/" if folder else b""
        with os.scandir(top + b"/" + folder) as children:
            for child in children:
                path = prefix + child.name
                yield path, child.stat(follow_symlinks=False)
                if child.is_dir(follow_symlinks=False):
                    waiting.append(path)


def seal(root: Path) -> None:
    """Make a tree ours alone, read-only, readable by all, and without times of its own.

    Modes become 0444 or 0555. A hard link becomes a copy: whoever holds the other name could still change
    it. Raises BenchError for anything but files, directories and symlinks, and for what belongs to a user
    whom we may not replace.
    """
    if root.is_symlink() or not root.exists():
        found = "a symlink" if root.is_symlink() else "missing"
        raise BenchError(f"{root} is {found}; a tree is a directory or a file")
    _seal(os.fsencode(root))


def _seal(path: bytes) -> None:
    status = os.lstat(path)
    mode = status.st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise BenchError(
            f"{printable(path)} is a {_kind(mode)}; the store keeps files, directories and symlinks only",
            hint="delete it at the end of the step that makes this tree",
        )
    if status.st_nlink > 1 and not stat.S_ISDIR(mode):
        _unshare(path)
        status = os.lstat(path)
    _own(path, status)
    if stat.S_ISDIR(mode):
        os.chmod(path, 0o700)  # its maker may have closed it, to us as well
        for child in os.listdir(path):
            _seal(path + b"/" + child)
        os.chmod(path, 0o555)
    elif stat.S_ISREG(mode):
        sealed = 0o555 if mode & stat.S_IXUSR else 0o444
        if stat.S_IMODE(mode) != sealed:
            os.chmod(path, sealed)
    os.utime(path, ns=(_SEALED_NS, _SEALED_NS), follow_symlinks=False)


def _own(path: bytes, status: os.stat_result) -> None:
    """Take over what is somebody else's (archives unpacked by root keep owners), who could change it."""
    if status.st_uid == os.geteuid():
        return
    try:
        os.chown(path, os.geteuid(), -1, follow_symlinks=False)
    except PermissionError as error:
        raise BenchError(
            f"{printable(path)} belongs to user {status.st_uid}, so that user {os.geteuid()} cannot seal it"
        ) from error


def _unshare(path: bytes) -> None:
    """Replace a hard link by a copy, leaving the other names and what they share untouched."""
    import shutil  # pulls in every compressor; hard links are rare

    copy = path[: path.rindex(b"/") + 1] + b".copy-" + os.urandom(8).hex().encode()
    shutil.copyfile(path, copy, follow_symlinks=False)
    os.rename(copy, path)


def _kind(mode: int) -> str:
    return {stat.S_IFSOCK: "socket", stat.S_IFIFO: "named pipe"}.get(stat.S_IFMT(mode), "device")


def wait_for_next_stamp() -> None:
    """Wait (a few ms) until a change to any file gets a later ctime than all changes before this call.

    Stamps have the resolution of the timer tick: bytes changed in the very tick in which they were hashed
    would otherwise carry the stamp that we recorded for the old ones.
    """
    now = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
    give_up = time.monotonic() + 0.1  # the clock may be set back under our feet
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= now and time.monotonic() < give_up:
        time.sleep(0.001)


def flush(root: Path) -> None:
    """Return when everything below ``root`` is on the disk. Raises OSError if the disk did not take it."""
    import ctypes

    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # One syncfs beats thousands of fsyncs, and covers directories too.
        if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(root))
    finally:
        os.close(folder)


def delete(root: Path) -> None:
    """Delete a tree, read-only or not; what somebody else deletes meanwhile is no error.

    Raises OSError for what cannot be deleted.
    """
    _delete(os.fsencode(root))


def _delete(path: bytes) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        with suppress(PermissionError):  # somebody else's: being allowed to write in it may do
            os.chmod(path, 0o700)
        for child in os.listdir(path):
            _delete(path + b"/" + child)
        os.rmdir(path)
