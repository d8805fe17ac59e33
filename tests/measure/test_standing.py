"""Prerequisites are asked once, and again when something that decides them has changed."""

import pytest

from bpfbench.measure import prerequisites, standing
from bpfbench.measure.prerequisites import Prerequisite


@pytest.fixture
def asked(monkeypatch):
    names = []

    def check(name):
        names.append(name)
        return Prerequisite(name, True, "it is there", {"version": len(names)})

    monkeypatch.setattr(prerequisites, "check", check)
    monkeypatch.setattr(standing, "deciding", lambda: "today")
    return names


def test_an_answer_is_remembered(asked, tmp_path):
    cache = tmp_path / "p.json"
    first = standing.remembered(["a", "b", "a"], cache)
    assert first == {"a": {"ok": True, "seen": {"version": 1}}, "b": {"ok": True, "seen": {"version": 2}}}
    assert standing.remembered(["b"], cache) == {"b": first["b"]}
    assert standing.remembered(["c"], cache).keys() == {"c"}
    assert asked == ["a", "b", "c"]


def test_what_decides_makes_all_of_them_asked_again(asked, tmp_path, monkeypatch):
    cache = tmp_path / "p.json"
    standing.remembered(["a"], cache)
    monkeypatch.setattr(standing, "deciding", lambda: "tomorrow")
    assert standing.remembered(["a"], cache)["a"]["seen"] == {"version": 2}


def test_a_run_always_tries_and_its_answers_are_the_new_memory(asked, tmp_path):
    cache = tmp_path / "p.json"
    standing.remembered(["a"], cache)
    assert standing.tried(["a"], cache)["a"].seen == {"version": 2}
    assert standing.remembered(["a"], cache)["a"]["seen"] == {"version": 2}
    assert asked == ["a", "a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"deciding": "today"}', '{"deciding": "today", "found": 3}', "\xff"])
def test_a_spoilt_memory_is_no_error(asked, tmp_path, content):
    cache = tmp_path / "p.json"
    cache.write_text(content, "latin-1")
    assert standing.remembered(["a"], cache)["a"]["ok"]


def test_where_nothing_can_be_written_it_is_asked_every_time(asked, tmp_path):
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "p.json"
    standing.remembered(["a"], cache)
    standing.remembered(["a"], cache)
    assert asked == ["a", "a"]


def test_what_decides_is_the_same_twice():
    assert standing.deciding() == standing.deciding()
