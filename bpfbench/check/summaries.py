"""Whether the samples of a cell can be what they are said to be, and whether the figures follow from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from bpfbench.check.problem import Problem
from bpfbench.resultview import Part

NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
"""Of the units of time."""

LEAST_CALL = 0.3
"""Nanoseconds. Less than a cycle or so: the compiler has taken the call away."""

LONGEST = 3600e9
"""Nanoseconds. No single value of ours takes an hour."""

ZERO_ALLOWED = frozenset({"1", "%", "B", "KiB", "MiB", "GiB"})
"""Units in which nothing at all is a possible amount."""

TOLERANCE = 1e-9
"""Relative; room for another order of summation, and nothing else."""


def metric_problems(summary: Part, metric: Part, design: Part, path: str) -> Iterator[Problem]:
    """Yield what is wrong with one metric of one ok cell."""
    yield from _count_problems(summary, design, path)
    yield from _value_problems(summary["values"], metric, path)
    yield from _derived_problems(summary, path)
    for name in ("median", "mean"):
        yield from interval_problems(summary[name], summary[f"{name}_ci"], f"{path}.{name}_ci", name)
    low, high = summary["median_ci"]
    if not (_at_most(summary["min"], low) and _at_most(high, summary["max"])):
        yield Problem(f"{path}.median_ci", f"[{low:g}, {high:g}] reaches beyond the samples")


def interval_problems(estimate: float, interval: Sequence[float], path: str, name: str) -> Iterator[Problem]:
    """Yield a problem if the interval is the wrong way round or does not contain its estimate."""
    low, high = interval
    if low > high:
        yield Problem(path, f"[{low:g}, {high:g}] is the wrong way round")
    elif not (_at_most(low, estimate) and _at_most(estimate, high)):
        yield Problem(path, f"[{low:g}, {high:g}] does not contain the {name} {estimate:g}")


def _at_most(a: float, b: float) -> bool:
    return a <= b or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)


def _count_problems(summary: Part, design: Part, path: str) -> Iterator[Problem]:
    n, values, blocks = summary["n"], summary["values"], summary["blocks"]
    if not n == len(values) == len(blocks):
        yield Problem(f"{path}.n", f"n is {n}, with {len(values)} values from {len(blocks)} blocks")
    least, most = design["least_blocks"], design["most_blocks"]
    if len(values) < least:
        yield Problem(f"{path}.values", f"{len(values)} values, fewer than least_blocks {least}")
    if len(values) > most:
        yield Problem(f"{path}.values", f"{len(values)} values, more than most_blocks {most}")
    if blocks != sorted(blocks):
        yield Problem(f"{path}.blocks", "blocks are not in order")
    for index in summary["outliers"]:
        if index >= len(values):
            yield Problem(f"{path}.outliers", f"there is no value {index}")


def _value_problems(values: Sequence[float], metric: Part, path: str) -> Iterator[Problem]:
    unit, per = metric["unit"], metric["per"]
    smallest, largest = min(values), max(values)
    if smallest < 0 or (smallest == 0 and unit not in ZERO_ALLOWED):
        yield Problem(f"{path}.values", f"{smallest:g} {unit} cannot have been measured")
    elif unit in NANOSECONDS:
        if per == "call" and smallest * NANOSECONDS[unit] < LEAST_CALL:
            why = f"less than {LEAST_CALL} ns, so nothing was called"
            yield Problem(f"{path}.values", f"{smallest:g} {unit} for a call: {why}")
        if largest * NANOSECONDS[unit] > LONGEST:
            yield Problem(f"{path}.values", f"{largest:g} {unit}: more than an hour")


def _derived_problems(summary: Part, path: str) -> Iterator[Problem]:
    values = [float(value) for value in summary["values"]]
    median = statistics.median(values)
    follows = {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median": median,
        "mad": statistics.median(abs(value - median) for value in values),
        "min": min(values),
        "max": max(values),
        "p5": percentile(values, 5),
        "p95": percentile(values, 95),
    }
    scale = max(abs(value) for value in values)
    for name, figure in follows.items():
        yield from derived_problems(summary[name], figure, scale, f"{path}.{name}")


def derived_problems(said: float, follows: float, scale: float, path: str) -> Iterator[Problem]:
    """Yield a problem if a figure is not what the values give; ``scale`` is the size of those."""
    if not math.isclose(said, follows, rel_tol=1e-6, abs_tol=TOLERANCE * scale):
        yield Problem(path, f"is {said:g}, the values give {follows:g}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile by linear interpolation between order statistics (type 7 of Hyndman and Fan)."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
