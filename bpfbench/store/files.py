"""Small files that are replaced whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the file at ``path``, making its directory if need be.

    At any moment, whatever happens, a reader finds the old content or the new. On an error (a full disk)
    the old file stays, nothing else is left, and OSError is raised. ``mode`` is meant literally: the umask
    does not touch it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


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
