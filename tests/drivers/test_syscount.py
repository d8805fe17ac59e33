"""Counts of system calls held against others' counts."""

import os

from hypothesis import given
from hypothesis import strategies as st

from bpfbench.drivers import syscount

CALLS = st.dictionaries(st.integers(0, 400), st.integers(1, 10**6), max_size=20)


def test_the_first_comparison_that_does_not_hold_is_the_proof():
    proof = syscount.first_wrong({"a": (3, 3), "b": (4, 5), "c": (6, 7)})
    assert (proof.kind, proof.expected, proof.observed, proof.holds) == ("b", 4, 5, False)


def test_comparisons_that_all_hold_make_one_proof():
    proof = syscount.first_wrong({"a": (3, 3), "b": (4, 4)})
    assert (proof.expected, proof.observed, proof.holds) == (7, 7, True)


def test_errors_that_cancel_out_are_no_proof():
    assert not syscount.first_wrong({"a": (3, 4), "b": (4, 3)}).holds


@given(CALLS, CALLS)
def test_what_differs_is_told_by_number_and_nothing_else(counted, expected):
    found = syscount.different(counted, expected)
    assert bool(found) == (counted != expected)
    for number, (one, other) in found.items():
        assert (one, other) == (counted.get(number, 0), expected.get(number, 0))
        assert one != other


def test_calls_that_read_and_calls_that_write_are_known_by_number():
    calls = {0: 1, 17: 2, 20: 4, 40: 8, 257: 16}  # read, pread64, writev, sendfile, openat
    assert (syscount.some(calls, syscount.READS), syscount.some(calls, syscount.WRITES)) == (11, 12)


def test_the_kernel_accounts_reads_and_writes_of_files_to_the_thread_that_makes_them():
    before = syscount.account_of(os.getpid())
    read, write = os.pipe()
    for _ in range(5):
        os.write(write, b"x")
        os.read(read, 1)
    after = syscount.account_of(os.getpid())
    os.close(read)
    os.close(write)
    assert after["syscw"] - before["syscw"] == 5
    assert after["syscr"] - before["syscr"] >= 5  # reading the account is a read itself
