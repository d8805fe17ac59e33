"""A package that is never built here, with a stand-in for somebody's build tree: measured when given, *unsupported* when not."""

import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.system

PACKAGE = """\
package: thing
title: A thing that others build
recipe: prebuilt
options:
  take: {lib/: [src/libthing.so]}
  record: [CMAKE_BUILD_TYPE, WITH_CHECKS]
  compare: {experiment: uprobe, runtime: thing, cases: [uprobe]}
"""
RUNTIME = """\
runtime: thing
title: the thing
where: none
colour: "#009e73"
packages: [thing]
attaches: [uprobe, uretprobe]
target:
  env: {LD_PRELOAD: "{package:thing}/lib/libthing.so"}
"""
WORDS = ("cases=uprobe", "budget=1s", "noise=accept")


def build_tree(root, code="", checks="OFF"):
    """Make a stand-in for a build tree: a library that does nothing, and the options it was built with."""
    (root / "src").mkdir(parents=True)
    (root / "thing.c").write_text(f"int thing(void) {{ return 0; }}\n{code}")
    command = ["gcc", "-shared", "-fPIC", "-o", root / "src/libthing.so", root / "thing.c"]
    subprocess.run(command, check=True)
    options = f"CMAKE_BUILD_TYPE:STRING=Release\nWITH_CHECKS:BOOL={checks}\nCMAKE_HOME_DIRECTORY:INTERNAL={root / 'checkout'}\n"
    (root / "CMakeCache.txt").write_text(options)
    return root


@pytest.fixture(scope="module")
def checkout(new_checkout, tmp_path_factory):
    """Return a checkout whose experiment has an arm of a thing that is built elsewhere."""
    if not (shutil.which("clang") and shutil.which("gcc")):
        pytest.skip("builds with clang and gcc")
    made = new_checkout(tmp_path_factory.mktemp("stand-ins") / "checkout")
    (made.root / "specs/packages/thing.yaml").write_text(PACKAGE)
    (made.root / "specs/runtimes/thing.yaml").write_text(RUNTIME)
    made.edit("specs/experiments/uprobe.yaml", "arms: [native, kernel]", "arms: [native, thing]")
    made.edit("specs/profiles.yaml", "blocks: {least: 10, most: 40, warmup: 1}", "blocks: {least: 7, most: 7, warmup: 1}")
    return made


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return build_tree(tmp_path_factory.mktemp("build") / "build")


def result(checkout, name="uprobe", words="*"):
    [path] = checkout.root.glob(f"results/*/{words}/{name}.json")
    return json.loads(path.read_text())


def test_without_a_build_its_arm_is_unsupported_and_the_rest_is_measured(checkout):
    ended = checkout.doit("run_uprobe", *WORDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    arms = {arm["name"]: arm for arm in result(checkout, words="quick+partial-uprobe")["arms"]}
    assert arms["native"]["status"] == "ok"
    assert arms["thing"]["status"] == "unsupported"
    assert arms["thing"]["reason"] == "thing: no build of it was given: override.thing-build=/path"
    assert sum("no build of it was given" in line for line in ended.stdout.splitlines()) == 1
    assert "nothing to do" in checkout.doit("run_uprobe", *WORDS).stdout


def test_naming_what_cannot_be_built_is_an_error_with_the_way_out(checkout):
    ended = checkout.doit("build_thing")
    assert ended.returncode != 0
    assert "override.thing-build=/path" in ended.stdout


def test_a_build_that_is_given_is_measured_and_told_with_its_options(checkout, build):
    words = (*WORDS, f"override.thing-build={build}")
    ended = checkout.doit("run_uprobe", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    measured = result(checkout, words="*@thing-build")
    assert {arm["status"] for arm in measured["arms"]} == {"ok"}
    assert measured["overrides"] == {"thing-build": str(build)}
    assert measured["inputs"]["thing"]["about"]["options"] == {"CMAKE_BUILD_TYPE": "Release", "WITH_CHECKS": "OFF"}
    assert "nothing to do" in checkout.doit("run_uprobe", *words).stdout


def test_a_rebuild_is_another_build_and_going_back_is_known(checkout, build):
    words = ("build_thing", f"override.thing-build={build}")
    library = build / "src/libthing.so"
    checkout.doit(*words)
    before = library.read_bytes()
    library.write_bytes(before + b"\0")
    assert "changed: files.lib/libthing.so" in checkout.doit("plan", *words).stdout
    assert checkout.doit(*words).returncode == 0
    library.write_bytes(before)
    assert "in the store already" in checkout.doit("plan", *words).stdout


def test_two_builds_are_compared_side_by_side(checkout, build, tmp_path):
    other = build_tree(tmp_path / "other", "int more(void) { return 1; }\n", checks="ON")
    ended = checkout.doit("compare_thing", f"a={build}", f"b={other}", "budget=1s", "noise=accept")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [line] = [line for line in ended.stdout.splitlines() if "a/b" in line]
    assert line.startswith("uprobe")
    assert any(line.split()[-1] == word for word in ("same", "inconclusive", "better", "worse"))
    assert "a: CMAKE_BUILD_TYPE=Release, WITH_CHECKS=OFF" in ended.stdout
    assert "b: CMAKE_BUILD_TYPE=Release, WITH_CHECKS=ON" in ended.stdout
    compared = result(checkout, "compare_thing")
    assert compared["baseline"] == "b"
    assert [(row["arm"], row["against"]) for row in compared["comparisons"]] == [("a", "b")]
    assert compared["inputs"]["thing-a"]["hash"] != compared["inputs"]["thing-b"]["hash"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("compare_thing",), "a= and b= are missing"),
        (("compare_thing", "a=."), "b= is missing"),
        (("compare_thing", "a=v1.0", "b=."), "there is no build tree at"),
        (("compare_thing", "a=.", "b=."), "no build tree of CMake"),
        (("run_uprobe", "a=."), "go with `compare_…` alone"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_way_out(checkout, words, told):
    ended = checkout.doit(*words)
    assert ended.returncode != 0
    assert told in ended.stdout + ended.stderr
    assert "→" in ended.stdout + ended.stderr
