"""The journal of a run: one JSON object a line, appended as things happen, so that a kill costs one block at most."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError

FORMAT = 1
Record = dict[str, Any]


class Journal:
    """An append-only file of records. Use as a context manager; only one process may have it open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(self.path)
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
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._full(error) from error
        if written != len(line):
            raise self._full(OSError("short write"))
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

    Raises ``BenchError`` when a line in the middle is damaged: that is no kill but corruption.
    """
    if not path.exists():
        return []
    data = path.read_bytes()[: _whole_lines(path)]
    records: list[Record] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BenchError(f"{path}:{number}: damaged journal: {error}", hint=f"delete {path.parent} and run again") from error
        records.append(record)
    return records


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
