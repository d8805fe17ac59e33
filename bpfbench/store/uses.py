"""Items in use: what a running doit has found in the store stays there until that doit ends.

Whoever uses an item holds its directory with a shared ``flock``; whoever removes one holds it exclusively
and looks again first. It needs no permission to write, works across checkouts and users, and dies with its
holder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bpfbench.store.locks import Flock

_held: dict[Path, Flock] = {}
_holding = False


@contextmanager
def holding() -> Iterator[None]:
    """Within this, every item that this process (or a fork of it) finds or makes is held until the end."""
    global _holding
    before, _holding = _holding, True
    try:
        yield
    finally:
        _holding = before
        if not _holding:
            release()


def hold(path: Path, made: Path | None = None) -> None:
    """Hold the item at ``path`` if items are to be held; it may not be there.

    ``made`` is a directory that is about to be renamed to ``path``: held before anybody can see it.
    """
    if not _holding:
        return
    known = _held.get(path)
    if known and known.is_open and known.is_at(made or path):
        return
    while flock := _open(made or path):
        flock.take(shared=True)  # one that removes items holds them for an instant only
        if flock.is_at(made or path):
            if known:
                known.close()
            _held[path] = flock
            return
        flock.close()


def release() -> None:
    """Let go of everything."""
    while _held:
        _held.popitem()[1].close()


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold one item for as long as it is read; yields whether it is there."""
    while flock := _open(path):
        with flock:
            flock.take(shared=True)
            if flock.is_at(path):
                yield True
                return
    yield False


def claim(path: Path) -> Flock | None:
    """Return the exclusive lock of an item that nobody uses; None if somebody does, or if it is not there."""
    flock = _open(path)
    if flock and flock.try_take() and flock.is_at(path):
        return flock
    if flock:
        flock.close(unlock=False)
    return None


def _open(path: Path) -> Flock | None:
    with suppress(OSError):  # gone; or no directory; or out of files: then it is used without being held
        return Flock(path)
    return None
