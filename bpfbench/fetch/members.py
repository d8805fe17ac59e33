"""What an archive may hold: every member is looked at here before anything of it reaches the disk.

Names are bytes. A member's place is decided in a tree kept in memory, never by asking the file system, so that
nothing that an archive makes can divert what comes after.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from bpfbench.fetch.errors import Refused
from bpfbench.store.nar import printable

Kind = Literal["file", "directory", "symlink", "hard link"]

_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u2060\ufeff")
"""Characters that make a name look like another one."""
_CONTROL = re.compile(rb"[\0-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unfold into; far beyond any real source, far below a full disk."""

    size: int = 4 << 30
    """Bytes in files."""
    count: int = 400_000
    """Members."""
    ratio: int = 200
    """Bytes that one byte of the archive may become …"""
    free: int = 64 << 20
    """… once it has become more than this."""
    name: int = 255
    """Bytes in one component of a name: what file systems take."""
    path: int = 1024
    """Bytes in a whole name: it is to fit below any store."""
    depth: int = 64


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the archive describes it."""

    name: bytes
    kind: Kind
    size: int
    """Bytes of content that follow; 0 for all but files."""
    executable: bool
    target: bytes = b""
    """Of a link: as written."""
    content: Callable[[], Iterator[bytes]] = field(default=lambda: iter(()), compare=False)
    """The content in pieces. Raises ``Refused`` where there is less or more of it than ``size``."""


class Census:
    """The tree that an archive's members make; ``admit`` one after the other, then ``finish``."""

    def __init__(self, archive: str, strip: int = 0, limits: Limits | None = None) -> None:
        self._archive = archive
        self._strip = strip
        self._limits = limits or Limits()
        self._kinds: dict[bytes, Kind] = {b"": "directory"}
        self._folded: dict[str, bytes] = {}
        self._sizes: dict[bytes, int] = {}
        self._links: dict[bytes, bytes] = {}
        self._fine: set[bytes] = set()
        """Components that were looked at already."""
        self._count = 0
        self._total = 0

    @property
    def symlinks(self) -> dict[bytes, bytes]:
        """Path → target of every symlink admitted."""
        return self._links

    def admit(self, member: Member) -> bytes | None:
        """Return where a member belongs in the tree; None when there is nothing to make.

        Raises ``Refused``, which names the member.
        """
        self._count += 1
        if self._count > self._limits.count:
            raise self._refuse(member, f"more than {self._limits.count} members")
        parts = self._parts(member.name, member)
        if len(parts) <= self._strip:
            if member.kind != "directory":
                raise self._refuse(member, f"lies above the {self._strip} directories that are taken off all names")
            return None
        path = b"/".join(parts[self._strip :])
        self._parents(path, member)
        self._place(path, member)
        return path

    def hard_link(self, member: Member) -> bytes:
        """Return which file a hard link is another name of: one that came before it in the same tree."""
        target = b"/".join(self._parts(member.target, member, "its target")[self._strip :])
        if self._kinds.get(target) != "file" or target == b"":
            raise self._refuse(member, f"a hard link to {printable(member.target)}, which is no file that came before it")
        return target

    def finish(self) -> None:
        """Look at all symlinks, now that all that they can lead to is known."""
        for path in self._links:
            self._follow(path)

    def _parts(self, name: bytes, member: Member, what: str = "its name") -> list[bytes]:
        limits = self._limits
        if not name:
            raise self._refuse(member, f"{what} is empty")
        if name.startswith(b"/"):
            raise self._refuse(member, f"{what} is absolute" if what == "its name" else f"{what} {printable(name)} is absolute")
        if len(name) > limits.path:
            raise self._refuse(member, f"{what} has {len(name)} bytes; at most {limits.path} are taken")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise self._refuse(member, f"{what} leads upwards (..)" if what == "its name" else f"{what} {printable(name)} leads upwards")
        if len(parts) > limits.depth:
            raise self._refuse(member, f"{what} is {len(parts)} directories deep; at most {limits.depth} are taken")
        for part in parts:
            if part not in self._fine:
                self._component(part, member, what)
                self._fine.add(part)
        return parts

    def _component(self, part: bytes, member: Member, what: str) -> None:
        if len(part) > self._limits.name:
            raise self._refuse(member, f"{what} has a part of {len(part)} bytes; file systems take {self._limits.name}")
        if part.isascii():
            if _CONTROL.search(part):
                raise self._refuse(member, f"{what} has control characters")
        elif not _REORDERING.isdisjoint(text := part.decode("utf-8", "replace")) or any(
            unicodedata.category(char) == "Cc" for char in text
        ):
            raise self._refuse(member, f"{what} has characters that cannot be seen")
        if part[:4].lower() == b".git" and len(part) == 4:
            raise self._refuse(member, "a .git in a source could run commands when git is called there")

    def _parents(self, path: bytes, member: Member) -> None:
        """See that everything above ``path`` is a directory, or becomes one."""
        at = path.rfind(b"/")
        while at > 0:
            parent = path[:at]
            kind = self._kinds.get(parent)
            if kind == "directory":
                return  # and so all above it are
            if kind is not None:
                through = "leads through the symlink" if kind == "symlink" else f"lies below the {kind}"
                raise self._refuse(member, f"{through} {printable(parent)}")
            self._distinct(parent, member)
            self._kinds[parent] = "directory"
            at = path.rfind(b"/", 0, at)

    def _place(self, path: bytes, member: Member) -> None:
        before = self._kinds.get(path)
        if before is not None:
            if before == member.kind == "directory":
                return
            raise self._refuse(member, f"comes twice: a {before} of this name came before")
        self._distinct(path, member)
        size = member.size
        if member.kind == "hard link":
            size = self._sizes[self.hard_link(member)]
        elif member.kind == "symlink":
            self._links[path] = self._target(member)
        # A hard link becomes a file: the store keeps no two names of one thing.
        self._kinds[path] = "file" if member.kind == "hard link" else member.kind
        self._sizes[path] = size
        self._total += size
        if self._total > self._limits.size:
            raise self._refuse(member, f"with this member the archive unfolds into more than {self._limits.size} bytes")

    def _distinct(self, path: bytes, member: Member) -> None:
        """See that no two names differ in case or in how letters are composed alone."""
        if path.isascii():
            folded = path.decode("ascii").lower()
        else:
            folded = unicodedata.normalize("NFC", path.decode("utf-8", "surrogateescape")).casefold()
        other = self._folded.setdefault(folded, path)
        if other != path:
            raise self._refuse(member, f"{printable(path)} and {printable(other)} are one name on many file systems")

    def _target(self, member: Member) -> bytes:
        target = member.target
        if not target or b"\0" in target or len(target) > self._limits.path:
            raise self._refuse(member, "a symlink with an unusable target")
        if target.startswith(b"/"):
            raise self._refuse(member, f"a symlink to {printable(target)}, out of the tree")
        return target

    def _follow(self, path: bytes) -> None:
        """Walk along a symlink as the system would, through other symlinks, and see that it stays inside."""
        at = path.split(b"/")[:-1]
        waiting = self._links[path].split(b"/")[::-1]
        steps = 0
        while waiting:
            part = waiting.pop()
            if part == b"..":
                if not at:
                    target = printable(self._links[path])
                    raise Refused(self._archive, printable(path), f"a symlink to {target}, out of the tree")
                at.pop()
            elif part not in (b"", b"."):
                at.append(part)
            further = self._links.get(b"/".join(at))
            if further is not None and part not in (b"", b".", b".."):
                steps += 1
                if steps > 40:
                    raise Refused(self._archive, printable(path), "a symlink that leads in a circle")
                at.pop()
                waiting += further.split(b"/")[::-1]

    def _refuse(self, member: Member, why: str) -> Refused:
        return Refused(self._archive, printable(member.name[:200]) or "(no name)", why)
