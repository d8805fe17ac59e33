"""The stop rule: widths, and when they are narrow enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.stats.intervals import LEAST
from bpfbench.stats.stopping import narrow, relative_half_width
from bpfbench.stats.summary import summarise

POSITIVE = st.lists(st.floats(1e-3, 1e9), min_size=LEAST, max_size=50)


@given(POSITIVE)
def test_the_width_is_that_of_the_summarys_interval(values):
    summary = summarise(values)
    expected = (summary.median_high - summary.median_low) / 2 / summary.median
    assert relative_half_width(values) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(POSITIVE, st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_unit_and_order_do_not_matter(values, factor, random):
    width = relative_half_width(values)
    assert relative_half_width([value * factor for value in values]) == pytest.approx(
        width, rel=1e-9, abs=1e-12
    )
    random.shuffle(values)
    assert relative_half_width(values) == width


def test_the_sign_does_not_matter():
    values = np.random.default_rng(0).normal(10, 1, 20)
    assert relative_half_width(-values) == pytest.approx(relative_half_width(values))


def test_too_few_values_are_infinitely_wide():
    assert relative_half_width([5.0] * (LEAST - 1)) == math.inf
    assert relative_half_width([5.0] * LEAST) == 0.0


def test_around_zero_no_width_is_relative():
    assert relative_half_width([-4, -3, -2, -1, 0, 1, 2, 3, 4]) == math.inf
    assert relative_half_width([0.0] * 9) == 0.0


def test_narrow_needs_both_number_and_width():
    values = np.random.default_rng(2).normal(100, 3, 40)
    width = relative_half_width(values)
    assert narrow(values, width, 40)
    assert not narrow(values, width, 41)
    assert not narrow(values, width * 0.999, 40)


def test_narrow_never_accepts_fewer_than_an_interval_needs():
    assert not narrow([5.0] * (LEAST - 1), 0.5, 1)
    assert narrow([5.0] * LEAST, 0.5, 1)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf] * 9])
def test_what_is_no_sample_is_refused(bad):
    with pytest.raises(ValueError):
        relative_half_width(bad)
    with pytest.raises(ValueError):
        narrow(bad, 0.03, 7)
