"""What programs count and send during a load: waiting until it has all arrived, and reading captures of it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfbench.drivers.common import START_DEADLINE, tell
from bpfbench.process.child import Child
from bpfbench.process.identity import privileged

GIVEN_UP = 0.5
"""Seconds without any arrival after which nothing is on its way any more: a receiver that finds no free CPU must not look like a loss."""
LOOK = 0.002
"""Seconds between two looks."""
HEADER = struct.Struct("<IIIII")
"""Size of the event, then its pid, thread, direction and length: workloads/sslsniff/event.h."""
FROM_CLIENT, TO_CLIENT = 0, 1
FOREIGN = ("[uprobes]", "agent")
"""What a process has mapped into which a runtime has come."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was counted since a reset: hits and ``inner`` by program, and how many events arrived of those that were sent."""

    hits: Mapping[str, int]
    inner: Mapping[str, int]
    received: int
    sent: int

    @property
    def lost(self) -> int:
        """Events that were sent and never arrived."""
        return max(self.sent - self.received, 0)

    def as_evidence(self) -> dict[str, Any]:
        """Return the counts for the result."""
        return {"hits": dict(self.hits), "events_sent": self.sent, "events_received": self.received, "events_lost": self.lost}


def reset(loader: Child) -> int:
    """Set the programs' counters to 0 once all events have arrived; return how many that were. Nothing may hit the programs meanwhile."""
    _, arrived = _arrived(loader, 0)
    tell(loader, "reset", "OK reset", START_DEADLINE)
    return arrived


def settle(loader: Child, before: int) -> Seen:
    """Wait for all events since ``before`` had arrived, and return what was seen. Nothing may hit the programs any more."""
    counters, arrived = _arrived(loader, before)
    inner = counters["inner"]
    return Seen(counters["hits"], inner, arrived - before, sum(inner.values()))


def plaintext(capture: Path) -> tuple[bytes, bytes]:
    """Return all that was captured, from the client and to it. A torn end is left out."""
    sides: tuple[list[bytes], list[bytes]] = ([], [])
    for direction, data in _events(capture.read_bytes() if capture.exists() else b""):
        sides[direction].append(data)
    return b"".join(sides[FROM_CLIENT]), b"".join(sides[TO_CLIENT])


def foreign(pid: int) -> int:
    """Return how many mappings of a process come from a runtime."""
    with privileged():
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    names = [line.split(maxsplit=5)[5].rpartition("/")[2] for line in lines if len(line.split(maxsplit=5)) > 5]
    return sum(any(mark in name for mark in FOREIGN) for name in names)


def _events(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + HEADER.size <= len(data):
        size, _, _, direction, length = HEADER.unpack_from(data, place)
        end = place + 4 + size
        if end > len(data):
            return
        yield direction, data[place + HEADER.size : place + HEADER.size + length]
        place = end


def _received(loader: Child) -> int:
    return int(tell(loader, "events", "EVENTS", START_DEADLINE)["received"])


def _arrived(loader: Child, before: int) -> tuple[dict[str, Any], int]:
    """Return counters, and how many events have arrived once all have that were sent, or none comes any more."""
    counters = tell(loader, "read", "COUNTERS", START_DEADLINE)
    wanted, last, since = before + sum(counters["inner"].values()), -1, time.monotonic()
    while (now := _received(loader)) < wanted:
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > GIVEN_UP:
            break
        time.sleep(LOOK)
    return counters, now
