"""How long a task takes and how much room it needs, as far as this machine's own store can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Expected:
    """``seconds`` and ``bytes`` are None where nothing is known; with ``bound`` it takes at most so long."""

    seconds: float | None = None
    bytes: int | None = None
    bound: bool = False


def expected(step: Any) -> Expected:
    """Return what a step took when it was last made here; for a measurement never made, its budget."""
    last = step.last_alike()
    wall = last.meta.get("wall") if last else None
    room = last.manifest.size if last else None
    if isinstance(wall, int | float):
        return Expected(float(wall), room)
    budget = getattr(step, "budget", None)
    return Expected(budget(), room, bound=True) if budget else Expected(None, room)
