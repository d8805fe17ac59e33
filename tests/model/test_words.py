from __future__ import annotations

from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.model.types import Words
from bpfbench.model.words import WORDS, declared_words, parse_words


@pytest.fixture
def model(tree):
    return tree.load()


def refusal(model, cwd: Path, **words: str) -> str:
    with pytest.raises(BenchError) as caught:
        parse_words(
            {name.replace("override_", "override."): value for name, value in words.items()}, model, cwd
        )
    return str(caught.value)


def test_no_words_mean_the_default_profile_and_everything(model, tmp_path):
    assert parse_words({}, model, tmp_path) == Words(profile="quick")


def test_all_words_are_read(model, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "built").write_text("a file will do")
    words = {
        "profile": "paper",
        "arms": "shim, native,shim",
        "cases": "read",
        "budget": "1.5m",
        "store": "here/../shared",
        "override.libshim": "here",
        "override.given-build": str(tmp_path / "built"),
    }
    assert parse_words(words, model, tmp_path) == Words(
        profile="paper",
        arms=("shim", "native"),
        cases=("read",),
        budget=90.0,
        store=str(tmp_path / "shared"),
        overrides={"libshim": str(tmp_path / "here"), "given-build": str(tmp_path / "built")},
    )


def test_a_home_directory_is_understood(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert parse_words({"store": "~/store"}, model, tmp_path).store == str(tmp_path / "home/store")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ({"proflie": "quick"}, 'there is no word "proflie"', 'did you mean "profile"?'),
        ({"arm": "native"}, 'there is no word "arm"', 'did you mean "arms"?'),
        ({"overide.probe": "."}, 'there is no word "overide.probe"', 'did you mean "override.probe"?'),
        ({"CFLAGS": "-O3"}, 'there is no word "CFLAGS"', "environment variables"),
        ({"profile": "quik"}, 'no profile is called "quik"', 'did you mean "quick"?'),
        ({"profile": ""}, 'no profile is called ""; expected one of: paper, quick', ""),
        ({"arms": "native,kernal,shin"}, 'no arm is called "shin"', 'did you mean "shim"?'),
        ({"arms": ""}, "names no arm", "leave it out"),
        ({"cases": ","}, "names no case", "leave it out"),
        ({"cases": "reed"}, 'no case is called "reed"', 'did you mean "read"?'),
        ({"budget": "30"}, "expected a duration such as 30s", "budget=30m"),
        ({"budget": "0s"}, "expected a duration", ""),
        ({"budget": "-3m"}, "expected a duration", ""),
        ({"store": ""}, "the path is missing", "store=/path"),
        ({"override.libshin": "."}, 'no source or build is called "libshin"', 'did you mean "libshim"?'),
        ({"override.given": "."}, 'no source or build is called "given"', 'did you mean "given-build"?'),
        ({"override.probe": "."}, 'no source or build is called "probe"', ""),
        ({"override.libshim": "nowhere"}, "nowhere does not exist", "relative to where you stand"),
        ({"override.libshim": ""}, "the path is missing", "override.libshim=/path"),
        ({"a": "v1.0"}, "there is no build tree at", "give the build trees of both"),
        ({"b": ""}, "there is no build tree", "give the build trees of both"),
        ({"override": "."}, "override needs a name", "override.NAME=/path"),
        ({"override.": "."}, "override needs a name", "override.NAME=/path"),
    ],
)
def test_a_wrong_word_is_refused_with_a_way_out(model, tmp_path, words, message, hint):
    with pytest.raises(BenchError) as caught:
        parse_words(words, model, tmp_path)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert next(iter(words)) in str(caught.value)


def test_a_store_that_is_a_file_is_refused(model, tmp_path):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file is not a directory" in refusal(model, tmp_path, store="file")
    assert f"{tmp_path}/file is not a directory" in refusal(model, tmp_path, store="file/below/it")


def test_a_path_that_no_system_takes_is_refused(model, tmp_path):
    assert "does not exist" in refusal(model, tmp_path, override_libshim="x" * 5000)
    assert "is not a directory" in refusal(model, tmp_path, store="x" * 5000)
    assert "does not exist" in refusal(model, tmp_path, override_libshim="a\0b")


def test_all_wrong_words_are_told_at_once(model, tmp_path):
    text = refusal(model, tmp_path, proflie="x", arms="nobody,noone", budget="long")
    for part in ("proflie", '"nobody"', '"noone"', "budget=long"):
        assert part in text


def test_arms_and_cases_that_never_meet_are_refused(tree, tmp_path):
    other = tree.read("specs/experiments/probe.yaml").replace("experiment: probe", "experiment: other")
    tree.write(
        "specs/experiments/other.yaml",
        other.replace("shim-slow", "lonely").replace("case: read", "case: only"),
    )
    model = tree.load()
    assert parse_words({"arms": "lonely", "cases": "only"}, model, tmp_path).arms == ("lonely",)
    assert parse_words({"arms": "lonely", "cases": "read,empty"}, model, tmp_path).cases == ("read", "empty")
    assert "no experiment has these" in refusal(model, tmp_path, arms="lonely", cases="read")


def test_declared_words_say_what_may_be_given(model):
    words = {word.name: word for word in declared_words(model)}
    assert list(words) == [word.name for word in WORDS]
    assert "quick, paper (without it: quick)" in words["profile"].meaning
    assert "native, shim, shim-slow" in words["arms"].meaning
    assert "libshim" in words["override.NAME"].meaning


def test_two_build_trees_are_named_relative_to_where_one_stands(model, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    words = parse_words({"a": "one", "b": str(tmp_path / "other")}, model, tmp_path)
    assert words.compared == {"a": str(tmp_path / "one"), "b": str(tmp_path / "other")}
