"""Whether tasks stand as they stood when they were last looked at closely, told by a glance.

A close look at a task makes its key, reads manifests and hashes results: half a millisecond that a thousand experiments pay four
thousand times. What it found stays true for as long as nothing that it looked at has changed, and that can be seen by one lstat a
file: nobody, root included, can choose a ctime. So every verdict is remembered with the paths that it was made from and with a digest
of their stamps; what a key is made of besides files (specs, words, machine, our own code) is the *call*, and verdicts are kept
for each of the last few calls.

The memory is a cache: it can be deleted at any time, and whatever is wrong with it, the tasks are looked at closely again.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bpfbench.store.files import write_cache

FORMAT = 2
SETTLED = 50_000_000
"""Nanoseconds. What changed more recently than this before a look may have changed after it without its stamp showing it."""
KEPT = 6
"""Calls whose verdicts are kept."""

_Verdict = tuple[bool, str, list[str], str]
"""Up to date or not; what it was made from besides files; the paths; the digest of their stamps."""
_Stamp = tuple[int, int, int]
"""What a change of a file changes: its ctime does not stay as it is, and another file has another number."""


Look = Callable[[], tuple[bool, list[str]]]
"""Looks closely: returns whether a step is up to date, and every path that this depends on, there or not."""


def nothing() -> str:
    """Return the glimpse of a step that is made from files alone, and from what all steps of a call share."""
    return ""


class Glances:
    """The verdicts of one kind of call; ``call`` is everything that its steps depend on besides files and their own glimpse."""

    def __init__(self, folder: Path, call: str) -> None:
        self._file = folder / f"{hashlib.sha256(f'{FORMAT} {call}'.encode()).hexdigest()[:32]}.json"
        self._known = _load(self._file)
        self._seen: dict[str, _Stamp | None] = {}
        self._fresh = False

    def uptodate(self, name: str, glimpse: Callable[[], str], look: Look) -> bool:
        """Whether a step is up to date; ``glimpse`` says in words what it is made from besides files. Raises what a close look raises."""
        known = self._known.get(name)
        if known and known[1] == glimpse():
            stamps = stamps_of(known[2], self._seen)
            if stamps is not None and stamps[0] == known[3]:
                return known[0]
        begun = time.time_ns()
        verdict, paths = look()
        self._remember(name, (verdict, glimpse(), paths), begun - SETTLED)
        return verdict

    def forget(self) -> None:
        """Look at every file again: a task may have changed it."""
        self._seen.clear()

    def _remember(self, name: str, seen: tuple[bool, str, list[str]], settled: int) -> None:
        stamps = stamps_of(seen[2])
        if stamps is not None and stamps[1] < settled and not (seen[0] and stamps[2]):
            if not self._fresh:
                self._fresh = True
                atexit.register(self.save)
            self._known[name] = (*seen, stamps[0])
        else:
            self._known.pop(name, None)

    def save(self) -> None:
        """Write down what was found, unless nothing was or the checkout is gone."""
        folder = self._file.parent
        if not self._fresh or not folder.parent.is_dir():
            return
        self._fresh = False
        write_cache(self._file, json.dumps(self._known, separators=(",", ":")).encode())
        with suppress(OSError):
            others = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for path in others[KEPT:]:
                path.unlink()


def stamps_of(paths: Sequence[str], seen: dict[str, _Stamp | None] | None = None) -> tuple[str, int, bool] | None:
    """Return a digest of what ``paths`` look like, the latest change of any, whether any is missing; None where that cannot be told.

    What is missing from a directory that is among the paths does not count as missing: the directory shows when it appears.
    ``seen`` holds the stamps of paths that need not be looked at again, and is added to.
    """
    told = array("q")
    latest, missing = 0, False
    seen = {} if seen is None else seen
    for path in paths:
        if path in seen:
            stamp = seen[path]
        else:
            try:
                stamp = seen[path] = _stamp(path)
            except OSError:
                return None
        if stamp is None:
            missing = missing or os.path.dirname(path) not in paths  # noqa: PTH120
            told.append(-1)
        else:
            told.extend(stamp)
            if stamp[0] > latest:
                latest = stamp[0]
    return hashlib.sha256(told).hexdigest()[:32], latest, missing


def _stamp(path: str) -> _Stamp | None:
    """Return a path's stamp, None where nothing is."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_ctime_ns, info.st_ino, info.st_size


def below(path: str) -> Iterator[str]:
    """Yield ``path`` and everything below it, there or not; directories too, since what is added or removed changes them."""
    yield path
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return
        with os.scandir(path) as entries:
            found = sorted((entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return
    for name, folder in found:
        if folder:
            yield from below(name)
        else:
            yield name


def _load(file: Path) -> dict[str, _Verdict]:
    try:
        with file.open("rb") as opened:
            known = json.load(opened)
        return known if isinstance(known, dict) and all(_whole(entry) for entry in known.values()) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _whole(entry: object) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [bool, str, list, str]
