"""What compilers say they read, told apart into the checkout's files and others."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.build import reads as module
from bpfbench.build.reads import Reads, check_declared, check_foreseen, parse_listing, sort_out
from bpfbench.build.toolchain import Tool, Toolchain
from bpfbench.errors import BenchError

CHARACTERS = st.characters(codec="ascii", categories=("L", "N"), include_characters="/._- $")
PATHS = st.text(CHARACTERS, min_size=1)


def as_compilers_write(paths: list[str]) -> str:
    return "x.o: " + " \\\n ".join(path.replace(" ", "\\ ").replace("$", "$$") for path in paths) + "\n"


@given(st.lists(PATHS, min_size=1))
def test_every_path_comes_back_as_it_was(paths: list[str]) -> None:
    assert parse_listing(as_compilers_write(paths)) == paths


def test_several_rules_and_empty_rules() -> None:
    # as ld writes it: each prerequisite again as a target without prerequisites
    listing = "a.o: a.c /b.h\nc.o: c.c \\\n  d.h\n\na.c:\n\n/b.h:\n"
    assert parse_listing(listing) == ["a.c", "/b.h", "c.c", "d.h"]


def test_paths_are_told_apart_by_where_they_really_are(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "real.h").touch()
    (outside / "name.h").symlink_to("real.h")
    listed = ["a/b.c", "a/../c.h", "../outside/name.h", str(outside / "real.h"), str(root / "d.h")]
    assert sort_out(listed, root, root) == Reads(
        frozenset({"a/b.c", "c.h", "d.h"}), frozenset({str(outside / "real.h")})
    )


def test_a_neighbour_with_the_same_beginning_is_not_inside(tmp_path: Path) -> None:
    assert not sort_out([f"{tmp_path}/root2/a.h"], tmp_path / "root", tmp_path).local


def test_undeclared_files_are_named_with_the_spec_to_mend() -> None:
    reads = Reads(frozenset({"in/a.c", "other/b.h"}), frozenset())
    with pytest.raises(BenchError) as error:
        check_declared(reads, {"in/a.c": "0"}, "thing")
    assert "other/b.h" in error.value.message
    assert "in/a.c" not in error.value.message
    assert "specs/packages/thing.yaml" in str(error.value.hint)


def test_files_that_the_key_does_not_cover_are_refused() -> None:
    with pytest.raises(BenchError, match=r"/usr/include/new\.h"):
        check_foreseen(
            Reads(frozenset(), frozenset({"/usr/include/old.h", "/usr/include/new.h"})),
            Reads(frozenset(), frozenset({"/usr/include/old.h"})),
            "thing",
        )


def test_packages_that_share_sources_do_not_forget_each_other_s_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    answer = Reads(frozenset({"shared.c"}), frozenset())
    monkeypatch.setattr(module, "_ask_compiler", lambda question, root: asked.append(question) or answer)
    tool = Tool("gcc", "/usr/bin/gcc", "gcc 12", {}, "digest", ())
    question = module._Question(tool, "compile", ("-O2",), ("shared.c",), {})
    toolchain = Toolchain(tmp_path)
    one, other = {"shared.c": "1", "one.c": "2"}, {"shared.c": "1", "other.c": "3"}
    for inputs in (one, other, one, other):
        assert module._remembered(question, tmp_path, toolchain, inputs) == answer
    assert len(asked) == 2
    module._remembered(question, tmp_path, toolchain, {**one, "one.c": "edited"})
    assert len(asked) == 3
