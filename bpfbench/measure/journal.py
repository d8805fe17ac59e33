"""The journal of a run: one JSON object a line, appended as things happen, so that a kill costs one block at most.

Each line ends with ``sum``, a digest of the line and of all lines before it: until it is in the store, nothing else would
tell a changed number from the one that was measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError

FORMAT = 1
Record = dict[str, Any]
_SUMMED = re.compile(rb'(\{.*),"sum":"([0-9a-f]{16})"\}')


class Journal:
    """An append-only file of records. Use as a context manager; only one process may have it open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._sum = b""

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(self.path)
        last = _SUMMED.fullmatch(self.path.read_bytes()[:whole].rpartition(b"\n")[0].rpartition(b"\n")[2]) if whole else None
        self._sum = last[2] if last else b""
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A torn last line (kill -9, full disk) is cut off before anything is added behind it.
        os.ftruncate(self._fd, whole)
        os.lseek(self._fd, 0, os.SEEK_END)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._fd = -1

    def append(self, kind: str, **fields: Any) -> Record:
        """Add a record and return it. It survives a kill of this process at once, a power cut after ``sync``."""
        record: Record = {"kind": kind, **fields}
        body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()[:-1]
        digest = _sum(self._sum, body)
        line = body + b',"sum":"' + digest + b'"}\n'
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._full(error) from error
        if written != len(line):
            raise self._full(OSError("short write"))
        self._sum = digest
        return record

    def sync(self) -> None:
        """Force what was added to the disk."""
        os.fsync(self._fd)

    def _full(self, error: OSError) -> BenchError:
        return BenchError(
            f"{self.path}: the journal of this run cannot be written: {error.strerror or error}",
            hint="make room on that disk and run the same command again: finished blocks are kept",
        )


def read(path: Path) -> list[Record]:
    """Return the records of a journal; a torn last line is passed over. A missing file has none.

    Raises ``BenchError`` when a line in the middle is damaged: that is no kill but corruption. A journal that begins without sums
    is of an earlier version, and has none at all.
    """
    if not path.exists():
        return []
    data = path.read_bytes()[: _whole_lines(path)]
    records: list[Record] = []
    last, summed = b"", False
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        found = _SUMMED.fullmatch(line)
        try:
            summed = summed or (number == 1 and found is not None)
            if found:
                last = _checked(last, found, summed)
            elif summed:
                raise ValueError("it has no sum")
            records.append(json.loads(found[1] + b"}" if found else line))
        except ValueError as error:
            raise BenchError(f"{path}:{number}: damaged journal: {error}", hint=f"delete {path.parent} and run again") from error
    return records


def _checked(last: bytes, found: re.Match[bytes], summed: bool) -> bytes:
    if not summed or _sum(last, found[1]) != found[2]:
        raise ValueError("the sum is not that of the lines up to here")
    return found[2]


def _sum(last: bytes, body: bytes) -> bytes:
    return hashlib.sha256(last + body).hexdigest()[:16].encode()


def begins_with(records: list[Record], identity: Mapping[str, Any]) -> bool:
    """Whether the journal was begun by the very run that ``identity`` describes (run key, boot, format)."""
    if not records or records[0].get("kind") != "begin":
        return False
    return all(records[0].get(name) == value for name, value in {"format": FORMAT, **identity}.items())


def _whole_lines(path: Path) -> int:
    """Return the length in bytes of the complete lines of the file."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1
