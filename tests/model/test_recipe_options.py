"""What a recipe reads is checked by the recipe's own schema, before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

SCHEMAS = Path(__file__).parents[2] / "schemas"
NAME = "specs/packages/thing.yaml"
SPEC = """\
package: thing
title: A thing
recipe: make
options:
  memory: 100
  directory: src
  arguments: [all, X=1]
  environment: {LUA_PATH: "?"}
  write: {thing/note.txt: text}
  outputs:
    bin/thing: thing/thing
    lib/: [thing/a, thing/b]
"""


@pytest.fixture
def strict(tree):
    for file in SCHEMAS.glob("recipe_*.json"):
        shutil.copy(file, tree.root / "schemas")
    for name in ("make", "configure", "cmake", "meson", "wheel", "prebuilt"):
        tree.write(f"bpfbench/build/{name}.py", "")
    tree.write(NAME, SPEC)
    tree.load()
    return tree


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("memory: 100", "memori: 100", "options.memori", "memory"),
        ("memory: 100", "memory: 100M", "options.memory", "MiB"),
        ("memory: 100", "memory: 0", "options.memory", "MiB"),
        ("memory: 100", "wall: 1.5", "options.wall", "seconds"),
        ("memory: 100", "languages: [rust]", "options.languages[0]", "c, c++"),
        ("memory: 100", "targets: [all]", "options.targets", "arguments"),
        ("directory: src", "directory: ../src", "options.directory", "without .."),
        ("directory: src", "directory: /src", "options.directory", "below"),
        ("[all, X=1]", "all X=1", "options.arguments", "list"),
        ("[all, X=1]", "[all, 1]", "options.arguments[1]", "text"),
        ('LUA_PATH: "?"', "LUA_PATH: 1", "LUA_PATH", "text"),
        ('LUA_PATH: "?"', "LD_PRELOAD: x.so", "LD_PRELOAD", "watched"),
        ('LUA_PATH: "?"', "BENCH_LOG: /dev/null", "BENCH_LOG", "watched"),
        ('LUA_PATH: "?"', "PATH: /opt", "PATH", "watched"),
        ("thing/note.txt: text", "thing/../../x: text", "thing/../../x", "without .."),
        ("bin/thing: thing/thing", "/bin/thing: thing/thing", "/bin/thing", "below"),
        ("bin/thing: thing/thing", "bin/thing: [thing/../../etc]", "bin/thing", "without .."),
        ("bin/thing: thing/thing", "bin/thing: []", "bin/thing", "pattern"),
    ],
)
def test_a_wrong_option_is_located_and_explained(strict, old, new, field, words):
    line = strict.change(NAME, old, new)
    problem = strict.problem()
    assert problem.location.file == NAME
    assert problem.location.line == line
    assert field in problem.field
    assert words in str(problem)


def test_missing_outputs_are_told(strict):
    text = strict.read(NAME)
    strict.write(NAME, text[: text.index("  outputs")])
    assert strict.problem().field == "options.outputs"
    strict.write(NAME, text[: text.index("options")])
    assert strict.problem().field == "options"


def test_a_wheel_has_no_options(strict):
    strict.change(NAME, "recipe: make", "recipe: wheel")
    assert {problem.location.file for problem in strict.problems()} == {NAME}


PREBUILT = """\
package: thing
title: A thing
recipe: prebuilt
options:
  take: {lib/: [src/libthing.so]}
  record: [LLVM_DIR]
  expect: {WITH_CHECKS: "on"}
  compare: {experiment: probe, runtime: shim, cases: [read]}
"""


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("take: {lib/", "taken: {lib/", "options", "take"),
        ("src/libthing.so", "../libthing.so", "lib/", "without .."),
        ("[LLVM_DIR]", "[LLVM-DIR]", "record[0]", "CMake option"),
        ('"on"', "maybe", "expect.WITH_CHECKS", "one of: on, off"),
        ("experiment: probe, ", "", "compare.experiment", "a name"),
        ("[read]", "[]", "compare.cases", "list of cases"),
    ],
)
def test_what_is_taken_from_a_build_tree_is_checked(strict, old, new, field, words):
    strict.write(NAME, PREBUILT)
    strict.load()
    strict.change(NAME, old, new)
    problems = strict.problems()
    assert any(field in problem.field and words in str(problem) for problem in problems), [str(one) for one in problems]
