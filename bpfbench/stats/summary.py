"""What one arm's samples of one case say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bpfbench.stats.intervals import Array, checked, mean_interval, median_interval, middle

OUTLIER_SCORE = 3.5
"""Values whose modified z-score is beyond this are flagged."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Describes ``n`` values, all in the values' own unit.

    ``sd`` is the sample's (divisor n − 1), None for one value. ``mad`` is the median absolute deviation
    from the median, not scaled. ``p5`` and ``p95`` interpolate linearly (type 7 of Hyndman & Fan). The ends
    of the 95 % intervals are None below ``intervals.LEAST`` values. ``outliers`` are positions in the
    values as given: flagged, and counted like all others.
    """

    n: int
    mean: float
    sd: float | None
    median: float
    mad: float
    minimum: float
    maximum: float
    p5: float
    p95: float
    median_low: float | None
    median_high: float | None
    mean_low: float | None
    mean_high: float | None
    outliers: tuple[int, ...]


def summarise(values: npt.ArrayLike) -> Summary:
    """Return the summary of ``values``; ValueError when there are none, or when one is not finite."""
    array = checked(values)
    ordered = np.sort(array)
    mean, sd = _moments(ordered)
    deviations = np.abs(array - middle(ordered))
    median_low, median_high = median_interval(ordered) or (None, None)
    mean_low, mean_high = mean_interval(ordered, mean, sd or 0.0) or (None, None)
    p5, p95 = np.quantile(ordered, (0.05, 0.95))
    return Summary(
        n=array.size,
        mean=mean,
        sd=sd,
        median=middle(ordered),
        mad=middle(np.sort(deviations)),
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        p5=float(p5),
        p95=float(p95),
        median_low=median_low,
        median_high=median_high,
        mean_low=mean_low,
        mean_high=mean_high,
        outliers=_outliers(deviations),
    )


def _moments(ordered: Array) -> tuple[float, float | None]:
    """Mean and sample sd; exactly the value and 0 where all are equal, which sums can miss."""
    n = ordered.size
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), 0.0 if n > 1 else None
    mean = min(max(math.fsum(ordered) / n, float(ordered[0])), float(ordered[-1]))
    return mean, math.sqrt(math.fsum((ordered - mean) ** 2) / (n - 1))


def _outliers(deviations: Array) -> tuple[int, ...]:
    """Positions whose modified z-score exceeds ``OUTLIER_SCORE``.

    Iglewicz & Hoaglin, How to Detect and Handle Outliers (1993): 0.6745·|x − median| / MAD. Where more than
    half of the values are equal, the MAD is 0 and the mean absolute deviation takes its place: |x − median|
    / (1.2533·mean deviation).
    """
    scale = middle(np.sort(deviations)) / 0.6745 or 1.2533 * float(deviations.mean())
    return tuple(int(i) for i in np.flatnonzero(deviations > OUTLIER_SCORE * scale))
