"""Numbers carry the digits that their interval carries, and no others."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.report import numbers
from bpfbench.report.numbers import MINUS, THIN

POSITIVE = st.floats(1e-6, 1e12)


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (858.2, (846.3, 869.9), "858 ± 12"),
        (12.04, (11.9, 12.18), "12.04 ± 0.14"),
        (1905.0, (1893.0, 1910.0), f"1{THIN}905 ± 12"),
        (12225.93, (11000.0, 13000.0), f"12{THIN}200 ± 1{THIN}200"),
        (1.5296, (1.527, 1.5329), "1.5296 ± 0.0033"),
        (48.4, (48.0, 48.8), "48.4 ± 0.4"),
        (-0.5, (-2.0, 1.0), f"{MINUS}0.5 ± 1.5"),
        (0.001, (-4.0, 4.0), "0 ± 4"),
        (5.0, (5.0, 5.0), "5.00 ± 0.00"),
        (0.0, (0.0, 0.0), "0 ± 0"),
    ],
)
def test_plus_minus(value, interval, text):
    assert numbers.plus_minus(value, interval) == text


@given(value=POSITIVE, below=st.floats(2e-3, 0.9), above=st.floats(2e-3, 0.9))
def test_plus_minus_says_what_it_was_given(value, below, above):
    low, high = value * (1 - below), value * (1 + above)
    text = numbers.plus_minus(value, (low, high), thousands="").replace(MINUS, "-")
    shown, error = (float(part) for part in text.split(" ± "))
    true_error = max(value - low, high - value)
    assert error == pytest.approx(true_error, rel=0.15)
    assert abs(shown - value) <= 0.15 * true_error
    assert len(re.sub(r"^0*", "", text.split(" ± ")[1].replace(".", "").lstrip("0")).rstrip("0")) <= 2


def test_no_more_than_five_digits_however_well_a_value_repeats():
    assert numbers.plus_minus(1.353335, (1.353333, 1.353361)) == "1.3533 ± 0.0001"
    assert numbers.span(1.353335, (1.353333, 1.353361)) == "1.3533–1.3534"


@given(value=st.floats(-1e15, 1e15), decimals=st.integers(-3, 9))
def test_thousands_are_only_separated(value, decimals):
    plain = numbers.fixed(value, decimals, thousands="")
    assert numbers.fixed(value, decimals).replace(THIN, "") == plain
    assert math.isclose(float(plain.replace(MINUS, "-")), round(value, decimals), abs_tol=1e-9)


@pytest.mark.parametrize(
    ("value", "interval", "unit", "text"),
    [
        (858.0, (846.0, 870.0), "ns", f"858{THIN}ns"),
        (12_000.0, (11_900.0, 12_100.0), "ns", f"12.00{THIN}µs"),
        (12_000.0, (11_100.0, 12_900.0), "ns", f"12.0{THIN}µs"),
        (2_500_000.0, None, "us", f"2.50{THIN}s"),
        (350.0, None, "req/s", f"350{THIN}req/s"),
        (7.0, None, "1", "7.00"),
    ],
)
def test_quantity_has_its_unit_once(value, interval, unit, text):
    assert numbers.quantity(value, interval, unit) == text


def test_negative_spans_do_not_read_like_a_subtraction():
    assert numbers.span(1.0, (-3.0, 4.0)) == f"{MINUS}3 to 4"
    assert numbers.span(858.0, (846.0, 870.0)) == "846–870"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (3.21, "3.2 s"), (60, "1 min"), (200, "3 min 20 s"), (3661, "1 h 1 min 1 s")],
)
def test_duration(seconds, text):
    assert numbers.duration(seconds) == text
