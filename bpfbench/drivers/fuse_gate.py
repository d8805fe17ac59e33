"""What a cached file system must pass before it is measured: with and without the cache every answer is the same, to the byte.

Two processes see one file system. No runtime is in the *other* one: it makes the changes, and its answers are the file system's own. The
*client* is asked the same questions right after each change has been made, and once more, when it may answer from what it kept. Then every
way to spell a refused path is tried, by every call that opens, from both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, hear, tell
from bpfbench.drivers.pair import Invalid
from bpfbench.process.child import Child

FOLLOW, NOT_FOLLOW = 0, 0x100
EACCES = 13
NAMES = ("a", "b", "c", "link", "inner", "hard", "way")
"""Names that come and go: files, a symbolic link, a directory, a second name."""
SEED, RANDOM_CHANGES = 20251122, 25
RACES = 2000
"""Changes while the client asks all the time."""

CHANGES = (
    "create a one", "create b two", "symlink link a", "symlink way nowhere", "link a hard", "mkdir inner 0755", "append a more",
    "chmod b 0600", "utimes a 1000000", "utimes link 2000000", "cut b 1", "replace a other", "rename b c", "unlink a", "rename c a",
    "chown a 12",
    "unlink link", "symlink link hard", "rmdir inner", "create inner three", "rename inner b", "unlink hard", "mkdir inner 0700",
)  # fmt: skip
"""Every kind of change, in an order in which each can be made; ``link`` and ``way`` also lead to nothing for a while."""


def _looking(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return questions, and the word of each one's answer. What the directory is itself comes first: all else is kept under that."""
    yield "self 0", "STATUS"
    for name in names:
        yield f"status 0 {name} {NOT_FOLLOW}", "STATUS"
        yield f"status 0 {name} {FOLLOW}", "STATUS"
    yield "list 0", "LISTING"


def _opening(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"open openat 0 {name}", "OPENED") for name in names)


class Gate:
    """The gate of one sample. ``loader`` is None where nothing is cached: then it only shows that the gate can be passed."""

    def __init__(self, client: Child, other: Child, loader: Child | None, mount: Path, refused: str) -> None:
        self.client, self.other, self.loader = client, other, loader
        self.mount, self.refused = mount, refused

    def pass_all(self) -> None:
        """Raise ``Invalid`` with the first thing that is wrong."""
        self._both("directory 0 {mount}")
        self._tell(self.other, "mkdir 0 gate 0755")
        self._both("directory 0 {mount}/gate")
        before = self._counters()
        self._compare("nothing yet")
        for change in self._changes():
            verb, name, *more = change.split()
            self._tell(self.other, " ".join((verb, "0", name, *more)), may_fail=True)
            self._compare(change)
        self._write_slowly()
        self._lead_outside()
        self._turn_to_others()
        self._see_that_it_was_used(before)
        self._race()
        self._try_spellings()

    def _changes(self) -> Iterator[str]:
        yield from CHANGES
        choose = random.Random(SEED)
        for _ in range(RANDOM_CHANGES):
            name, other = choose.choice(NAMES), choose.choice(NAMES)
            number = choose.randrange(1000)
            yield choose.choice(
                (
                    f"create {name} {number}", f"append {name} {number}", f"unlink {name}", f"chmod {name} {number % 0o700}",
                    f"rename {name} {other}", f"link {name} {other}", f"symlink {name} {other}", f"utimes {name} {number}",
                    f"cut {name} {number % 9}", f"mkdir {name} 0755", f"rmdir {name} -",
                )
            )  # fmt: skip

    def _both(self, line: str) -> None:
        for child in (self.client, self.other):
            self._tell(child, line.format(mount=self.mount))

    def _tell(self, child: Child, line: str, *, may_fail: bool = False) -> None:
        result = tell(child, line, "DID", START_DEADLINE)["result"]
        if result and not may_fail:
            raise Invalid(f"{child}: {line}: errno {-result}")

    def _counters(self) -> dict[str, Any]:
        return tell(self.loader, "read", "COUNTERS", START_DEADLINE) if self.loader else {}

    def _compare(self, change: str, names: Sequence[str] = NAMES, *, opening: bool = True) -> None:
        """Ask everything that may be answered from the cache. That a file that was open is closed counts as a change: opening comes
        afterwards, and then all is asked once more, to be there when the next change is made."""
        looking = list(_looking(names))
        for question, word in (*looking, *_opening(names)) if opening else looking:
            first = tell(self.client, question, word, START_DEADLINE)
            right = tell(self.other, question, word, START_DEADLINE)
            again = tell(self.client, question, word, START_DEADLINE)
            for found in (first, again):
                if found != right:
                    raise Invalid(f"after `{change}`, `{question}` is answered {found}, but the file system says {right}")
        for question, word in looking if opening else ():
            tell(self.client, question, word, START_DEADLINE)

    def _see_that_it_was_used(self, before: dict[str, Any]) -> None:
        now = self._counters()
        idle = [name for name in ("stat_hits", "list_hits", "open_hits", "changes") if now and now[name] <= before[name]]
        if idle:
            raise Invalid(f"the gate was passed without the cache: {', '.join(idle)} did not grow")

    def _write_slowly(self) -> None:
        """A file that is open all the while: each write is seen at once."""
        self._tell(self.other, "create 0 slow 1")
        self._tell(self.other, "hold 0 slow -")
        for text in ("one", "two"):
            self._compare(f"before {text} is written", ("slow",), opening=False)
            self._tell(self.other, f"add 0 {text} -")
            self._compare(f"after {text} was written", ("slow",), opening=False)
        self._tell(self.other, "unlink 0 slow")
        self._compare("a file that is open was removed", ("slow",), opening=False)
        self._tell(self.other, "drop 0 -")
        self._compare("a removed file was closed", ("slow",), opening=False)

    def _lead_outside(self) -> None:
        """A link that leads back by way of another one outside, where nobody sees the changes."""
        outside = self.mount.parent
        self._both(f"directory 4 {outside}")
        for line in (f"symlink 0 out {outside}/hop", "create 0 here 1", "create 0 there 12"):
            self._tell(self.other, line)
        for name in ("here", "there"):
            self._tell(self.other, f"symlink 4 hop {self.mount}/gate/{name}")
            self._compare(f"a link outside to {name}", ("out", "here", "there"), opening=False)
            self._tell(self.other, "unlink 4 hop -")

    def _turn_to_others(self) -> None:
        """The number of a descriptor becomes another directory's, and the first one's again."""
        for folder in ("folder-0000", "gate", "."):
            self._both(f"directory 0 {{mount}}/{folder}")
            self._compare(f"a descriptor of {folder}", ("here", "file-0000", "gate"))

    def _race(self) -> None:
        """Ask all the time while the other process changes what is asked for: no answer may be from before or after the call."""
        where = f"{self.mount.parent}/race {self.mount}/gate here {RACES}"
        if self.loader is None:
            return
        self._both("directory 0 {mount}/gate")
        self._tell(self.other, "utimes 0 here -1")
        self.client.send(f"follow {where}")
        changed = tell(self.other, f"change {where}", "CHANGED", START_DEADLINE)
        followed = hear(self.client, "FOLLOWED", START_DEADLINE)
        if any((changed["failed"], followed["failed"], followed["late"], followed["early"])):
            raise Invalid(f"of {followed['asked']} answers during {RACES} changes, some were not true when they were given: {followed}")

    # --- refused paths ---

    def _spellings(self, folder: str) -> Iterator[str]:
        """Ways to the folder's first file, from the mount's root in place 1, the folder in 2, another folder in 3."""
        name, root = "file-0000", str(self.mount)
        for start in (root, f"{root}/.", f"{root}/folder-0000/..", f"/.{root}", f"/{root}", f"{root}/{folder}/../../{self.mount.name}"):
            yield f"1 {start}/{folder}/{name}"
            yield f"1 {start}/{folder}/./{name}"
            yield f"1 {start}//{folder}//{name}"
            yield f"1 {start}/{folder}/../{folder}/{name}"
        yield from (f"1 {folder}/{name}", f"1 ./{folder}/{name}", f"1 folder-0000/../{folder}/{name}")
        yield from (f"2 {name}", f"2 ./{name}", f"2 ../{folder}/{name}", f"2 .//{name}")
        yield f"3 ../{folder}/{name}"
        for link in (f"to-{folder}", f"into-{folder}/{name}"):
            yield from (f"1 {link}", f"1 {root}/{link}", f"3 ../{link}")

    def _try_spellings(self) -> None:
        allowed = "folder-0000"
        for number, path in ((1, ""), (2, f"/{self.refused}"), (3, f"/{allowed}")):
            self._both(f"directory {number} {{mount}}{path}")
        for folder in (self.refused, allowed):
            self._tell(self.other, f"symlink 1 to-{folder} {folder}/file-0000")
            self._tell(self.other, f"symlink 1 into-{folder} {self.mount}/{folder}")
        # under its own name this is how an open directory spells it; what is allowed shows that the spellings are good
        self._expect(self.refused, -EACCES)
        self._both(f"directory 2 {{mount}}/{allowed}")
        self._expect(allowed, 0)

    def _expect(self, folder: str, result: int) -> None:
        kept = tell(self.other, f"status 1 {folder} {NOT_FOLLOW}", "STATUS", START_DEADLINE)
        for spelling in self._spellings(folder):
            number, path = spelling.split()
            calls = ["openat", "openat2", "write", "reopen", "create", "truncate"]
            calls += ["open", "creat"] if path.startswith("/") else []
            for child in (self.client, self.other, self.client):
                for call in calls if result else calls[:4]:
                    found = tell(child, f"open {call} {number} {path}", "OPENED", START_DEADLINE)["result"]
                    if found != result:
                        raise Invalid(f"{child}: {call} of {path} (directory {number}) gives {found}, expected {result}")
        if result and tell(self.other, f"status 1 {folder} {NOT_FOLLOW}", "STATUS", START_DEADLINE) != kept:
            raise Invalid(f"{folder} was changed by calls that were refused")
