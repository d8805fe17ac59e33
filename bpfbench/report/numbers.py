"""Numbers for people: as many digits as the interval carries, thousands apart, the unit once."""

from __future__ import annotations

import math
from collections.abc import Sequence

THIN = "\u202f"
"""Narrow no-break space: between thousands, and between a number and its unit."""

MINUS = "\u2212"

MOST = 5
"""Significant digits of a value at most."""

_SYMBOLS = {"us": "µs", "1": ""}
_TIME = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))


def symbol(unit: str) -> str:
    """Return how a unit is written: ``us`` is µs, a plain count has none."""
    return _SYMBOLS.get(unit, unit)


def unit_phrase(unit: str, per: str | None) -> str:
    """Return what stands over a column or along an axis: ``ns per call``, ``req/s``, ``count``."""
    name = symbol(unit) or "count"
    return f"{name} per {per}" if per else name


def decimals_for(error: float) -> int:
    """Return the decimals that an uncertainty justifies; negative: digits before the point say nothing.

    The Particle Data Group's rule: two digits of the error up to 354 (of its first three), otherwise one.
    """
    if not error > 0 or not math.isfinite(error):
        return 0
    exponent = math.floor(math.log10(error))
    leading = error / 10.0 ** (exponent - 2)
    return (1 if leading < 355 else 0) - exponent


def decimals_of(value: float, digits: int = 3) -> int:
    """Return the decimals that show ``value`` with so many significant digits."""
    if value == 0 or not math.isfinite(value):
        return 0
    return digits - 1 - math.floor(math.log10(abs(value)))


def fixed(value: float, decimals: int, *, thousands: str = THIN) -> str:
    """Return ``value`` with so many decimals (−1: rounded to tens) and its thousands apart."""
    rounded = round(value, decimals)
    text = f"{abs(rounded):,.{max(decimals, 0)}f}".replace(",", thousands)
    return f"{MINUS}{text}" if rounded < 0 else text


def error_of(value: float, interval: Sequence[float]) -> float:
    """Return the larger half of an interval: what is written behind ±."""
    low, high = interval
    return max(value - low, high - value, 0.0)


def plus_minus(value: float, interval: Sequence[float], *, thousands: str = THIN) -> str:
    """Return ``858 ± 12``: estimate and larger half of the interval, to the digits that count."""
    error, decimals = error_of(value, interval), decimals_in(value, interval)
    # An error that the digits no longer show is stated as one of the last digit: too large rather than none.
    error = max(error, 10.0**-decimals) if error > 0 else error
    return f"{fixed(value, decimals, thousands=thousands)} ± {fixed(error, decimals, thousands=thousands)}"


def span(value: float, interval: Sequence[float], *, thousands: str = THIN) -> str:
    """Return ``846–870``: an interval to the digits that mean something."""
    decimals = decimals_in(value, interval)
    low, high = (fixed(bound, decimals, thousands=thousands) for bound in interval)
    return f"{low} to {high}" if MINUS in low + high else f"{low}–{high}"


def decimals_in(value: float, interval: Sequence[float]) -> int:
    """Return the decimals in which an estimate with this interval is written.

    At most ``MOST`` significant digits: an interval tells how well a value repeats, and no clock or calibration of ours is
    good to more, however well it repeats.
    """
    error = error_of(value, interval)
    if error <= 0:
        return decimals_of(value)
    return min(decimals_for(error), decimals_of(value, MOST)) if value else decimals_for(error)


def significant(value: float, digits: int = 3, *, thousands: str = THIN) -> str:
    """Return ``value`` to so many significant digits."""
    return fixed(value, decimals_of(value, digits), thousands=thousands)


def scaled(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the unit in which a time reads best: 12 000 ns are 12 µs. Other units stay."""
    units = dict(_TIME)
    if unit not in units or value == 0 or not math.isfinite(value):
        return 1.0, unit
    seconds = abs(value) * units[unit]
    best, size = _TIME[0]
    for name, length in _TIME:
        if seconds >= length:
            best, size = name, length
    return units[unit] / size, best


def quantity(value: float, interval: Sequence[float] | None, unit: str, *, thousands: str = THIN) -> str:
    """Return ``12.0 µs``: one number with its unit, to the digits that its interval carries, at most four."""
    factor, best = scaled(value, unit)
    decimals = decimals_of(value * factor)
    if interval is not None and error_of(value, interval) > 0:
        most = decimals_of(value * factor, 4)
        decimals = min(decimals_for(error_of(value, interval) * factor), most)
    name = symbol(best)
    text = fixed(value * factor, decimals, thousands=thousands)
    return f"{text}{THIN}{name}" if name else text


def duration(seconds: float) -> str:
    """Return ``3 min 20 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{amount} {name}" for amount, name in parts if amount) or "0 s"


def percent(fraction: float) -> str:
    """Return ``3 %`` or ``1.2 %``."""
    return f"{fraction * 100:.3g}{THIN}%"


def counted(amount: int, word: str, plural: str | None = None) -> str:
    """Return ``1 case`` or ``3 cases``."""
    return f"{amount} {word if amount == 1 else plural or word + 's'}"
