"""Where items are made: out of everybody's sight, one maker an item, nothing left of one that was killed.

In the store's directory, beside the items, ``.making-<id>`` is both the lock and the place for making an
item: its maker holds it with ``flock``. What is in there without a living holder, and every ``.trash-…``,
is rubbish.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.store import availability, roots
from bpfbench.store import tree as trees
from bpfbench.store.files import FULL as FULL
from bpfbench.store.locks import Flock, OnWait

_MAKING = ".making-"
_TRASH = ".trash-"

FOLDERS = (roots.FOLDER, availability.FOLDER)
"""What else there is beside the items: small files about them."""


@contextmanager
def workshop(root: Path, item_id: str, on_wait: OnWait | None = None) -> Iterator[Path]:
    """Yield an empty directory for making ``item_id`` in; wait while somebody else, anywhere, makes it.

    What is in it at the end is deleted. Raises BenchError where the store cannot be written.
    """
    place = root / f"{_MAKING}{item_id}"
    with _claim(place, on_wait):
        # A new name for every attempt: orphans of a killed maker may go on writing to paths that they know.
        room = place / os.urandom(4).hex()
        try:
            room.mkdir()
            yield room
        finally:
            with suppress(OSError):  # a full or failing disk must not hide the error that brought us here
                trees.delete(place)


def throw_away(path: Path) -> None:
    """Make ``path`` (in the store's directory) vanish at once and delete it; the rest is swept later."""
    with suppress(FileNotFoundError):
        empty(put_aside(path))


def put_aside(path: Path) -> Path:
    """Make ``path`` (in the store's directory) vanish at once; return where it is until it is deleted."""
    return path.rename(path.with_name(f"{_TRASH}{os.urandom(8).hex()}"))


def empty(trash: Path) -> bool:
    """Delete what was put aside; say whether nothing is left. What is, is swept by whoever may."""
    with suppress(OSError):
        trees.delete(trash)
    return not os.path.lexists(trash)


def sweep(root: Path) -> list[str]:
    """Delete what killed makers left in the store; return the names. What we may not delete stays."""
    swept = []
    # Thousands of items: no path is made of any that is not looked at.
    names = os.listdir(root) if root.is_dir() else []  # noqa: PTH208
    for name in sorted(name for name in names if name.startswith((_TRASH, _MAKING))):
        path = root / name
        with suppress(OSError):
            if name.startswith(_TRASH):
                trees.delete(path)
                swept.append(name)
            elif name.startswith(_MAKING) and _throw_away_if_abandoned(path):
                swept.append(name)
    return swept


def is_ours(name: str) -> bool:
    """Whether something of this name, beside the items, is the store's own."""
    return name.startswith((_TRASH, _MAKING)) or name in FOLDERS


@contextmanager
def told(root: Path, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn an OSError (with ``only``: of these numbers) into a BenchError about the store at ``root``."""
    try:
        yield
    except OSError as error:
        # Whatever copies whole trees goes on after an error and tells all in the end, as text.
        number = error.errno or next((full for full in FULL if os.strerror(full) in str(error)), None)
        if only and number not in only:
            raise
        if number in FULL:
            hint = "make room (`doit gc` shows what can go), or use a store on another disk: store=/path"
        else:
            hint = "use a store that you may write: store=/path"
        raise BenchError(f"the store {root} cannot be written: {os.strerror(number) if number else error}", hint=hint) from error


@contextmanager
def _claim(place: Path, on_wait: OnWait | None) -> Iterator[None]:
    """Hold ``place`` as an empty directory of our own."""
    while True:
        with told(place.parent):
            try:
                flock = _open(place)
            except FileNotFoundError:
                continue  # its maker finished just now
        with flock:
            flock.take(on_wait=on_wait)
            if not flock.is_at(place):
                continue  # we waited for a maker that has finished
            with told(place.parent):
                if any(place.iterdir()) or place.stat().st_uid != os.geteuid():
                    throw_away(place)  # its maker was killed
                    continue
            yield
            return


def _open(place: Path) -> Flock:
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        place.mkdir()
        place.chmod(0o755)  # whatever the umask: others must be able to wait for it
    return Flock(place)


def _throw_away_if_abandoned(place: Path) -> bool:
    with Flock(place) as flock:
        # Moved away under the lock, so that nobody can begin to make something in what is being deleted.
        if flock.try_take() and flock.is_at(place):
            throw_away(place)
            return True
    return False
