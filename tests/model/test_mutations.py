"""Valid specs, broken in every place in every way: the message must name the field and point at the place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfbench.model.load import load
from bpfbench.model.problems import SpecErrors, SpecProblem
from bpfbench.model.yaml import parse

SPECS = Path(__file__).parent / "valid" / "specs"
FIELD = re.compile(r"(?P<indent> *)(?P<item>- )?(?P<key>[a-z_]+):(?P<value> .*)?")
FREE = {"params", "options", "env", "experiments", "anything"}
"""Below these, fields are up to somebody else."""
NAMES = {"quick", "paper", "clang", "libbpf", "btf", "debian", "fedora", "empty"}
"""Keys that are names, not fields."""
OPTIONAL = {
    "submodules",
    "ref",
    "sha256",
    "version",
    "strip",
    "sources",
    "needs",
    "inputs",
    "depends",
    "artefacts",
    "includes",
    "flags",
    "libraries",
    "requires",
    "packages",
    "attaches",
    "loader",
    "target",
    "engine",
    "backend",
    "per",
    "primary",
    "divisor",
    "floor",
    "labels",
    "header",
    "log",
    "unable",
    "deviates",
    "command",
    "file",
    *FREE,
}
NULLABLE = {"per", "engine", "backend"}
NUMERIC = {"divisor", "strip", "least", "most", "warmup"}


@dataclass(frozen=True)
class Place:
    """A field written on a line of its own: lines ``start`` to ``end`` (from 0, exclusive) of a file."""

    file: str
    key: str
    value: str
    indent: int
    """Column (from 0) of the key."""
    item: bool
    start: int
    end: int
    parent: int
    """The line where the mapping that the field is in is found."""

    def __str__(self) -> str:
        return f"{self.file}:{self.start + 1}-{self.key}"


def places(file: str) -> Iterator[Place]:
    lines = (SPECS / file).read_text().splitlines()
    free: int | None = None
    for start, line in enumerate(lines):
        match = FIELD.fullmatch(line)
        if match is None:
            continue
        indent = len(match["indent"]) + len(match["item"] or "")
        if free is not None and indent > free:
            continue
        free = indent if match["key"] in FREE else None
        end = start + 1
        while end < len(lines) and _indent(lines[end]) > indent:
            end += 1
        parent = _parent(lines, start, indent)
        if match["key"] not in NAMES:
            value = (match["value"] or "").strip()
            yield Place(file, match["key"], value, indent, bool(match["item"]), start, end, parent)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _parent(lines: list[str], start: int, indent: int) -> int:
    """Return the line of the mapping around a field: of its first field in a list, else of its key."""
    for at in range(start, -1, -1):
        if lines[at][:indent].strip(" ") == "-" and lines[at][indent - 2] == "-":
            return at
        if lines[at].strip() and _indent(lines[at]) < indent:
            return at
    return next(at for at, line in enumerate(lines) if not line.startswith("#"))


FILES = sorted(str(path.relative_to(SPECS)) for path in SPECS.rglob("*.yaml"))
PLACES = [place for file in FILES for place in places(file)]


class Broken:
    """The lines of a file with one place changed, and where the change is (from 1)."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lines = (SPECS / place.file).read_text().splitlines()
        self.line = place.start + 1
        self.key = place.key

    def head(self, key: str, value: str) -> str:
        lead = " " * (self.place.indent - 2) + "- " if self.place.item else " " * self.place.indent
        return f"{lead}{key}: {value}".rstrip()

    def replace(self, value: str) -> Broken:
        self.lines[self.place.start : self.place.end] = [self.head(self.place.key, value)]
        return self

    def misspell(self) -> Broken:
        self.key = self.place.key[:-1] + "q" + self.place.key[-1]
        line = self.lines[self.place.start]
        self.lines[self.place.start] = line.replace(f"{self.place.key}:", f"{self.key}:", 1)
        return self

    def drop(self) -> Broken:
        place = self.place
        del self.lines[place.start : place.end]
        if place.item:
            self.lines[place.start] = " " * (place.indent - 2) + "- " + self.lines[place.start].lstrip()
        self.line = place.parent + 1
        return self

    def repeat(self) -> Broken:
        self.lines.insert(self.place.end, " " * self.place.indent + f"{self.place.key}: again")
        self.line = self.place.end + 1
        return self

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, request):
    """One tree for all mutations of this file: each changes one spec and puts it back."""
    make: Callable = request.config.pluginmanager.get_plugin(
        str(Path(__file__).with_name("conftest.py"))
    ).Tree
    return make(tmp_path_factory.mktemp("mutations") / "checkout")


def refused(tree, broken: Broken) -> list[SpecProblem]:
    """Load with the broken file; return the problems at the changed place."""
    path = tree.root / "specs" / broken.place.file
    before = path.read_text()
    path.write_text(broken.text())
    try:
        with pytest.raises(SpecErrors) as caught:
            load(tree.layout)
    finally:
        path.write_text(before)
    here = (f"specs/{broken.place.file}", broken.line)
    at_place = [e for e in caught.value.errors if (e.location.file, e.location.line) == here]
    assert at_place, f"nothing at {here}:\n{caught.value}\n{broken.text()}"
    return at_place


def names(problem: SpecProblem, key: str) -> bool:
    return re.search(rf"(^|\.){key}($|\[|\.)", problem.field) is not None


def scalar(place: Place) -> bool:
    return bool(place.value) and place.value[0] not in "[{"


def cases(chosen: Callable[[Place], bool] = lambda place: True):
    return pytest.mark.parametrize("place", [place for place in PLACES if chosen(place)], ids=str)


def test_the_generator_finds_the_fields_of_every_file():
    assert {place.file for place in PLACES} == set(FILES)
    assert len(PLACES) > 100
    assert {"divisor", "origins", "least", "why", "kind", "arm"} <= {place.key for place in PLACES}


@cases()
def test_a_misspelt_field_is_told(shared, place):
    broken = Broken(place).misspell()
    problems = refused(shared, broken)
    assert any(broken.key in str(problem) and place.key in (problem.hint or "") for problem in problems)


def required(place: Place) -> bool:
    if place.file.startswith("experiments") and place.key in {"packages", "title"}:
        return "without JIT" not in place.value
    # Without requirements, nothing is left of that file, which is another mistake.
    return place.key not in {*OPTIONAL, "requirements"}


@cases(required)
def test_a_missing_field_is_told(shared, place):
    problems = refused(shared, Broken(place).drop())
    assert any(names(problem, place.key) and problem.message == "missing" for problem in problems)
    assert all(problem.expected for problem in problems)


@cases()
def test_a_value_of_the_wrong_type_is_told(shared, place):
    problems = refused(shared, Broken(place).replace("[[]]" if scalar(place) else "7"))
    assert any(names(problem, place.key) and "found" in problem.message for problem in problems)
    assert all(problem.expected for problem in problems)


@cases(lambda place: place.key not in NULLABLE)
def test_a_value_that_was_forgotten_is_told(shared, place):
    problems = refused(shared, Broken(place).replace(""))
    assert any(names(problem, place.key) and "nothing" in problem.message for problem in problems)


@cases(lambda place: scalar(place) and place.key not in NUMERIC)
def test_a_number_in_place_of_text_is_told(shared, place):
    problems = refused(shared, Broken(place).replace("12.50"))
    assert any(names(problem, place.key) and "12.5" in problem.message for problem in problems)


@cases()
def test_a_field_given_twice_is_told(shared, place):
    problems = refused(shared, Broken(place).repeat())
    assert any(names(problem, place.key) and problem.message == "given twice" for problem in problems)


UNITS = {
    "budget": ["4", "4x", "-4m", "4 m", "4M", "0m", "four", "1e3s", "PT4M", '"4m\\n"'],
    "sample_time": ["40", "0.04", "40msec", "40 ms", "0ms"],
    "half_width": ["3", "0.03", "3 %", "-3%", "0%", "100%", "3percent"],
    "equivalence": ["true", "3%%"],
    "unit": ["NS", "seconds", "ns/op", "1", "req"],
    "colour": ["red", '"#fff"', '"#GGGGGG"', '"1f77b4"'],
    "divisor": ["0", "-1", "1.5", '"1000"', "1k", "true"],
    "sha256": ["'12'", "md5-AAAA", '"' + "g" * 64 + '"'],
}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(place, value, id=f"{place}-{value}")
        for key, values in UNITS.items()
        for place in [place for place in PLACES if place.key == key][:1]
        for value in values
    ],
)
def test_a_wrong_unit_or_form_is_told(shared, place, value):
    problems = refused(shared, Broken(place).replace(value))
    assert any(names(problem, place.key) and problem.expected for problem in problems)


ESCAPES = [
    "../x",
    "/etc/passwd",
    "a/../../x",
    "~/x",
    "./x",
    "x//y",
    "x/",
    "..",
    "'a\\b'",
    '"a\\0b"',
    "''",
    "nowhere",
]


def paths(place: Place) -> bool:
    """Whether the field holds paths."""
    return place.key in {"inputs", "includes", "output"} or (place.key == "sources" and "work" in place.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(place, value, id=f"{place}-{value}")
        for place in filter(paths, PLACES)
        for value in ESCAPES
        # An output need not be there yet.
        if (place.key, value) != ("output", "nowhere")
    ],
)
def test_a_path_that_leads_astray_is_told(shared, place, value):
    problems = refused(shared, Broken(place).replace(value if scalar(place) else f"[{value}]"))
    assert any(names(problem, place.key) and problem.expected for problem in problems)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(
        ["", "native", "shim", "probe", "empty", "..", "a-b", "4m", "{segment}", "{package:x}", "\n"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["arm", "runtime", "case", "floor", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def spots(data: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    steps = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, inner in steps:
        yield from spots(inner, (*path, step))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_in_any_place_is_fine_or_told(shared, data):
    """No check takes for granted what another one has refused."""
    file = data.draw(st.sampled_from(FILES))
    content = parse((SPECS / file).read_bytes(), file).data
    *way, last = data.draw(st.sampled_from([spot for spot in spots(content) if spot]))
    inside = content
    for step in way:
        inside = inside[step]
    inside[last] = data.draw(VALUES)
    path = shared.root / "specs" / file
    before = path.read_text()
    path.write_text(json.dumps(content, indent=1))
    try:
        model = load(shared.layout)
    except SpecErrors as errors:
        assert all(problem.location.file.startswith("specs/") for problem in errors.errors)
    else:
        assert model.experiments["probe"].name == "probe"
    finally:
        path.write_text(before)
