"""Which cells a block measures, in which order: randomised, reproducible from the seed, arms of a case side by side.

Machine noise drifts over seconds to minutes. The arms of one case therefore follow each other directly, in random order, and so
do the cases within a block: what drifts hits all arms of a comparison alike, and no arm always goes first.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

CellId = tuple[str, str]


def block_order(seed: int, block: int, cells: Iterable[CellId]) -> list[CellId]:
    """Return the cells of one block in their random order; ``block`` 0 is the warm-up.

    The order depends on the seed, the block's number and the *set* of cells only, so that a resumed run goes on as it
    would have.
    """
    by_case: dict[str, list[str]] = {}
    for case, arm in sorted(cells):
        by_case.setdefault(case, []).append(arm)
    rng = random.Random(f"{seed}/{block}")
    cases = list(by_case)
    rng.shuffle(cases)
    order: list[CellId] = []
    for case in cases:
        arms = by_case[case]
        rng.shuffle(arms)
        order += [(case, arm) for arm in arms]
    return order


def split_cpus(allowed: Sequence[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Return (CPUs of the measured program, CPUs of everything else) out of those this process may use.

    The measured program gets the last CPU alone, since interrupts and housekeeping prefer the first; with one CPU all share it.
    """
    ordered = sorted(allowed)
    if len(ordered) < 2:
        return frozenset(ordered), frozenset(ordered)
    return frozenset(ordered[-1:]), frozenset(ordered[:-1])
