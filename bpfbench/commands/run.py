"""``doit run``, as doit has it, with what a machine that measures needs around it.

One writer a checkout; what a killed run left is cleaned up first; SIGTERM ends in order like Ctrl-C; at the end stands every
arm with its status, and the exit status tells whether anything failed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import Any

from doit.cmd_run import Run as DoitRun
from doit.exceptions import InvalidCommand

from bpfbench import context
from bpfbench.errors import BenchError

INTERRUPTED = 130


class Run(DoitRun):  # type: ignore[misc]
    """Run tasks; see the module."""

    name = "run"

    # doit reads the names of the options off this method's signature: `wraps` shows it the one it knows.
    @functools.wraps(DoitRun._execute)
    def _execute(self, *args: Any, **options: Any) -> int:
        if not context.exists():  # somebody else's task file, run with this environment's doit
            return int(super()._execute(*args, **options))
        from bpfbench.commands.reading import REFUSED, refusal, tolerate_encoding
        from bpfbench.commands.worker import WorkerKilled, end_workers

        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a reader that goes away ends no measurement
        tolerate_encoding()
        try:
            return self._locked(context.current(), *args, **options)
        except (BenchError, OSError) as error:
            sys.stderr.write(f"ERROR: {refusal(error)}\n")
            return REFUSED
        except WorkerKilled as killed:
            end_workers()
            sys.stderr.write(f"ERROR: {BenchError(str(killed), hint=killed.hint)}\n")
            return REFUSED
        except InvalidCommand as error:
            raise _with_suggestion(error, [task.name for task in self.task_list]) from None
        except KeyboardInterrupt:
            sys.stderr.write(
                "\ninterrupted: everything finished is kept, a measurement goes on from its last block when run again\n"
            )
            return INTERRUPTED
        finally:
            _flush()

    def _locked(self, here: context.Context, *args: Any, **options: Any) -> int:
        from bpfbench.bytecode import compile_own
        from bpfbench.commands.cleaning import clean_up
        from bpfbench.commands.closing import FAILED, close
        from bpfbench.commands.reporter import BenchReporter
        from bpfbench.commands.worker import let_workers_follow, notice_killed_workers
        from bpfbench.process import identity
        from bpfbench.store import roots
        from bpfbench.store.locks import CheckoutLock
        from bpfbench.store.uses import holding

        if here.words.to is not None:
            raise BenchError("to= goes with `lock` alone", hint="./bench lock NAME to=REFERENCE")
        if here.words.compared and not any(name.startswith("compare_") for name in self.sel_tasks):
            raise BenchError("a= and b= go with `compare_…` alone", hint="./bench compare_NAME a=/build/one b=/build/other")
        identity.drop()
        here.named.update([] if self.sel_default_tasks else self.sel_tasks)
        killed = here.layout.lock.exists()  # only a holder that was killed leaves the file
        with CheckoutLock(here.layout.lock, " ".join(["doit", *sys.argv[1:]])), holding():
            clean_up(here, killed=killed)
            let_workers_follow()
            notice_killed_workers()
            roots.register(here.layout)
            try:
                status = int(super()._execute(*args, **options))
            finally:
                roots.register(here.layout)
                compile_own(here.layout.root)
            if BenchReporter.latest is None:  # another reporter was asked for, perhaps one for programs
                return status
            well = close(here, BenchReporter.latest.settled, sys.stdout)
            return status or (0 if well else FAILED)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _with_suggestion(error: InvalidCommand, known: list[str]) -> InvalidCommand:
    from bpfbench.commands.names import nearest

    if error.not_found is None:
        return error
    near = nearest(error.not_found, known)
    return InvalidCommand(f"no task or command is called {error.not_found!r}{near}\n  → `./bench list` shows all tasks")


def _flush() -> None:
    """Write out what is left to say; a reader that went away (``| head``) is no error at the very end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
