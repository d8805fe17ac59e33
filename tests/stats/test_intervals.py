"""The intervals: against scipy and the exact binomial, and by their own simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from bpfbench.stats import intervals

RNG = np.random.default_rng(7)
POSITIVE = st.floats(1e-3, 1e9)


@pytest.mark.parametrize("n", [7, 8, 9, 10, 12, 15, 30, 31, 64, 100, 1500])
def test_median_interval_is_that_of_hettmansperger_and_sheather(n):
    ordered = np.sort(RNG.lognormal(0, 0.3, n))
    expected = oracle.mstats.median_cihs(ordered, alpha=1 - intervals.LEVEL)
    assert intervals.median_interval(ordered) == pytest.approx(tuple(expected), rel=1e-12)


@pytest.mark.parametrize("n", [7, 9, 20, 53, 100])
def test_median_interval_lies_within_the_exact_one(n):
    ordered = np.sort(RNG.exponential(1, n))
    exact = oracle.quantile_test(ordered, q=0, p=0.5).confidence_interval(intervals.LEVEL)
    low, high = intervals.median_interval(ordered)
    assert exact.low <= low < high <= exact.high


def test_least_is_the_smallest_number_whose_range_covers_the_median_often_enough():
    for n in range(1, 12):
        covered = 1 - 2 * oracle.binom.pmf(0, n, 0.5)
        ordered = np.arange(float(n))
        assert (intervals.median_interval(ordered) is not None) == (covered >= intervals.LEVEL)
        assert (intervals.mean_interval(ordered, float(ordered.mean()), 1.0) is None) == (n < intervals.LEAST)


@pytest.mark.parametrize("n", [7, 9, 12, 40])
@pytest.mark.parametrize("name", ["exponential", "lognormal", "standard_normal"])
def test_median_interval_covers_at_every_fixed_number(n, name):
    rng = np.random.default_rng(n)
    truth = {"exponential": math.log(2), "lognormal": 1.0, "standard_normal": 0.0}[name]
    hits = 0
    for values in np.sort(getattr(rng, name)(size=(1500, n)), axis=1):
        low, high = intervals.median_interval(values)
        hits += low <= truth <= high
    # 97 % nominal; 1500 draws have a standard error of 0.44 %. Wider than that would be wasteful, too.
    assert 0.955 <= hits / 1500 <= 0.985


@pytest.mark.parametrize("n", [9, 25])
def test_bootstrap_ratios_are_those_of_scipy(n):
    values = np.sort(np.random.default_rng(3).exponential(1, n))
    centred = values - values.mean()

    def ratio(sample, axis):
        return sample.mean(axis=axis) / (sample.std(axis=axis, ddof=1) / math.sqrt(n))

    theirs = oracle.bootstrap(
        (centred,), ratio, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).bootstrap_distribution
    ours = intervals.bootstrap_ratios(centred)
    tail = (1 - intervals.LEVEL) / 2
    for probability in (tail, 0.1, 0.25, 0.5, 0.75, 0.9, 1 - tail):
        error = 3 * math.sqrt(probability * (1 - probability) / ours.size)
        low, high = np.quantile(theirs, [max(probability - error, 0), probability + error])
        assert low <= np.quantile(ours, probability) <= high


def test_mean_interval_covers_where_students_does_not():
    rng = np.random.default_rng(5)
    ours = students = 0
    for values in np.sort(rng.exponential(1, (800, 9)), axis=1):
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        low, high = intervals.mean_interval(values, mean, sd)
        ours += low <= 1 <= high
        theirs = oracle.t.interval(intervals.LEVEL, 8, mean, sd / 3)
        students += theirs[0] <= 1 <= theirs[1]
    assert ours / 800 >= 0.94
    assert students < ours


@pytest.mark.parametrize("n", [200, 1000, 1001, 5000])
def test_mean_interval_approaches_the_normal_one(n):
    values = np.sort(np.random.default_rng(n).normal(100, 5, n))
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    expected = oracle.norm.interval(intervals.LEVEL, mean, sd / math.sqrt(n))
    low, high = intervals.mean_interval(values, mean, sd)
    assert (low, high) == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))


@pytest.mark.parametrize("values", [[5.0] * 8 + [6.0], [4.0] + [5.1] * 8, [0.1] * 20 + [0.3]])
def test_mean_interval_knows_both_sides_when_most_resamples_have_one_value_only(values):
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    students = oracle.t.interval(intervals.LEVEL, len(values) - 1, mean, sd / math.sqrt(len(values)))
    low, high = intervals.mean_interval(np.array(values), mean, sd)
    assert low <= students[0] + 1e-12 and students[1] - 1e-12 <= high
    assert high - low < 10 * (students[1] - students[0])


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 16, 29, 120])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95, 0.999])
def test_student_quantile_is_that_of_scipy(freedom, probability):
    expected = oracle.t.ppf((1 + probability) / 2, freedom)
    assert intervals.student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)


@given(st.lists(POSITIVE, min_size=1, max_size=60))
def test_middle_is_the_median(values):
    assert intervals.middle(np.sort(values)) == pytest.approx(float(np.median(values)), rel=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_checked_names_the_value_it_refuses(bad):
    with pytest.raises(ValueError, match=r"times\[2\]"):
        intervals.checked([1.0, 2.0, bad], "times")


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], 3.0])
def test_checked_refuses_what_is_not_a_list_of_numbers(bad):
    with pytest.raises(ValueError, match="non-empty list"):
        intervals.checked(bad)
