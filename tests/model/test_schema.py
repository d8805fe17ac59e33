from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bpfbench.model.problems import SpecErrors, field_name, nearest, one_of
from bpfbench.model.schema import read_schema, validate
from bpfbench.model.tree import SCHEMAS
from bpfbench.model.units import fraction, seconds
from bpfbench.model.yaml import parse

FOLDER = Path(__file__).parents[2] / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_its_draft_and_says_its_name_and_version(name):
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:bpfbench:spec:{name}:{schema['version']}"


def values(schema: dict, where: str) -> Iterator[tuple[str, dict]]:
    """Yield every schema of a value below a schema."""
    yield where, schema
    for key in ("properties",):
        for name, inner in schema.get(key, {}).items():
            if isinstance(inner, dict):
                yield from values(inner, f"{where}.{name}")
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(key), dict):
            yield from values(schema[key], f"{where}/{key}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_value_says_in_words_what_is_expected(name):
    schema = read_schema((FOLDER / f"{name}.json").read_bytes(), name)
    silent = [where for where, inner in values(dict(schema), name) if not inner.get("x-expected")]
    assert silent == []


def problems(text: str, **schema: object) -> list[str]:
    read = read_schema(json.dumps({"type": "object", **schema}).encode(), "s.json")
    return [str(problem) for problem in validate(parse(text, "f.yaml"), read)]


def test_words_beside_a_reference_come_before_those_of_the_definition():
    schema = {
        "$defs": {"n": {"type": "integer", "x-expected": "a number"}},
        "properties": {"a": {"$ref": "#/$defs/n", "x-expected": "how many"}, "b": {"$ref": "#/$defs/n"}},
    }
    assert problems("a: x\nb: y\n", **schema) == [
        'f.yaml:1:4: a: found the text "x"\n    expected how many',
        'f.yaml:2:4: b: found the text "y"\n    expected a number',
    ]


def test_whole_numbers_are_written_whole_and_patterns_end_where_the_text_ends():
    schema = {"properties": {"a": {"type": "integer"}, "b": {"pattern": "^x$"}}}
    assert problems("a: 1\nb: x\n", **schema) == []
    assert len(problems('a: 1.0\nb: "x\\n"\n', **schema)) == 2


@pytest.mark.parametrize("text", ['{"properties": {"a": {"$ref": "#/$defs/n"}}}', '{"$ref": "#/$defs/n"}'])
def test_a_reference_that_leads_nowhere_or_round_is_refused(text):
    with pytest.raises(SpecErrors, match=r"s\.json"):
        read_schema(text.encode(), "s.json")
    looped = {**json.loads(text), "$defs": {"n": {"$ref": "#/$defs/n"}}}
    with pytest.raises(SpecErrors, match=r"s\.json"):
        read_schema(json.dumps(looped).encode(), "s.json")


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]))
def test_durations_are_a_number_and_a_unit(number, unit):
    name, factor = unit
    assert seconds(f"{number}{name}") == (pytest.approx(number * factor) if number else None)
    assert seconds(f"{number}.5{name}") == pytest.approx((number + 0.5) * factor)


@given(st.text(max_size=8))
def test_what_is_no_duration_or_percentage_is_none(text):
    if not text.endswith(("s", "m", "h")):
        assert seconds(text) is None
    if not text.endswith("%"):
        assert fraction(text) is None


def test_percentages_are_fractions():
    assert (fraction("3%"), fraction("2.5%"), fraction("0%"), fraction("100%")) == (0.03, 0.025, None, None)


@given(st.lists(st.from_regex(r"[a-z][a-z0-9_-]{2,8}", fullmatch=True), min_size=1, unique=True))
def test_the_nearest_name_of_a_valid_name_is_itself_or_its_twin(names):
    for name in names:
        near = nearest(name, names)
        assert near is not None
        assert near.replace("_", "-") == name.replace("_", "-")


def test_names_that_nothing_is_near_to_get_no_suggestion():
    assert nearest("kernel", ["xyz", "quick"]) is None
    assert nearest("Kernal", ["kernel", "native"]) == "kernel"


def test_a_long_list_of_names_is_cut_and_says_so():
    assert one_of(["b", "a"]) == "one of: a, b"
    assert one_of(f"n{i:02}" for i in range(25)).endswith("n19, … (5 more)")


def test_fields_are_written_as_people_write_them():
    assert field_name(("cases", 3, "divisor")) == "cases[3].divisor"
    assert field_name(("params", "a b", 0)) == 'params["a b"][0]'
