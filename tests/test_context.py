"""Where results of a call are shown, and which experiments it is about."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bpfbench import context
from bpfbench.context import Context
from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.model.types import Words

ROOT = Path(__file__).resolve().parents[1]
HERE = Layout.of(ROOT)


def call(**words):
    made = Context(HERE, None, Words("quick", **words), ROOT)
    made.__dict__["machine"] = SimpleNamespace(name="machine")
    return made.results.relative_to(HERE.results / "machine").as_posix()


def test_every_selection_has_a_place_of_its_own():
    assert call() == "quick"
    assert call(budget=3.0) == "quick"
    assert call(cases=("b", "a")) == call(cases=("a", "b")) == "quick+partial-a,b"
    assert call(cases=("a",), arms=("kernel",)) == "quick+partial-a,kernel"
    assert call(take="second") == "quick+take-second"
    assert call(overrides={"bpftime": "/x", "a": "/y"}) == "quick@a@bpftime"


def test_a_long_selection_has_a_short_place_and_different_ones_differ():
    many = tuple(f"some_long_case_name_{number}" for number in range(20))
    assert len(call(cases=many)) < 60
    assert call(cases=many) != call(cases=many[1:])


def test_the_mark_is_that_of_the_checkout_and_says_nothing_of_its_path():
    one = Context(Layout.of(Path("/a")), None, Words("quick"), ROOT).mark
    assert one == Context(Layout.of(Path("/a")), None, Words("paper"), ROOT).mark
    assert one != Context(Layout.of(Path("/b")), None, Words("quick"), ROOT).mark
    assert one.startswith("bpfbench-")


def test_a_prerequisite_that_nobody_can_check_is_refused():
    runtime = SimpleNamespace(location="specs/runtimes/x.yaml:1:1", requires=("kernel-bfp",))
    with pytest.raises(BenchError, match=r"specs/runtimes/x\.yaml:1:1.*kernel-bfp"):
        context._check_prerequisite_names(SimpleNamespace(runtimes={"x": runtime}))


def test_without_a_task_file_there_is_no_context(monkeypatch):
    monkeypatch.setattr(context, "_current", None)
    assert not context.exists()
    with pytest.raises(RuntimeError):
        context.current()
