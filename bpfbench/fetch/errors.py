"""How an origin can fail: out of reach, or there with something that is not wanted. The two end differently."""

from __future__ import annotations

from bpfbench.errors import BenchError


class Unavailable(BenchError):
    """An origin cannot be had from here now; another one may do, and so may this one another time.

    ``host`` names what is out of reach as a whole, so that nobody else waits for it; None when only this one
    thing is missing there.
    """

    def __init__(self, message: str, *, host: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.host = host


class Mismatch(BenchError):
    """An origin gave something else than what is pinned."""

    def __init__(self, what: str, expected: str, got: str) -> None:
        super().__init__(f"{what}\n      expected {expected}\n      got      {got}")
        self.expected = expected
        self.got = got


class Refused(BenchError):
    """An archive holds something that no source has any business holding; ``member`` is its name there."""

    def __init__(self, archive: str, member: str | None, why: str) -> None:
        where = f"{archive}: {member}" if member else archive
        super().__init__(f"{where}: {why}", hint="nothing of it was kept; if you trust it, unpack it and use override.NAME=/path")
        self.archive = archive
        self.member = member
        self.why = why
