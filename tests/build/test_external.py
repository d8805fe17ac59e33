"""What all recipes of third-party packages have in common, on small ones built by real tools."""

import importlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import make
from bpfbench.build.invoke import Outcome, invoke, supervised
from bpfbench.errors import BenchError
from bpfbench.model.types import Package, Requirement
from bpfbench.process.reaper import Reaper
from bpfbench.store.keys import changes
from bpfbench.store.nar import nar_hash

from .thirdparty import NEEDS, package, requirement, source

RECIPES = [
    pytest.param(
        recipe,
        marks=pytest.mark.skipif(
            any(shutil.which(tool) is None for tool in tools),
            reason=f"one of {', '.join(tools)} is not installed",
        ),
    )
    for recipe, tools in NEEDS.items()
]
pytestmark = pytest.mark.system


def build(what: Package, sources: Path, tree: Path, cache: Path, **more: Any) -> Path:
    tree.mkdir(parents=True)
    recipe = importlib.import_module(f"bpfbench.build.{what.recipe}")
    recipe.make(what, Path("/"), tree, cache=cache, sources={"thing": sources}, **more)
    return tree


def components(what: Package, cache: Path, *requirements: Requirement, **sources: str) -> Any:
    recipe = importlib.import_module(f"bpfbench.build.{what.recipe}")
    return recipe.key_components(
        what, Path("/"), cache=cache, sources=sources or {"thing": "sha256-x"}, requirements=requirements
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_named_outputs_and_nothing_else_are_kept(recipe: str, cache: Path, tmp_path: Path) -> None:
    tree = build(package(recipe), source(recipe, tmp_path / "source"), tmp_path / "tree", cache)
    assert [file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file()] == ["bin/main"]
    assert [entry.name for entry in tree.iterdir()] == ["bin"]
    assert subprocess.run([tree / "bin/main"], capture_output=True, text=True, check=True).stdout == "hello\n"


@pytest.mark.parametrize("recipe", RECIPES)
def test_elsewhere_and_as_somebody_else_it_becomes_the_same(
    recipe: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(package(recipe), source(recipe, tmp_path / "a"), tmp_path / "1", cache)
    place = tmp_path / "with spaces, ü and $HOME" / "deeper"
    for name, value in {
        "TZ": "Asia/Tokyo",
        "LC_ALL": "de_DE",
        "CFLAGS": "-O0",
        "HOME": "/",
        "MAKEFLAGS": "-k",
        "CC": "false",
    }.items():
        monkeypatch.setenv(name, value)
    other = source(recipe, place / "b")
    for file in other.rglob("*"):
        os.utime(file, (2_000_000_000, 2_000_000_000))
    umask = os.umask(0o077)
    try:
        second = build(package(recipe, memory=1 << 20), other, place / "2", tmp_path / "other cache")
    finally:
        os.umask(umask)
    assert nar_hash(first) == nar_hash(second)
    assert os.fsencode(tmp_path) not in (first / "bin/main").read_bytes()


@pytest.mark.parametrize("recipe", RECIPES)
def test_sources_are_left_as_they_are(recipe: str, cache: Path, tmp_path: Path) -> None:
    sources = source(recipe, tmp_path / "source")
    before = nar_hash(sources)
    build(package(recipe), sources, tmp_path / "tree", cache)
    assert nar_hash(sources) == before


def test_a_failing_command_shows_its_last_lines_its_log_and_how_to_repeat_it(
    cache: Path, tmp_path: Path
) -> None:
    rules = "main:\n\t@for i in $$(seq 100); do echo line $$i; done; echo the reason >&2; exit 7\n"
    sources = source("make", tmp_path / "source", Makefile=rules)
    with Reaper("test-build") as reaper, pytest.raises(BenchError) as error:
        build(package("make"), sources, tmp_path / "tree", cache, run=supervised(reaper, tmp_path / "logs"))
    message = str(error.value)
    assert "thing: make ended with status 2" in message
    assert "the reason" in message
    assert "line 100\n" in message
    assert "line 50\n" not in message, "the end is enough"
    assert "./bench build_thing" in message
    (log,) = [file for file in (tmp_path / "logs").iterdir() if str(file) in message]
    assert "line 50\n" in log.read_text()


def test_how_much_memory_the_largest_job_took_is_remembered(cache: Path, tmp_path: Path) -> None:
    rules = "main:\n\ttouch main; python3 -c 'x = b\"x\" * (90 << 20)'; true\n"
    sources, tree = source("make", tmp_path / "source", Makefile=rules), tmp_path / "tree"
    tree.mkdir()
    with Reaper("test-build") as reaper:
        run = supervised(reaper, tmp_path / "logs")
        told = make.make(package("make"), Path("/"), tree, cache=cache, sources={"thing": sources}, run=run)
    assert 90 <= told["largest"] < 400


def test_a_command_that_hangs_is_ended_with_all_that_it_started(cache: Path, tmp_path: Path) -> None:
    rules = "main:\n\tsleep 1000 & echo $$! > pid; wait\n"
    sources = source("make", tmp_path / "source", Makefile=rules)
    with Reaper("test-build") as reaper, pytest.raises(BenchError, match=r"did not end within 1 s"):
        build(
            package("make", wall=1),
            sources,
            tmp_path / "tree",
            cache,
            run=supervised(reaper, tmp_path / "logs"),
        )
    pid = int((tmp_path / "tree/.build/thing/pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or pid_is_not(pid, "sleep")


def pid_is_not(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() != name
    except OSError:
        return True


def test_a_build_cannot_reach_a_network(cache: Path, tmp_path: Path) -> None:
    rules = "main:\n\tcat /proc/net/dev > main\n"
    sources = source("make", tmp_path / "source", Makefile=rules)
    ready = (
        subprocess.run(["unshare", "--user", "--map-current-user", "--net", "true"], check=False).returncode
        == 0
    )
    if not ready and os.geteuid() != 0:
        pytest.skip("this machine lets nobody but root have a namespace")
    tree = build(package("make", outputs={"devices": "thing/main"}), sources, tmp_path / "tree", cache)
    devices = [
        line.partition(":")[0].strip() for line in (tree / "devices").read_text().splitlines() if ":" in line
    ]
    assert devices == ["lo"]


def test_a_build_knows_nothing_of_its_caller(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "1")
    sources = source(
        "make", tmp_path / "source", Makefile="main:\n\tenv > main; umask >> main; date >> main\n"
    )
    tree = build(package("make", outputs={"said": "thing/main"}), sources, tmp_path / "tree", cache)
    said = (tree / "said").read_text()
    assert "A_SECRET" not in said
    assert "\n0022\n" in said
    for line in (
        "HOME=/proc/nonexistent",
        "LC_ALL=C.UTF-8",
        "TZ=UTC",
        "SOURCE_DATE_EPOCH=1",
        "GIT_DIR=/nonexistent",
    ):
        assert f"{line}\n" in said


def test_a_library_that_nothing_brings_is_hidden_and_named(cache: Path, tmp_path: Path) -> None:
    if not Path("/usr/include/zlib.h").exists() or not Path("/var/lib/dpkg/status").exists():
        pytest.skip("needs zlib's header, from a Debian package")
    text = "#include <zlib.h>\nint main(void)\n{\n\treturn !zlibVersion();\n}\n"
    sources = source(
        "make", tmp_path / "source", **{"main.c": text, "Makefile": "main: main.c\n\t$(CC) -o $@ $< -lz\n"}
    )
    with pytest.raises(BenchError) as error:
        build(package("make"), sources, tmp_path / "1", cache)
    assert "zlib.h: No such file" in str(error.value)
    assert "nothing in its `needs` brings it: zlib1g-dev (/usr/include/zlib.h)" in str(error.value)
    build(package("make"), sources, tmp_path / "2", cache, requirements=[requirement("zlib1g-dev")])


def test_what_is_optional_does_not_depend_on_what_is_installed(cache: Path, tmp_path: Path) -> None:
    text = (
        "int main(void)\n{\n#if __has_include(<zlib.h>)\n\treturn 1;\n#else\n\treturn 0;\n#endif\n}\n"
    )
    rules = "main: main.c\n\t$(CC) -o $@ $<\n"
    sources = source("make", tmp_path / "source", **{"main.c": text, "Makefile": rules})
    tree = build(package("make"), sources, tmp_path / "tree", cache)
    if Path("/var/lib/dpkg/status").exists():
        assert subprocess.run([tree / "bin/main"], check=False).returncode == 0


def test_a_file_that_no_key_covers_is_refused(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "found.h").write_text("#define FOUND 1\n")
    text = f'#include "{elsewhere}/found.h"\nint main(void)\n{{\n\treturn FOUND;\n}}\n'
    sources = source(
        "make", tmp_path / "source", **{"main.c": text, "Makefile": "main: main.c\n\t$(CC) -o $@ $<\n"}
    )
    with pytest.raises(BenchError, match=r"its key does not cover: .*/elsewhere/found\.h"):
        build(package("make"), sources, tmp_path / "tree", cache)


def test_dependencies_are_found_by_name(cache: Path, tmp_path: Path) -> None:
    library = tmp_path / "a library"
    (library / "include").mkdir(parents=True)
    (library / "bin").mkdir()
    (library / "include/word.h").write_text('#define WORD "from the dependency"\n')
    (library / "bin/generate").write_text('#!/bin/sh\necho "#include <word.h>"\n')
    (library / "bin/generate").chmod(0o755)
    rules = (
        "main: main.c\n\tgenerate > generated.h\n\t$(CC) -I$(WHERE)/include -include generated.h -o $@ $<\n"
    )
    sources = source("make", tmp_path / "source", Makefile=rules)
    what = package("make", arguments=["WHERE={package:library}"])
    what = replace(what, depends=("library",))
    tree = build(what, sources, tmp_path / "tree", cache, depends={"library": library})
    said = subprocess.run([tree / "bin/main"], capture_output=True, text=True, check=True).stdout
    assert said == "from the dependency\n"
    with pytest.raises(
        BenchError, match=r"thing\.yaml:1:1: \{package:other\} is not among the packages of thing"
    ):
        build(package("make", arguments=["X={package:other}"]), sources, tmp_path / "2", cache)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"bin/main": "thing/nothing"}, r"made nothing called thing/nothing, which is to become bin/main"),
        ({"bin/main": "thing/*"}, r"bin/main is one file, but thing/\* is not"),
        ({"bin/main": "thing"}, r"bin/main is one file, but thing is not"),
        ({"all/": ["thing/main.c", "thing/sub/main.c"]}, r"main\.c and .*sub/main\.c both become all/"),
        ({"../main": "thing/main"}, r"'\.\./main' is no path below"),
        ({"main": "../thing/main"}, r"'\.\./thing/main' is no path below"),
    ],
)
def test_outputs_that_cannot_be_kept_are_refused_with_their_names(
    outputs: Any, words: str, cache: Path, tmp_path: Path
) -> None:
    sources = source("make", tmp_path / "source", **{"sub/main.c": "int other;\n"})
    with pytest.raises(BenchError, match=words):
        build(package("make", outputs=outputs), sources, tmp_path / "tree", cache)


def test_directories_and_patterns_go_below_a_directory(cache: Path, tmp_path: Path) -> None:
    sources = source("make", tmp_path / "source", **{"sub/one.h": "1\n", "sub/deep/two.h": "2\n"})
    outputs = {"as-is/": "thing/sub", "merged/": "thing/sub/", "flat/": "thing/sub/*.h"}
    tree = build(package("make", outputs=outputs), sources, tmp_path / "tree", cache)
    kept = sorted(file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file())
    assert kept == [
        "as-is/sub/deep/two.h",
        "as-is/sub/one.h",
        "flat/one.h",
        "merged/deep/two.h",
        "merged/one.h",
    ]


def test_files_can_be_laid_into_the_copy_of_the_sources(cache: Path, tmp_path: Path) -> None:
    sources = source("make", tmp_path / "source")
    text = 'int puts(const char *);\nint main(void)\n{\n\treturn !puts("written");\n}\n'
    tree = build(package("make", write={"thing/main.c": text}), sources, tmp_path / "tree", cache)
    assert (
        subprocess.run([tree / "bin/main"], capture_output=True, text=True, check=False).stdout == "written\n"
    )


# keys


def test_the_key_says_what_changed(cache: Path) -> None:
    before = components(package("make"), cache, thing="sha256-a")
    assert [c.path for c in changes(before, components(package("make"), cache, thing="sha256-b"))] == [
        "sources.thing"
    ]
    other = components(package("make", arguments=["WORD=1"]), cache, thing="sha256-a")
    assert [c.path for c in changes(before, other)] == ["calls", "options.arguments"]


def test_how_much_memory_and_time_it_takes_is_no_part_of_the_key(cache: Path) -> None:
    assert components(package("make"), cache) == components(package("make", memory=7, wall=9), cache)


def test_what_the_system_brings_is_part_of_the_key(cache: Path) -> None:
    plain = components(package("make"), cache)["system"]
    if not Path("/var/lib/dpkg/status").exists():
        assert list(plain) == ["every development file"]
        return
    assert "libc6-dev" in plain
    more = components(package("make"), cache, requirement("zlib1g-dev"))["system"]
    if Path("/usr/include/zlib.h").exists():
        assert {"zlib1g-dev", "zlib1g"} <= more.keys() - plain.keys()
        assert set(more["zlib1g-dev"]) == {"version", "files"}


def test_compilers_and_tools_are_part_of_the_key(cache: Path) -> None:
    assert set(components(package("make"), cache)["tools"]) == {"gcc", "make", "ar"}
    assert set(components(package("make", languages=["c", "c++"]), cache)["tools"]) == {
        "gcc",
        "g++",
        "make",
        "ar",
    }


def test_looking_twice_starts_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = components(package("make"), cache)
    monkeypatch.setattr("bpfbench.build.toolchain.invoke", lambda *_: pytest.fail("a program was started"))
    assert components(package("make"), cache) == first


def test_a_recipe_without_a_source_is_refused(cache: Path) -> None:
    with pytest.raises(BenchError, match=r"thing\.yaml:1:1: the recipe make needs a source"):
        components(replace(package("make"), sources=()), cache)


def test_a_colon_in_the_path_is_refused_before_it_breaks_something(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="a colon in the path"):
        build(package("make"), source("make", tmp_path / "source"), tmp_path / "a:b", cache)


def test_without_namespaces_it_builds_all_the_same(cache: Path, tmp_path: Path) -> None:
    def run(argv: Sequence[str], cwd: Path, **more: Any) -> Outcome:
        return Outcome(1, "", "not permitted") if argv[0] == "unshare" else invoke(argv, cwd, **more)

    sources = source("make", tmp_path / "source")
    with_it = build(package("make"), sources, tmp_path / "1", cache)
    without = build(package("make"), sources, tmp_path / "2", cache, run=run)
    assert nar_hash(with_it) == nar_hash(without)
