"""Small files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from bpfbench.errors import BenchError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""How the system says that a disk, or a user's share of it, is full."""
UNWRITABLE = (*FULL, errno.EROFS)
"""How it says that nothing can be written there, whatever it is."""


def unwritable(path: Path | str, error: OSError) -> BenchError:
    """Return the error for a file that could not be written, with what to do about it."""
    if error.errno in FULL:
        hint = "make room on that disk and run the same command again: what is finished is kept"
    else:
        hint = "work in a place that you may write"
    return BenchError(f"{path} cannot be written: {error.strerror}", hint=hint)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, lasting: bool = True) -> None:
    """Replace the file at ``path``, making its directory if need be.

    At any moment, whatever happens, a reader finds the old content or the new. On an error (a full disk)
    the old file stays, nothing else is left, and OSError is raised. ``mode`` is meant literally: the umask
    does not touch it. What is not ``lasting`` says nothing any more after a crash of the machine, and is not
    waited for until the disk has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if lasting:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if lasting:
        sync_directory(path.parent)


def write_cache(path: Path, data: bytes) -> None:
    """Replace a file that can be lost: not forced to the disk, and where it cannot be written, not written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def make_shared(folder: Path) -> None:
    """Make a directory for everybody who may write where it lies, whatever this user's umask. Raises OSError."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(stat.S_IMODE(folder.parent.stat().st_mode))


def sweep_temporaries(directory: Path) -> list[str]:
    """Delete what killed writers left in a directory; return the names.

    A living writer whose temporary file vanishes gets the OSError that ``write_atomic`` promises.
    """
    swept = []
    for path in sorted(directory.glob(".*.tmp")):
        with suppress(OSError):
            path.unlink()
            swept.append(path.name)
    return swept


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
