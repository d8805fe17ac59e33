"""Standard output on a disk that is full: said once, in one line, and in the exit status; never a traceback."""

from __future__ import annotations

import atexit
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

UNWRITTEN = 3


class Guarded:
    """Keeps a stream from raising errors: the first is remembered, and what is written after it goes nowhere.

    doit writes wherever it likes and shows any error with a traceback. And a measurement does not end because nobody can read
    how far it is.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.error: OSError | None = None
        stream.write = self._guarded(stream.write)  # type: ignore[method-assign]
        stream.flush = self._guarded(stream.flush)  # type: ignore[method-assign]

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise  # a reader that went away is another matter
                self.error = self.error or error
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self.stream.fileno())
                return len(arguments[0]) if arguments else None

        return call

    def end(self) -> None:
        """Write out what is left; if anything could not be written, say so and end this process with an error."""
        try:
            self.stream.flush()
        except OSError:
            return  # whoever writes last deals with a reader that went away
        if self.error is not None:
            sys.stderr.write(f"ERROR: standard output cannot be written: {self.error.strerror}\n  → make room where it goes to\n")
            sys.stderr.flush()
            os._exit(UNWRITTEN)


def guard_output() -> None:
    """Guard standard output until this process ends."""
    if sys.stdout is not None:
        atexit.register(Guarded(sys.stdout).end)
