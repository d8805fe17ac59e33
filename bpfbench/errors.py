"""The one exception that reaches a user: what is wrong, where, and what to type next."""

from __future__ import annotations


class BenchError(Exception):
    """An error caused by the user's input or by the machine, shown without a traceback.

    ``message`` says what is wrong (with file, line and field where there are any), ``hint`` what to do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  → {self.hint}"
