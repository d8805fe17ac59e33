import enum
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfbench.errors import BenchError
from bpfbench.store.keys import ID, Change, changes, make_key

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
components = st.dictionaries(st.text(), values, max_size=5)


def shuffled(value):
    """The same mapping written down in the opposite order, lists as tuples."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return tuple(map(shuffled, value)) if isinstance(value, list) else value


@settings(max_examples=50, deadline=None)
@given(components)
def test_order_and_sequence_type_do_not_matter(parts):
    assert make_key("a", parts) == make_key("a", shuffled(parts))


@settings(max_examples=50, deadline=None)
@given(components, components)
def test_keys_differ_exactly_when_there_are_changes(one, other):
    assert (make_key("a", one).digest == make_key("a", other).digest) == (not changes(one, other))


@settings(max_examples=50, deadline=None)
@given(components)
def test_components_survive_json(parts):
    key = make_key("a", parts)
    again = make_key("a", json.loads(json.dumps(key.components)))
    assert again == key and changes(key.components, again.components) == []


def test_the_digest_never_changes_by_accident():
    # Taken by hand, with sha256sum: {"components":{"b":[1,2.5,"\u00e9"]},"format":1,"name":"a"}
    key = make_key("a", {"b": [1, 2.5, "é"]})
    assert key.digest == "d665c540b0dd86a374811e3cf22d89fe6dd3dd07b7cc9a3d87a9c521678e611c"
    assert key.id == key.digest[:32] + "-a"
    assert ID.fullmatch(key.id)


def test_the_name_is_part_of_the_key():
    assert make_key("a", {}).digest != make_key("b", {}).digest


def test_a_key_does_not_change_with_what_it_was_made_from():
    parts = {"flags": ["-O2"]}
    key = make_key("a", parts)
    parts["flags"].append("-g")
    assert key.components == {"flags": ["-O2"]}


def test_equal_keys_can_be_looked_up():
    assert make_key("a", {"x": [1]}) in {make_key("a", {"x": (1,)})}


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), b"bytes", {1, 2}, object(), {1: "a"}, Colour.RED], ids=repr
)
def test_what_has_no_stable_form_is_refused_by_path(value):
    with pytest.raises(BenchError, match=r"a\.options\.flags\[1\]"):
        make_key("a", {"options": {"flags": ["-O2", value]}})


def test_true_is_not_one_and_one_is_not_one_point_nought():
    assert len({make_key("a", {"x": value}) for value in (True, 1, 1.0, "1", None)}) == 5


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a b", "-a", "a\n", "x" * 151, "ä"])
def test_names_that_cannot_be_directories_are_refused(name):
    with pytest.raises(BenchError, match="cannot name a store item"):
        make_key(name, {})


def test_changes_name_the_nested_component():
    before = {"tools": {"clang": "14.0", "gcc": "12"}, "flags": ["-O2"], "gone": {"deep": 1}}
    after = {"tools": {"clang": "15.0", "gcc": "12"}, "flags": ["-O3"], "new": False}
    assert changes(before, after) == [
        Change("flags", ["-O2"], ["-O3"]),
        Change("gone", {"deep": 1}, None),
        Change("new", None, False),
        Change("tools.clang", "14.0", "15.0"),
    ]


def test_a_list_or_a_tuple_and_order_are_no_changes():
    assert changes({"a": [1], "b": {"x": 1, "y": 2}}, {"b": {"y": 2, "x": 1}, "a": (1,)}) == []
