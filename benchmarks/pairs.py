"""Ours beside theirs, round by round: the ratio of wall times with its interval, and of CPU times, which other work disturbs less."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bpfbench.stats.compare import Comparison, compare
from bpfbench.stats.summary import summarise

Work = Callable[[], object]


def timed(work: Work) -> tuple[float, float]:
    """Return the seconds that something takes, and those of CPU time, its children's included."""
    cpu, wall = _cpu(), time.perf_counter()
    work()
    return time.perf_counter() - wall, _cpu() - cpu


def paired(name: str, ours: Work, theirs: Work, rounds: int, between: Work = lambda: None) -> Comparison:
    """Do both in every round, in turns as to which comes first, after one round that does not count; print and return what came out.

    ``between`` is done before each, untimed. The estimate is the median of the rounds' own ratios, with its 95 % interval.
    """
    mine: list[tuple[float, float]] = []
    other: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        for work, seconds in ((ours, mine), (theirs, other))[:: 1 if number % 2 else -1]:
            between()
            seconds.append(timed(work))
    found = compare([wall for wall, _ in mine[1:]], [wall for wall, _ in other[1:]], direction="lower", equivalence=0.05)
    cpu = statistics.median(a[1] / b[1] for a, b in zip(mine[1:], other[1:], strict=True))
    walls = [statistics.median(wall for wall, _ in some[1:]) for some in (mine, other)]
    print(
        f"{name}: {walls[0]:.3f} s beside {walls[1]:.3f} s: ratio {found.ratio:.2f} "
        f"[{found.ratio_low:.2f}, {found.ratio_high:.2f}] over {rounds} rounds; CPU time {cpu:.2f}",
        flush=True,
    )
    return found


def quantity(seconds: list[float]) -> str:
    """Return the median of wall times with its 95 % interval, and the least, for people."""
    found = summarise(seconds)
    interval = "" if found.median_low is None else f" [{found.median_low:.2f}, {found.median_high:.2f}]"
    return f"{found.median:.2f} s{interval}, fastest {found.minimum:.2f} s, of {found.n}"


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
