"""Whether an arm is protected is read from what the kernel tells of the target's memory."""

import pytest

from bpfbench.drivers.mpk_pair import key_of, unprotected

HEAD = "7f0000000000-7f0000100000 rw-s 00000000 00:1a 77                         {path}\nSize:               1024 kB\n"
OTHER = HEAD.replace("7f0000000000", "7e0000000000").format(path="/usr/lib/libc.so.6") + "ProtectionKey:         9\nVmFlags: rd mr\n"


def mapping(path, key):
    return HEAD.format(path=path) + ("" if key is None else f"ProtectionKey:         {key}\n") + "VmFlags: rd wr sh\n"


def test_the_key_is_that_of_the_shared_memory_and_of_nothing_else():
    assert key_of(OTHER + mapping("/dev/shm/embedded.mine", 3) + OTHER, "mine") == 3


def test_a_mapping_without_a_key_is_not_protected_by_another_that_has_one():
    assert key_of(mapping("/dev/shm/embedded.mine", 3) + mapping("/dev/shm/embedded.mine", 0), "mine") == 0


@pytest.mark.parametrize("smaps", [mapping("/dev/shm/embedded.mine", None), mapping("/dev/shm/embedded.mine", 0)])
def test_no_key_told_is_no_key(smaps):
    assert key_of(smaps + OTHER, "mine") == 0


def test_memory_that_is_not_mapped_has_no_answer():
    assert key_of(OTHER, "mine") is None


def test_a_protection_counts_when_its_key_is_the_kernel_s_and_a_write_without_it_faulted():
    assert unprotected({"key": 3, "forbidden_write": "faulted"}, 3) is None


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "says nothing of a key"),
        ({"key": 4, "forbidden_write": "faulted"}, "the agent's key is 4, the kernel shows 3"),
        ({"key": 3}, "has not seen a forbidden write fault"),
        ({"key": 3, "forbidden_write": "went through"}, "has not seen a forbidden write fault"),
    ],
)
def test_what_is_missing_in_a_protection_is_said(told, words):
    assert words in unprotected(told, 3)
