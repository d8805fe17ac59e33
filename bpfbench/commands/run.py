"""``doit run``, as doit has it, with what a machine that measures needs around it.

One writer a checkout; what a killed run left is cleaned up first; SIGTERM ends in order like Ctrl-C; at the end stands every
arm with its status, and the exit status tells whether anything failed.
"""

from __future__ import annotations

import functools
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from doit.cmd_run import Run as DoitRun

from bpfbench import context
from bpfbench.commands.closing import close
from bpfbench.errors import BenchError
from bpfbench.process import identity
from bpfbench.process.leftovers import reap_leftovers
from bpfbench.store.locks import CheckoutLock
from bpfbench.store.store import Store

INTERRUPTED = 130


class Run(DoitRun):  # type: ignore[misc]
    """Run tasks; see the module."""

    name = "run"

    # doit reads the names of the options off this method's signature: `wraps` shows it the one it knows.
    @functools.wraps(DoitRun._execute)
    def _execute(self, *args: Any, **options: Any) -> int:
        if not context.exists():  # somebody else's task file, run with this environment's doit
            return int(super()._execute(*args, **options))
        here = context.current()
        signal.signal(signal.SIGTERM, _interrupt)
        identity.drop()
        command = " ".join(["doit", *sys.argv[1:]])
        try:
            here.layout.state.mkdir(parents=True, exist_ok=True)
            with CheckoutLock(here.layout.lock, command):
                _clean_up(here)
                status = int(super()._execute(*args, **options))
                return close(here, status, sys.stdout)
        except BenchError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            return 3
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted: everything finished is kept, a measurement goes on from its last block when run again\n")
            return INTERRUPTED


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _clean_up(here: context.Context) -> None:
    """Remove what a killed run of this checkout left. The checkout's lock is held: nothing here belongs to anyone alive."""
    reap_leftovers(here.mark)
    for place in (here.layout.work, here.layout.progress):
        _empty(place)
    Store(here.layout.store).sweep()


def _empty(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
