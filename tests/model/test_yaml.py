from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bpfbench.model import yaml as ours
from bpfbench.model.problems import SpecErrors
from bpfbench.model.types import Location
from bpfbench.model.yaml import Document, parse


def problems(text: str | bytes) -> list[tuple[int, int, str, str]]:
    with pytest.raises(SpecErrors) as caught:
        parse(text, "f.yaml")
    return [(e.location.line, e.location.column, e.field, e.message) for e in caught.value.errors]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-0.0", -0.0),
        ("2.", 2.0),
        ("9223372036854775807", 2**63 - 1),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("Off", "Off"),
        ("True", "True"),
        ("NULL", "NULL"),
        ("017", "017"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("4m", "4m"),
        ("3%", "3%"),
        ('"true"', "true"),
        ("'12'", "12"),
        ('"\\u00e9"', "é"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_scalars_are_what_yaml_1_2_and_nothing_more_makes_of_them(text, value):
    data = parse(f"key: {text}", "f.yaml").data
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "field", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "a", "given twice"),
        ("a:\n  - {x: 1, x: 2}\n", 2, 12, "a[0].x", "given twice"),
        ("a: &x 1\n", 1, 4, "a", "the anchor"),
        ("a: 1\nb: *x\n", 2, 4, "b", "the alias"),
        ("a: &x [1]\nb: *x\n", 2, 4, "b", "the alias"),
        ("<<: {a: 1}\n", 1, 1, "", "a merge key"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, 4, "a", "the tag"),
        ("a: !x 1\n", 1, 4, "a", "the tag"),
        ("a: ! 1\n", 1, 4, "a", "the tag"),
        ("12: a\n", 1, 1, "", "a key that is not text"),
        ("x:\n  ? [a]\n  : 1\n", 2, 5, "x", "a key that is not text"),
        ("null: a\n", 1, 1, "", "a key that is not text"),
        ("a: 1\n---\nb: 2\n", 2, 1, "", "a second YAML document"),
        ("a: 1\n\tb: 2\n", 2, 1, "", "not valid YAML"),
        ("a: [1,\n", 2, 1, "", "not valid YAML"),
        ("a: 'x\n", 2, 1, "", "not valid YAML"),
        ("a: b: c\n", 1, 5, "", "not valid YAML"),
        ("a: @x\n", 1, 4, "", "not valid YAML"),
        ("a: 9223372036854775808\n", 1, 4, "a", "a number that is too large"),
        ("a: 1e999\n", 1, 4, "a", "a number that is too large"),
        ("a: " + "9" * 5000 + "\n", 1, 4, "a", "a number that is too large"),
        ("a: 1\nb: \x00\n", 2, 4, "", "the character U+0000"),
        ("a: é\u2028b: 1\n", 1, 5, "", "the character U+2028"),
    ],
)
def test_what_is_refused_is_located(text, line, column, field, message):
    found = problems(text)
    assert any(at[:3] == (line, column, field) and message in at[3] for at in found), found


@pytest.mark.parametrize("escape", ["\\ud800", "\\U00110000", "\\ud83d\\ude00"])
def test_an_escape_that_is_no_character_is_refused(escape):
    assert problems(f'a: "{escape}"\n')[0][0] == 1


def test_bytes_that_are_not_utf8_are_located():
    assert problems("a: 1\nbé: ".encode() + b"\xff\n") == [(2, 5, "", "the byte 0xff is not valid UTF-8")]
    assert problems("a: 1\n".encode("utf-16"))[0][:2] == (1, 1)


def test_a_byte_order_mark_at_the_start_changes_nothing():
    document = parse(b"\xef\xbb\xbfa: 1\n", "f.yaml")
    assert (document.data, document.key(("a",))) == ({"a": 1}, Location("f.yaml", 1, 1))


def test_too_much_is_refused():
    assert "bytes" in problems("a: " + "x" * ours.MOST_BYTES)[0][3]
    assert "deep" in problems("[" * 100_000)[0][3]
    assert "deep" in problems("".join("  " * i + "a:\n" for i in range(40)) + "  " * 40 + "b")[0][3]
    assert parse("[" * 31 + "]" * 31, "f.yaml").data is not None


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert all("anchor" in at[3] or "alias" in at[3] for at in problems("\n".join(lines)))


def test_several_problems_are_told_together_and_those_before_a_syntax_error_too():
    assert [at[:2] for at in problems("a: &x 1\na: 2\nb: !t 3\n")] == [(1, 4), (2, 1), (3, 4)]
    assert [at[:2] for at in problems("a: &x 1\nb: [\n")] == [(1, 4), (3, 1)]


def test_a_place_without_a_value_falls_back_on_what_surrounds_it():
    document = parse("a:\n  - b: 1\n", "f.yaml")
    assert document.value(("a", 0, "c", 2)) == Location("f.yaml", 2, 5)
    assert document.value(("a",)) == document.key(("a",)) == Location("f.yaml", 1, 1)
    assert document.get(("a", 0, "b")) == 1
    assert document.get(("a", 7, "b")) is None


# --- properties ---------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
CHOICES = st.lists(st.integers(0, 5), min_size=10, max_size=80)
KEYS = st.text(string.ascii_letters + "é☃_-", min_size=1, max_size=6).filter(lambda key: key not in "~-")


class Emitter:
    """Writes plain data as YAML, in flow and block style as it is told, and notes where everything went."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = choices
        self.text = ""
        self.keys: dict[tuple, tuple[int, int]] = {}
        self.values: dict[tuple, tuple[int, int]] = {}

    def choose(self, most: int) -> int:
        choice = self.choices.pop() if self.choices else 0
        return choice % most

    def here(self) -> tuple[int, int]:
        return self.text.count("\n") + 1, len(self.text) - self.text.rfind("\n")

    def quoted(self, text: str) -> str:
        raw = string.ascii_letters + string.digits + " é☃_-:#"
        return '"' + "".join(c if c in raw else f"\\U{ord(c):08x}" for c in text) + '"'

    def write(self, data: object, path: tuple = (), indent: int = 0) -> None:
        if isinstance(data, dict | list) and data and self.choose(3):
            self.block(data, path, indent)
        else:
            self.values[path] = self.here()
            self.flow(data, path, indent)

    def flow(self, data: object, path: tuple, indent: int) -> None:
        self.values[path] = self.here()
        if isinstance(data, dict | list):
            start, end = "{}" if isinstance(data, dict) else "[]"
            self.text += start + " " * self.choose(3)
            for step, inner in data.items() if isinstance(data, dict) else enumerate(data):
                if isinstance(data, dict):
                    self.key(step, path)
                self.flow(inner, (*path, step), indent)
                self.text += "," + ("\n" + " " * (indent + 3) if self.choose(3) == 1 else " ")
            self.text += end
        else:
            plain = {None: "~", True: "true", False: "false"}
            simple = data if isinstance(data, bool) or data is None else self
            self.text += plain[simple] if simple is not self else (
                self.quoted(data) if isinstance(data, str) else repr(data)
            )  # fmt: skip

    def key(self, key: str, path: tuple) -> None:
        self.keys[*path, key] = self.here()
        plain = key.isascii() and key.isalpha() and key not in {"true", "false", "null"}
        self.text += (key if plain else self.quoted(key)) + ": "

    def block(self, data: dict | list, path: tuple, indent: int) -> None:
        if path:
            self.text += "# remark\n" * self.choose(2) if self.text.endswith("\n") else "\n"
        for number, (step, inner) in enumerate(data.items() if isinstance(data, dict) else enumerate(data)):
            self.text += " " * indent
            if not number:
                self.values[path] = self.here()
            if isinstance(data, dict):
                self.key(step, path)
            else:
                self.text += "- "
            self.write(inner, (*path, step), indent + 2 + self.choose(3))
            self.text += "" if self.text.endswith("\n") else "\n" * (1 + self.choose(2))


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


@given(PLAIN, CHOICES)
def test_plain_data_comes_back_with_the_place_of_every_key_and_value(data, choices):
    emitter = Emitter(choices)
    emitter.write(data)
    document = parse(emitter.text, "f.yaml")
    assert same(document.data, data)
    assert dict(document.keys) == emitter.keys
    assert dict(document.values) == emitter.values


@given(st.dictionaries(KEYS, PLAIN, min_size=1, max_size=4))
def test_what_pyyaml_writes_quoted_comes_back(data):
    text = yaml.safe_dump(data, default_style='"', allow_unicode=True, sort_keys=False)
    # That style tags what is not text; the tags are ours to refuse.
    if "!!" in text:
        assert "the tag" in problems(text)[0][3]
    else:
        assert same(parse(text, "f.yaml").data, data)


MARKUP = st.text(st.sampled_from("ab:,-?[]{}&*!|>'\"%@`#<~ \n\t1.\\\u2028é\x00"), max_size=40)


@settings(max_examples=300)
@given(st.text() | st.binary() | MARKUP)
@example("%YAML 1." + "9" * 5000 + "\n---\na")
@example("%TAG ! tag:x,2000:\n--- !a b")
@example('"\\')
@example("? ? ? ? a")
def test_any_text_is_a_document_or_a_located_problem(text):
    for loader in (yaml.SafeLoader, ours._LOADER):
        before, ours._LOADER = ours._LOADER, loader
        try:
            document = parse(text, "f.yaml")
        except SpecErrors as errors:
            lines = text.count(b"\n" if isinstance(text, bytes) else "\n") + text.count(
                b"\r" if isinstance(text, bytes) else "\r"
            )
            assert errors.errors
            assert all(1 <= e.location.line <= lines + 2 and e.location.column >= 1 for e in errors.errors)
        else:
            assert isinstance(document, Document)
            assert () in document.values
        finally:
            ours._LOADER = before


@given(PLAIN, CHOICES)
def test_both_parsers_of_pyyaml_see_the_same(data, choices):
    emitter = Emitter(choices)
    emitter.write(data)
    fast = parse(emitter.text, "f.yaml")
    before, ours._LOADER = ours._LOADER, yaml.SafeLoader
    try:
        slow = parse(emitter.text, "f.yaml")
    finally:
        ours._LOADER = before
    assert same(fast.data, slow.data)
    assert (fast.keys, fast.values) == (slow.keys, slow.values)
