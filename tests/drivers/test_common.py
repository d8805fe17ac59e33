from pathlib import Path

import pytest

from bpfbench.drivers.common import FIRST_INSTRUCTIONS, Garbled, environment, fields_of, first_instruction


@pytest.mark.parametrize(("code", "name"), FIRST_INSTRUCTIONS.items())
def test_instructions_are_known_by_their_leading_bytes(code, name):
    assert first_instruction(code + "c3") == name


@pytest.mark.parametrize("code", ["", "c3", "4889", "f30f1e"])
def test_other_bytes_have_no_name(code):
    assert first_instruction(code) == "unknown"


def test_the_environment_is_whole_and_its_places_are_filled_in():
    extra = {"LD_PRELOAD": "{package:embedded}/lib.so", "SHM": "{segment}:{work}", "PLAIN": "x"}
    found = environment(extra, Path("/w"), {"embedded": Path("/store/e")}, "seg1")
    assert found["LD_PRELOAD"] == "/store/e/lib.so"
    assert found["SHM"] == "seg1:/w"
    assert found["PLAIN"] == "x"
    assert {"PATH", "HOME", "LANG"} <= found.keys()
    assert len(found) == len(extra) + 3


def test_a_place_that_nobody_knows_is_no_empty_string():
    with pytest.raises(KeyError, match="nowhere"):
        environment({"X": "{nowhere}"}, Path("/w"), {}, "s")


@pytest.mark.parametrize("body", ["{", "[]", "3", "null", "{}x"])
def test_what_is_no_object_is_garbled_and_the_line_is_shown(body):
    with pytest.raises(Garbled, match="READY"):
        fields_of(f"READY {body}", body)


def test_a_missing_field_is_named():
    with pytest.raises(Garbled, match="'pid' is missing"):
        fields_of('READY {"a": 1}', '{"a": 1}')["pid"]
