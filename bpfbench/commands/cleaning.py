"""What a run that was killed left in its checkout, and its removal by the next one."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bpfbench.process.identity import privileged

if TYPE_CHECKING:
    from bpfbench.context import Context

_OURS = re.compile(r"\..+\.(tmp|(?P<pid>[0-9]+))")
"""How temporary files are called: hidden, and ``tmp`` or the writer's process number at the end."""

SHARED_MEMORY = Path("/dev/shm")


def clean_up(here: Context, *, killed: bool) -> None:
    """Remove what is left of earlier runs of this checkout; ``killed``: the last one did not end in order.

    The checkout's lock is held: nothing here belongs to anyone alive, save for the caches of commands that
    only read, and those do without a file that vanishes.
    """
    from bpfbench.store.store import Store

    layout = here.layout
    if killed:
        from bpfbench.process.leftovers import reap_leftovers

        reap_leftovers(here.mark)
    for place in (layout.work, layout.progress):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
    # Caches, and the note of who holds the lock, are written before there is anything to tell that the last one was killed.
    _sweep(layout.state)
    if killed:
        shutil.rmtree(layout.drawing, ignore_errors=True)
        _sweep(layout.results)
        for path in layout.root.glob(".doit.db.*.tmp"):
            _remove(path)
        _remove_segments(here.mark)
    Store(layout.store).sweep(within_items=killed)


def _remove_segments(mark: str) -> None:
    """Remove the shared memory of this checkout's samples: all their names carry its mark."""
    if SHARED_MEMORY.is_dir():
        for path in SHARED_MEMORY.glob(f"*{mark}.*"):
            with privileged():  # what runs as root makes root's segments
                _remove(path)


def _sweep(place: Path) -> None:
    for folder, folders, names in os.walk(place):
        for name in [*folders, *names]:
            found = _OURS.fullmatch(name)
            if found and not (found["pid"] and Path("/proc", found["pid"]).exists()):
                _remove(Path(folder, name))


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
