"""SHA-256 of files outside the checkout (compilers, libraries, headers), remembered by what ``stat`` says
of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.store.files import write_cache


class Memory:
    """A JSON object in a file that may be lost: unreadable counts as empty, unwritable as not saved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] | None = None
        self._changed = False

    def get(self, name: str) -> Any:
        """Return what was put under ``name``, None if nothing was."""
        return self._load().get(name)

    def put(self, name: str, value: Any) -> None:
        """Remember ``value`` (anything JSON takes) until ``save`` and beyond."""
        self._load()[name] = value
        self._changed = True

    def save(self) -> None:
        """Write the file if something was put since; who reads meanwhile sees the old state or the new."""
        if not self._changed:
            return
        write_cache(self._path, json.dumps(self._values).encode())
        self._changed = False

    def _load(self) -> dict[str, Any]:
        if self._values is None:
            self._values = dict(_read(self._path))
        return self._values


_READ: dict[Path, tuple[tuple[int, ...], dict[str, Any]]] = {}
"""What memories held when they were read last, and how their files looked: each of dozens of packages asks the same one."""


def _read(path: Path) -> dict[str, Any]:
    try:
        info = path.stat()
        look = (info.st_ctime_ns, info.st_mtime_ns, info.st_size, info.st_ino, info.st_dev)
        known = _READ.get(path)
        if known is None or known[0] != look:
            values = json.loads(path.read_text())
            known = _READ[path] = look, values if isinstance(values, dict) else {}
    except (OSError, ValueError):
        return {}
    return known[1]


class FileDigests:
    """Content digests; a file is read again only when its size, times, inode or device differ."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def of(self, path: str) -> str:
        """Return the SHA-256 of the file's content in hex. Raises ``OSError`` when it cannot be read."""
        info = os.stat(path)  # noqa: PTH116 - called for a hundred headers in every up-to-date check
        seen = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev]
        known = self._memory.get(path)
        if isinstance(known, list) and known[:-1] == seen:
            return str(known[-1])
        digest = hash_file(Path(path))
        self._memory.put(path, [*seen, digest])
        return digest

    def save(self) -> None:
        """Keep what was learnt for the next call."""
        self._memory.save()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of the file's content in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_mapping(values: Mapping[str, str]) -> str:
    """Return one SHA-256 in hex for names and their digests, whatever order they come in."""
    lines = "".join(f"{name}\0{value}\n" for name, value in sorted(values.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_inputs(root: Path, inputs: tuple[str, ...]) -> dict[str, str]:
    """Return repository-relative path → SHA-256 of every file at or below ``inputs``.

    Always read: they are few and small, and an edit within one clock tick must not go unnoticed. Hidden
    files are editors' and no inputs. Raises ``BenchError`` for an input that is not there.
    """
    found = {}
    for name in inputs:
        place = root / name
        if not place.exists():
            raise BenchError(
                f"the build input {name} is not there", hint="restore it, or mend `inputs` of the package"
            )
        files = [place] if place.is_file() else _visible(place)
        for file in files:
            found[file.relative_to(root).as_posix()] = hash_file(file)
    return dict(sorted(found.items()))


def _visible(directory: Path) -> list[Path]:
    found: list[Path] = []
    for entry in directory.iterdir():
        if entry.name.startswith("."):
            continue
        found += _visible(entry) if entry.is_dir() else [entry]
    return found
