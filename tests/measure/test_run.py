"""How long a run still takes at most, and what its line says; the rest of a run is tested by really running."""

import pytest

from bpfbench.measure.loop import Design, Pace
from bpfbench.measure.run import _reporter, finished, longest

DESIGN = Design(seed=1, warmup_blocks=1, least_blocks=10, most_blocks=40, half_width=0.03, budget=100.0)


def pace(block, done=0, sampled=0.0, widest=None):
    return Pace(block, done, 4, widest, sampled)


def test_before_anything_is_known_the_budget_bounds_it():
    assert longest(DESIGN, pace(0), None) == 100.0
    assert longest(DESIGN, pace(0, sampled=30.0), None) == 70.0


@pytest.mark.parametrize(
    ("at", "a_block", "seconds"),
    [
        (pace(1), 1.0, 40.0),  # forty blocks of a second are less than the budget
        (pace(1), 5.0, 100.0),  # the budget is spent before the most blocks
        (pace(1), 20.0, 200.0),  # the least blocks are taken whatever the budget
        (pace(11, sampled=100.0), 5.0, 0.0),
        (pace(6, done=2, sampled=90.0), 5.0, 22.5),
    ],
)
def test_budget_least_and_most_blocks_bound_what_is_left(at, a_block, seconds):
    assert longest(DESIGN, at, a_block) == pytest.approx(seconds)


def test_the_warm_up_finishes_no_block():
    assert finished(pace(0, done=3)) == 0.0
    assert finished(pace(3, done=2)) == 2.5


def test_the_line_says_block_sample_and_widest_interval():
    said = []
    report = _reporter(DESIGN, lambda note, **more: said.append((note, more)))
    report(pace(0))
    report(pace(3, done=1, widest=0.0213))
    assert said[0][0] == "warm-up, sample 1 of 4"
    assert said[1][0] == "block 3 (of 10–40), sample 2 of 4, widest interval ±2.1 %"
    assert said[1][1]["bound"] is True
