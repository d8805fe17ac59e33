"""Durations and percentages as people write them."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_PERCENTAGE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,9})?)%")

DURATION = "a duration such as 30s (ms, s, m or h)"
"""What to call expected where a duration is wanted."""


def seconds(text: str) -> float | None:
    """Read a duration such as ``40ms`` or ``1.5h`` as seconds; None if it is none or is zero."""
    match = _DURATION.fullmatch(text)
    return (float(match[1]) * _SECONDS[match[2]] or None) if match else None


def fraction(text: str) -> float | None:
    """Read a percentage such as ``3%`` as a fraction; None if it is none or is zero."""
    match = _PERCENTAGE.fullmatch(text)
    return (float(match[1]) / 100 or None) if match else None
