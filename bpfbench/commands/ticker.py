"""One line on the terminal that says where a long command is, and vanishes."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

from bpfbench.commands.text import shortened, takes_escapes


class Ticker:
    """Call it with what is being done; says nothing where lines cannot be redrawn. A context manager."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._shows = takes_escapes(self._out)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, text: str) -> None:
        """Show ``text`` in place of what was shown."""
        if self._shows:
            import shutil

            self._out.write(f"\r\x1b[K{shortened(text, shutil.get_terminal_size().columns - 1)}")
            self._out.flush()

    def clear(self) -> None:
        """Take away what is shown."""
        if self._shows:
            self._out.write("\r\x1b[K")
            self._out.flush()
