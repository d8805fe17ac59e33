"""All reading of /proc, /sys and /etc goes through a ``Sysroot``, so that another machine's recorded tree
can stand in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
T = TypeVar("T")

LIMIT = 1 << 22
"""Bytes read of one file at most: a file in /proc is small, and a recorded tree may hold anything."""


LONGEST = 20
"""Digits of the largest number that the kernel writes, 2^64 - 1."""


class Unreadable(Exception):
    """A value cannot be had on this machine; ``str()`` is the reason, in words for people."""


@dataclass(frozen=True, slots=True)
class Sysroot:
    """The root below which files are read: ``/``, or a recorded tree of another machine."""

    path: Path = Path("/")

    @property
    def live(self) -> bool:
        """Whether this is the machine that we run on."""
        return str(self.path) == "/"

    def real(self, name: str) -> str:
        """Return the path to open for the absolute path ``name``."""
        return name if self.live else f"{self.path}{name}"

    def text(self, name: str, limit: int = LIMIT) -> str:
        """Return at most ``limit`` bytes of a file as text. Raise Unreadable with the reason."""
        return self.head(name, limit).decode("utf-8", "replace")

    def head(self, name: str, limit: int) -> bytes:
        """Return the first bytes of a file, at most ``limit``. Raise Unreadable with the reason."""
        try:
            return self._bytes(name, limit)
        except OSError as error:
            raise Unreadable(f"{name}: {os.strerror(error.errno or 0)}") from None

    def _bytes(self, name: str, limit: int) -> bytes:
        handle = os.open(self.real(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            parts: list[bytes] = []
            while limit > 0:
                part = os.read(handle, min(limit, 1 << 16))
                if not part:
                    break
                parts.append(part)
                limit -= len(part)
            return b"".join(parts)
        finally:
            os.close(handle)

    def line(self, name: str) -> str:
        """Return the first line of a file, stripped. Raise Unreadable also when it is empty."""
        lines = self.text(name).strip().splitlines()
        if not lines:
            raise Unreadable(f"{name}: empty")
        return lines[0].strip()

    def number(self, name: str) -> int:
        """Return the decimal number that a file holds. Raise Unreadable when it holds something else."""
        line = self.line(name)
        if not re.fullmatch(r"-?[0-9]{1,20}", line):
            raise Unreadable(f"{name}: expected a number, found {line[:40]!r}")
        return int(line)

    def names(self, directory: str) -> list[str]:
        """Return the sorted names in a directory. Raise Unreadable."""
        try:
            return sorted(os.listdir(self.real(directory)))  # noqa: PTH208 (names only, and much faster)
        except OSError as error:
            raise Unreadable(f"{directory}: {os.strerror(error.errno or 0)}") from None

    def exists(self, name: str) -> bool:
        """Return whether ``name`` can be seen."""
        return os.access(self.real(name), os.F_OK)

    def maybe(self, name: str) -> str | None:
        """Return the first line of a file, or None where it cannot be read."""
        try:
            return self.line(name)
        except Unreadable:
            return None

    def machine(self) -> str:
        """Return the architecture as ``uname -m`` names it. Raise Unreadable."""
        return os.uname().machine if self.live else self.line("/proc/sys/kernel/arch")


@dataclass(slots=True)
class Recorder:
    """Collects values; whatever cannot be read becomes null, with the reason under its dotted name in
    ``missing``."""

    missing: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, read: Callable[[], T]) -> T | None:
        """Return what ``read`` gives, or None after noting why not."""
        try:
            return read()
        except Unreadable as reason:
            self.missing[name] = str(reason)
            return None


def whole(word: str | None) -> int | None:
    """Return the number that ``word`` is, or None. int() alone takes signs, blanks, other scripts, and
    raises on length."""
    return int(word) if word and len(word) <= LONGEST and word.isascii() and word.isdigit() else None


def cpu_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's CPU list format (``0-3,8``); sorted, without repetition. Raise Unreadable if it is
    not one."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        low, _, high = part.partition("-")
        first, last = whole(low), whole(high or low)
        if first is None or last is None or not first <= last < 1 << 16 or ("-" in part and not high):
            raise Unreadable(f"not a list of CPUs: {text[:40]!r}")
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))
