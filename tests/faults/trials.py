"""What a trial is: one way of breaking things, everything random in it drawn from its own seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .world import World

Break = Callable[[World, random.Random], str | None]
"""Breaks something, sees that all recovers, and says in a few words what was hit; None: nothing could be hit this time.

Raises ``Broken`` if something that must hold did not.
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of trial."""

    name: str
    title: str
    trial: Break
    obstacle: Callable[[], str | None] = lambda: None
    """Says why it cannot take place here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended."""

    scenario: str
    index: int
    hit: str | None
    fault: str | None
    seconds: float
