"""Summaries: against scipy and numpy, their symmetries, and the edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from bpfbench.stats.intervals import LEAST
from bpfbench.stats.summary import Summary, summarise

VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=40)
PLACES = (
    "mean",
    "median",
    "minimum",
    "maximum",
    "p5",
    "p95",
    "median_low",
    "median_high",
    "mean_low",
    "mean_high",
)


@pytest.mark.parametrize("n", [2, 7, 8, 25, 100])
def test_against_scipy_and_numpy(n):
    values = np.random.default_rng(n).lognormal(3, 0.4, n)
    summary = summarise(values)
    assert summary.n == n
    assert summary.mean == pytest.approx(values.mean())
    assert summary.sd == pytest.approx(oracle.tstd(values))
    assert summary.median == pytest.approx(np.median(values))
    assert summary.mad == pytest.approx(oracle.median_abs_deviation(values))
    assert (summary.minimum, summary.maximum) == (values.min(), values.max())
    p5, p95 = oracle.mstats.mquantiles(values, [0.05, 0.95], alphap=1, betap=1)
    assert (summary.p5, summary.p95) == pytest.approx((p5, p95))


def test_outliers_are_found_by_the_modified_z_score_and_kept():
    values = np.random.default_rng(1).normal(100, 2, 30)
    values[[4, 17]] = 160, 30
    summary = summarise(values)
    scores = 0.6745 * np.abs(values - np.median(values)) / oracle.median_abs_deviation(values)
    assert {4, 17} <= set(summary.outliers) == set(np.flatnonzero(scores > 3.5))
    assert (summary.n, summary.minimum, summary.maximum) == (30, 30, 160)


def test_an_outlier_among_equal_values_is_found():
    assert summarise([5.0] * 9 + [9.0]).outliers == (9,)


def test_where_most_values_are_equal_the_others_are_not_outliers_for_that():
    values = [5.0] * 10 + [5.1] * 4 + [4.9] * 4
    assert summarise(values).mad == 0
    assert summarise(values).outliers == ()
    assert summarise([*values, 6.0]).outliers == (18,)


def test_one_value_has_no_spread_and_no_interval():
    summary = summarise([3.5])
    assert summary == Summary(1, 3.5, None, 3.5, 0.0, 3.5, 3.5, 3.5, 3.5, None, None, None, None, ())


def test_too_few_values_have_no_interval():
    summary = summarise([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert summary.sd is not None
    assert {summary.median_low, summary.median_high, summary.mean_low, summary.mean_high} == {None}


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e149])
@pytest.mark.parametrize("n", [2, LEAST, 10])
def test_equal_values_are_exact(value, n):
    summary = summarise([value] * n)
    assert (summary.mean, summary.sd, summary.median, summary.mad, summary.outliers) == (
        value,
        0,
        value,
        0,
        (),
    )
    if n >= LEAST:
        ends = summary.median_low, summary.median_high, summary.mean_low, summary.mean_high
        assert ends == (value,) * 4


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [-math.inf, 1.0]])
def test_what_is_no_sample_is_refused(bad):
    with pytest.raises(ValueError):
        summarise(bad)


@given(VALUES)
def test_intervals_contain_what_they_are_intervals_of(values):
    summary = summarise(values)
    assert summary.minimum <= summary.mean <= summary.maximum
    assert summary.minimum <= summary.p5 <= summary.p95 <= summary.maximum
    if len(values) >= LEAST:
        assert (
            summary.minimum <= summary.median_low <= summary.median <= summary.median_high <= summary.maximum
        )
        assert summary.mean_low <= summary.mean <= summary.mean_high


@given(VALUES, st.randoms(use_true_random=False))
def test_order_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    before, after = summarise(values), summarise([values[i] for i in order])
    assert {order[i] for i in after.outliers} == set(before.outliers)
    assert [getattr(before, f) for f in (*PLACES, "n", "sd", "mad")] == [
        getattr(after, f) for f in (*PLACES, "n", "sd", "mad")
    ]


@given(VALUES, st.sampled_from([2.0**-20, 0.5, 4.0, 1024.0]))
def test_another_unit_changes_nothing_else(values, factor):
    before, after = summarise(values), summarise([value * factor for value in values])
    assert after.outliers == before.outliers
    for field in (*PLACES, "sd", "mad"):
        old, new = getattr(before, field), getattr(after, field)
        assert new == (None if old is None else pytest.approx(old * factor, rel=1e-9, abs=1e-300)), field


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=30), st.integers(-1000, 1000))
def test_an_offset_moves_every_place_and_no_spread(values, offset):
    before, after = summarise(values), summarise([value + offset for value in values])
    for field in PLACES:
        old = getattr(before, field)
        assert getattr(after, field) == (None if old is None else pytest.approx(old + offset, abs=1e-6)), (
            field
        )
    assert after.sd == pytest.approx(before.sd, abs=1e-6)
    assert after.mad == pytest.approx(before.mad, abs=1e-9)


@given(VALUES)
def test_the_same_values_give_the_same_summary(values):
    assert summarise(values) == summarise(np.array(values))
