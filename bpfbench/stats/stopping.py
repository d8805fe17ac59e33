"""When there are enough samples: decided by the width of each arm's own interval, never by a verdict.

Stopping on the verdict would make one: sooner or later, chance alone puts two equal arms apart. Stopping on
width only prefers samples that look narrow; ``intervals.LEVEL`` makes up for that. A second narrow look in
a row was tried and left out: it costs a tenth more samples and covers no better.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bpfbench.stats.intervals import LEAST, checked, median_interval, middle


def relative_half_width(values: npt.ArrayLike) -> float:
    """Return half the width of the median's 95 % interval, as a fraction of the median's size.

    Infinite below ``intervals.LEAST`` values, and where the median is 0 but its interval is not. ValueError
    as for ``summarise``.
    """
    ordered = np.sort(checked(values))
    interval = median_interval(ordered)
    if interval is None:
        return math.inf
    half = (interval[1] - interval[0]) / 2
    if half == 0.0:
        return 0.0
    centre = abs(middle(ordered))
    return half / centre if centre > 0.0 else math.inf


def narrow(values: npt.ArrayLike, half_width: float, least: int) -> bool:
    """Return whether there are enough: ``least`` values, and an interval no wider than ``half_width``."""
    array = checked(values)
    return array.size >= max(least, LEAST) and relative_half_width(array) <= half_width
