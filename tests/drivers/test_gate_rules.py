"""The file of rules and the matrix by which a gate is judged."""

import struct
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.drivers.gate_rules import LONGEST, MOST, Rules, allowed, matrix, packed

PREFIXES = st.lists(st.from_regex(r"(/[a-z]{1,4}){1,4}/?", fullmatch=True), min_size=1, max_size=MOST)


def read(file):
    """Read the file as workloads/nginx_module/gate.h lays it out."""
    data = file.read_bytes()
    generation, count = struct.unpack_from("<QI", data)
    rules = [struct.unpack_from(f"<I{LONGEST}s", data, 12 + index * (4 + LONGEST)) for index in range(count)]
    return generation, [prefix[:length].decode() for length, prefix in rules], len(data)


@given(PREFIXES, PREFIXES)
def test_what_is_written_is_what_is_read(tmp_path_factory, first, second):
    file = tmp_path_factory.mktemp("rules") / "rules"
    rules = Rules(file, first)
    before, found, size = read(file)
    assert (before % 2, found) == (0, first)
    rules.change(second)
    assert read(file) == (before + 2, second, size)


def test_too_many_or_too_long_rules_are_refused():
    with pytest.raises(ValueError, match="at most 16"):
        packed(["/a"] * (MOST + 1))
    with pytest.raises(ValueError, match="28 bytes"):
        packed(["/" + "a" * LONGEST])


@given(PREFIXES)
def test_the_matrix_has_both_outcomes_and_its_meanings_are_the_servers(prefixes):
    tries = matrix(prefixes)
    assert {allowed(meant, prefixes) for _, meant in tries} == {True, False}
    for asked, meant in tries:
        assert normalised(asked) == normalised(meant)


def normalised(path):
    """What a server takes a path for: no arguments, no encoding, one slash at a time, no way back."""
    parts = []
    path = unquote(path.partition("?")[0])
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if path.endswith("/") and parts else "")
