"""Comparisons: verdicts, symmetries, edge cases; costs per operation; geometric means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as oracle

from bpfbench.stats.compare import compare, geometric_mean, per_operation
from bpfbench.stats.intervals import CONFIDENCE, LEAST, LEVEL

POSITIVE = st.floats(1e-3, 1e9)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=40).map(
    lambda p: tuple(zip(*p, strict=True))
)
# Arms that differ by a few per cent, so that every verdict occurs.
CLOSE = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.93, 1.07), st.floats(0, 0.05)
).map(
    lambda t: (
        t[2] * np.exp(t[3] * np.random.default_rng((t[0], 0)).standard_normal(t[1])),
        np.exp(t[3] * np.random.default_rng((t[0], 1)).standard_normal(t[1])),
    )
)
DIRECTIONS = st.sampled_from(["lower", "higher"])
OPPOSITE = {"better": "worse", "worse": "better", "same": "same", "inconclusive": "inconclusive"}


def noise(seed, n, sigma):
    return np.random.default_rng(seed).lognormal(0, sigma, n)


def test_ratio_and_difference_are_medians_over_blocks_with_scipys_interval():
    a, b = 200 * noise(0, 25, 0.1), 100 * noise(1, 25, 0.1)
    comparison = compare(a, b, direction="lower", equivalence=0.03)
    assert comparison.ratio == pytest.approx(np.median(a / b))
    assert (comparison.ratio_low, comparison.ratio_high) == pytest.approx(
        tuple(np.exp(oracle.mstats.median_cihs(np.log(a / b), alpha=1 - LEVEL)))
    )
    assert comparison.difference == pytest.approx(np.median(a - b))
    assert (comparison.difference_low, comparison.difference_high) == pytest.approx(
        tuple(oracle.mstats.median_cihs(a - b, alpha=1 - LEVEL))
    )


def test_what_a_block_shares_cancels():
    machine = noise(2, 12, 0.5)
    comparison = compare(
        machine * 1.05 * noise(3, 12, 0.002),
        machine * noise(4, 12, 0.002),
        direction="lower",
        equivalence=0.01,
    )
    assert comparison.verdict == "worse"
    assert comparison.ratio == pytest.approx(1.05, rel=0.003)


@pytest.mark.parametrize(
    ("factor", "direction", "verdict"),
    [
        (1.2, "lower", "worse"),
        (1.2, "higher", "better"),
        (0.8, "lower", "better"),
        (0.8, "higher", "worse"),
        (1.0, "lower", "same"),
        (1.01, "lower", "same"),  # significant, but less than what matters
        (1.03, "higher", "better"),  # the interval holds the bound, but not 1
    ],
)
def test_verdicts(factor, direction, verdict):
    a, b = factor * noise(5, 30, 0.003), noise(6, 30, 0.003)
    comparison = compare(a, b, direction=direction, equivalence=0.03)
    assert comparison.verdict == verdict


def test_an_irrelevant_difference_is_the_same_but_its_interval_shows_it():
    a, b = 1.01 * noise(5, 30, 0.003), noise(6, 30, 0.003)
    comparison = compare(a, b, direction="lower", equivalence=0.03)
    assert comparison.verdict == "same" and comparison.ratio_low > 1
    assert compare(a, b, direction="lower", equivalence=0.0).verdict == "worse"


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.0499, "same"), (1.0501, "worse"), (1 / 1.0499, "same"), (1 / 1.0501, "better")]
)
def test_the_bound_is_the_ratios(ratio, verdict):
    assert compare([ratio] * 9, [1.0] * 9, direction="lower", equivalence=0.05).verdict == verdict


def test_noise_is_inconclusive():
    comparison = compare(noise(7, 12, 0.2), noise(8, 12, 0.2), direction="lower", equivalence=0.03)
    assert comparison.verdict == "inconclusive"
    assert comparison.ratio_low < 1 < comparison.ratio_high


@pytest.mark.parametrize("n", [1, 2, LEAST - 1])
def test_too_few_blocks_are_inconclusive_whatever_they_say(n):
    comparison = compare([10.0] * n, [1.0] * n, direction="lower", equivalence=0.03)
    assert (comparison.n, comparison.ratio, comparison.difference) == (n, pytest.approx(10), 9)
    assert (comparison.ratio_low, comparison.difference_high) == (None, None)
    assert comparison.verdict == "inconclusive"


def test_equal_values_are_the_same_even_without_a_bound():
    comparison = compare([5.0] * 9, [5.0] * 9, direction="lower", equivalence=0.0)
    assert (comparison.ratio, comparison.ratio_low, comparison.ratio_high, comparison.verdict) == (
        1,
        1,
        1,
        "same",
    )


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([0.0] * 9, [0.0] * 9, "same"),
        ([0.0] * 9, [5.0] * 9, "better"),
        ([-3.0] * 9, [-5.0] * 9, "worse"),
        ([-100.0] * 9, [-101.0] * 9, "same"),
        ([-1.0, 1.0] * 5, [0.0] * 10, "inconclusive"),
    ],
)
def test_without_a_ratio_the_difference_decides(a, b, verdict):
    comparison = compare(a, b, direction="lower", equivalence=0.03)
    assert (comparison.ratio, comparison.ratio_low, comparison.ratio_high) == (None, None, None)
    assert comparison.difference_low <= comparison.difference <= comparison.difference_high
    assert comparison.verdict == verdict


@pytest.mark.parametrize(
    ("a", "b", "options", "told"),
    [
        ([1.0, math.nan], [1.0, 1.0], {}, r"a\[1\]"),
        ([1.0, 1.0], [1.0, math.inf], {}, r"b\[1\]"),
        ([1.0, 1.0], [1.0], {}, "2 blocks"),
        ([], [], {}, "non-empty"),
        ([1.0], [1.0], {"direction": "up"}, "direction"),
        ([1.0], [1.0], {"equivalence": -0.1}, "equivalence"),
        ([1.0], [1.0], {"equivalence": math.nan}, "equivalence"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, options, told):
    with pytest.raises(ValueError, match=told):
        compare(a, b, **{"direction": "lower", "equivalence": 0.03} | options)


@given(PAIRS)
def test_the_interval_contains_the_ratio(pair):
    comparison = compare(*pair, direction="lower", equivalence=0.03)
    if comparison.n >= LEAST:
        assert comparison.ratio_low <= comparison.ratio <= comparison.ratio_high
        assert comparison.difference_low <= comparison.difference <= comparison.difference_high


@given(CLOSE, DIRECTIONS, st.floats(0, 0.1))
def test_changing_sides_inverts_the_ratio_and_the_verdict(pair, direction, equivalence):
    there = compare(pair[0], pair[1], direction=direction, equivalence=equivalence)
    back = compare(pair[1], pair[0], direction=direction, equivalence=equivalence)
    assert back.verdict == OPPOSITE[there.verdict]
    assert back.ratio == pytest.approx(1 / there.ratio, rel=1e-12)
    assert back.difference == -there.difference
    if there.n >= LEAST:
        assert (back.ratio_low, back.ratio_high) == pytest.approx(
            (1 / there.ratio_high, 1 / there.ratio_low), rel=1e-12
        )
        assert (back.difference_low, back.difference_high) == (-there.difference_high, -there.difference_low)


@given(CLOSE, st.floats(0, 0.1))
def test_the_other_direction_is_the_opposite_verdict(pair, equivalence):
    lower = compare(*pair, direction="lower", equivalence=equivalence)
    higher = compare(*pair, direction="higher", equivalence=equivalence)
    assert higher.verdict == OPPOSITE[lower.verdict]


@given(CLOSE, st.sampled_from([0.25, 2.0, 1024.0]), st.sampled_from([0.25, 2.0, 1024.0]))
def test_units_scale_through(pair, one, other):
    before = compare(*pair, direction="lower", equivalence=0.03)
    after = compare(pair[0] * one, pair[1] * one, direction="lower", equivalence=0.03)
    assert after.ratio == pytest.approx(before.ratio, rel=1e-12)
    assert after.difference == before.difference * one
    apart = compare(pair[0] * one, pair[1] * other, direction="lower", equivalence=0.03)
    assert apart.ratio == pytest.approx(before.ratio * one / other, rel=1e-12)
    if before.n >= LEAST:
        assert after.ratio_low == pytest.approx(before.ratio_low, rel=1e-12)
        assert apart.ratio_high == pytest.approx(before.ratio_high * one / other, rel=1e-12)


@given(CLOSE, st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_matter(pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    assert compare(pair[0][order], pair[1][order], direction="lower", equivalence=0.03) == compare(
        *pair, direction="lower", equivalence=0.03
    )


@given(CLOSE, DIRECTIONS, st.floats(0, 0.1))
def test_the_verdict_follows_from_the_ratios_interval(pair, direction, equivalence):
    comparison = compare(*pair, direction=direction, equivalence=equivalence)
    if comparison.n < LEAST:
        assert comparison.verdict == "inconclusive"
        return
    low, high, bound = comparison.ratio_low, comparison.ratio_high, 1 + equivalence
    assume(min(abs(low - 1), abs(high - 1), abs(low * bound - 1), abs(high - bound)) > 1e-9)
    if 1 / bound <= low and high <= bound:
        expected = "same"
    elif low <= 1 <= high:
        expected = "inconclusive"
    else:
        expected = "better" if (low > 1) == (direction == "higher") else "worse"
    assert comparison.verdict == expected


def test_per_operation_takes_the_floor_off_by_block_and_divides():
    case, floor = 1000 + 50 * noise(0, 20, 0.3), 900 + 50 * noise(1, 20, 0.3)
    estimate = per_operation(case, floor, 1000)
    expected = (case - floor) / 1000
    assert estimate.value == pytest.approx(np.median(expected))
    assert (estimate.low, estimate.high) == pytest.approx(
        tuple(oracle.mstats.median_cihs(expected, alpha=1 - LEVEL))
    )


@given(PAIRS, st.integers(1, 10_000), st.sampled_from([0.5, 8.0]))
def test_per_operation_is_linear(pair, divisor, factor):
    case, floor = np.array(pair[0]), np.array(pair[1])
    whole, part = per_operation(case, floor, 1), per_operation(case, floor, divisor)
    scaled, turned = (
        per_operation(case * factor, floor * factor, divisor),
        per_operation(floor, case, divisor),
    )
    assert part.value == pytest.approx(whole.value / divisor, rel=1e-9, abs=1e-9)
    assert scaled.value == pytest.approx(part.value * factor, rel=1e-9, abs=1e-9)
    assert turned.value == pytest.approx(-part.value, rel=1e-9, abs=1e-9)
    if case.size >= LEAST:
        assert part.low <= part.value <= part.high
        assert (part.low, part.high) == pytest.approx(
            (whole.low / divisor, whole.high / divisor), rel=1e-9, abs=1e-9
        )
        assert (turned.low, turned.high) == pytest.approx((-part.high, -part.low), rel=1e-9, abs=1e-9)
    else:
        assert (part.low, part.high) == (None, None)


@pytest.mark.parametrize("divisor", [0, -1])
def test_per_operation_refuses_divisors_that_are_none(divisor):
    with pytest.raises(ValueError, match="divisor"):
        per_operation([1.0], [1.0], divisor)


def test_per_operation_refuses_blocks_without_partner():
    with pytest.raises(ValueError, match="case has 2 blocks and floor has 1"):
        per_operation([1.0, 2.0], [1.0], 1)


@pytest.mark.parametrize("n", [2, 3, 17])
def test_geometric_mean_against_scipy(n):
    ratios = noise(n, n, 0.5)
    estimate = geometric_mean(ratios)
    logs = np.log(ratios)
    expected = oracle.t.interval(CONFIDENCE, n - 1, logs.mean(), oracle.sem(logs))
    assert estimate.value == pytest.approx(oracle.gmean(ratios))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.exp(expected)))


@given(st.lists(POSITIVE, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_geometric_mean_contains_itself_and_inverts(ratios, random):
    estimate = geometric_mean(ratios)
    inverse = geometric_mean([1 / ratio for ratio in ratios])
    assert inverse.value == pytest.approx(1 / estimate.value, rel=1e-9)
    assert min(ratios) * (1 - 1e-9) <= estimate.value <= max(ratios) * (1 + 1e-9)
    if len(ratios) > 1:
        assert estimate.low <= estimate.value <= estimate.high
    else:
        assert (estimate.low, estimate.high) == (None, None)
    random.shuffle(ratios)
    assert geometric_mean(ratios) == estimate


@pytest.mark.parametrize("bad", [[], [1.0, 0.0], [1.0, -2.0], [math.nan]])
def test_geometric_mean_refuses_what_is_no_ratio(bad):
    with pytest.raises(ValueError):
        geometric_mean(bad)
