"""Two arms, block by block: by how much do they differ, and is that a difference?

Block i of one arm is compared with block i of the other, because what disturbs a machine for a while
disturbs both: the ratio of a block is free of it. The estimate is the **median of the blocks' ratios**
(taken on their logarithms, so that a/b and b/a are each other's reciprocals), with the same interpolated
order-statistic interval as any other median (``intervals``), which asks nothing of the distribution and
needs no resampling.

How this relates to the ratio that a reader computes from the two medians: where one arm's values are the
other's times a constant, whatever the shape of their noise, both estimate that constant. In a sample they
differ by a part of the interval, and less the less noise there is; where blocks share their noise, the
median of ratios is the better one. Where the arms' noise differs in shape, the median of ratios is still
just that: the ratio that half of the blocks exceed. Likewise the difference is the median of the blocks'
differences.

Verdict, in this order:
 1. *same*: the ratio's interval lies within [1/(1 + e), 1 + e], e being the equivalence bound. This goes
    before significance: the bound was set beforehand as the least difference that matters. Without it,
    enough blocks would make any two arms "worse" and "better" by some tenth of a per cent, and the verdict
    would tell of the number of blocks. The interval is reported all the same, and shows such a difference.
 2. *better* or *worse*: the interval excludes 1.
 3. *inconclusive*: neither; also always when there are too few blocks for an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bpfbench.stats.intervals import (
    CONFIDENCE,
    Array,
    Interval,
    checked,
    median_interval,
    middle,
    student_quantile,
)

Verdict = Literal["better", "worse", "same", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How ``a`` relates to ``b`` over ``n`` blocks: ratio a/b and difference a − b, with verdict on ``a``.

    Both have 95 % intervals. The ratio is None where a value is zero or negative; the verdict then rests on
    the difference. Intervals are None below ``intervals.LEAST`` blocks.
    """

    n: int
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    difference: float
    difference_low: float | None
    difference_high: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, which contains it; the ends are None where there are too few values."""

    value: float
    low: float | None
    high: float | None


def compare(
    a: npt.ArrayLike, b: npt.ArrayLike, *, direction: Literal["lower", "higher"], equivalence: float
) -> Comparison:
    """Compare arm ``a`` with arm ``b``, whose i-th values come from the same block.

    ``direction`` says which values are better; ``equivalence`` is the relative difference up to which arms
    count as the same. ValueError when a value is not finite, or the arms have different numbers of blocks.
    """
    if direction not in ("lower", "higher") or not 0 <= equivalence < math.inf:
        raise ValueError(
            f"direction {direction!r}, equivalence {equivalence}: expected lower or higher, and a fraction"
        )
    first, second = _paired(a, b, "a", "b")
    difference = _median(first - second)
    if (first > 0).all() and (second > 0).all():
        logs = _median(np.log(first) - np.log(second))
        verdict = _verdict(logs, math.log1p(equivalence), direction)
        ratio = _exponential(logs)
    else:
        size = min(abs(middle(np.sort(first))), abs(middle(np.sort(second))))
        verdict = _verdict(difference, equivalence * size, direction)
        ratio = None
    return Comparison(
        n=first.size,
        ratio=ratio.value if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        difference=difference.value,
        difference_low=difference.low,
        difference_high=difference.high,
        verdict=verdict,
    )


def per_operation(case: npt.ArrayLike, floor: npt.ArrayLike, divisor: int) -> Estimate:
    """Return the cost of one of a call's ``divisor`` operations: the median of (case − floor) / divisor.

    ``case[i]`` and ``floor[i]`` come from the same block of one arm. May be negative: an operation can be
    cheaper than noise.
    """
    if divisor < 1:
        raise ValueError(f"divisor {divisor}: expected at least 1")
    first, second = _paired(case, floor, "case", "floor")
    return _median((first - second) / divisor)


def geometric_mean(ratios: npt.ArrayLike) -> Estimate:
    """Return the geometric mean of ratios of several cases, with Student's interval on their logarithms.

    The interval tells how far it would move had other cases of this kind been chosen, not how well each was
    measured. ValueError when a ratio is not positive.
    """
    array = checked(ratios, "ratios")
    if not (array > 0).all():
        raise ValueError(f"ratios: expected positive numbers, found {float(array.min())}")
    logs = np.sort(np.log(array))
    n = logs.size
    mean = min(max(math.fsum(logs) / n, float(logs[0])), float(logs[-1]))
    if n < 2:
        return _exponential(Estimate(mean, None, None))
    error = math.sqrt(math.fsum((logs - mean) ** 2) / (n - 1) / n)
    reach = student_quantile(CONFIDENCE, n - 1) * error if error > 0 else 0.0
    return _exponential(Estimate(mean, mean - reach, mean + reach))


def _paired(a: npt.ArrayLike, b: npt.ArrayLike, name_a: str, name_b: str) -> tuple[Array, Array]:
    first, second = checked(a, name_a), checked(b, name_b)
    if first.size != second.size:
        raise ValueError(
            f"{name_a} has {first.size} blocks and {name_b} has {second.size}: expected the same blocks"
        )
    return first, second


def _median(values: Array) -> Estimate:
    ordered = np.sort(values)
    low, high = median_interval(ordered) or (None, None)
    return Estimate(middle(ordered), low, high)


def _exponential(logs: Estimate) -> Estimate:
    """e to the estimate and to the ends of its interval; 1e304 stands for whatever floats cannot hold."""

    def power(exponent: float) -> float:
        return math.exp(min(exponent, 700.0))

    value = power(logs.value)
    interval: Interval | None = None
    if logs.low is not None and logs.high is not None:
        interval = min(power(logs.low), value), max(power(logs.high), value)
    low, high = interval or (None, None)
    return Estimate(value, low, high)


def _verdict(estimate: Estimate, bound: float, direction: Literal["lower", "higher"]) -> Verdict:
    """The verdict on an estimate that is 0 for equal arms; differences within ±``bound`` do not matter."""
    if estimate.low is None or estimate.high is None:
        return "inconclusive"
    if -bound <= estimate.low and estimate.high <= bound:
        return "same"
    if estimate.low <= 0 <= estimate.high:
        return "inconclusive"
    return "better" if (estimate.low > 0) == (direction == "higher") else "worse"
