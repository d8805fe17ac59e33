import shutil

import pytest

from bpfbench.layout import Layout
from bpfbench.progress import Progress
from bpfbench.steps import Step, View
from bpfbench.store.keys import make_key
from bpfbench.store.store import Store


class World:
    """One step over an input that tests change, with a count of how often it was made."""

    def __init__(self, root):
        self.layout, self.text, self.made = Layout.of(root), "one", 0
        self.shown = root / "results"
        self.progress = Progress(self.layout.progress, "step")

    @property
    def step(self):
        return Step("step", self.layout, self.key, self.make, View(self.shown))

    def key(self):
        return None if self.text is None else make_key("step", {"input": {"text": self.text}})

    def make(self, tree, progress):
        self.made += 1
        (tree / "a").mkdir()
        (tree / "a" / "out.txt").write_text(self.text)

    def run(self):
        return self.step.run(self.progress)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_step_runs_once_and_shows_its_item(world):
    assert not world.step.standing().uptodate
    world.run()
    assert world.step.standing().uptodate
    assert (world.shown / "a" / "out.txt").read_text() == "one"
    world.run()
    assert world.made == 1


def test_losing_pointers_or_the_view_makes_nothing_again(world):
    world.run()
    shutil.rmtree(world.layout.pointers)
    assert not world.step.standing().uptodate
    world.run()
    shutil.rmtree(world.shown)
    assert "removed" in world.step.standing().why
    world.run()
    assert (world.made, world.step.standing().uptodate) == (1, True)


def test_a_changed_view_is_put_right(world):
    world.run()
    place = world.shown / "a" / "out.txt"
    place.chmod(0o644)
    place.write_text("two")
    assert not world.step.standing().uptodate
    world.run()
    assert place.read_text() == "one"


def test_a_tampered_item_is_made_again(world):
    item = world.run()
    file = item.tree / "a" / "out.txt"
    file.chmod(0o644)
    file.write_text("two")
    assert "damaged" in world.step.standing().why
    world.run()
    assert (world.made, (world.shown / "a" / "out.txt").read_text()) == (2, "one")


def test_a_change_is_named_and_changing_back_is_a_hit(world):
    world.run()
    world.text = "two"
    assert "input.text" in world.step.standing().why
    (change,) = world.step.changed()
    assert (change.path, change.before, change.after) == ("input.text", "one", "two")
    world.run()
    world.text = "one"
    world.run()
    assert (world.made, (world.shown / "a" / "out.txt").read_text()) == (2, "one")


def test_what_waits_for_something_says_so(world):
    world.text = None
    assert "waits" in world.step.standing().why
    assert world.step.changed() is None


def test_clean_removes_the_view_and_keeps_the_item(world):
    world.run()
    world.step.forget_view()
    assert not (world.shown / "a" / "out.txt").exists()
    assert world.step.item() is not None
    world.run()
    assert world.made == 1


def test_a_failing_make_leaves_nothing(world):
    def broken(tree, progress):
        (tree / "half").write_text("x")
        raise ValueError("no")

    step = Step("step", world.layout, world.key, broken)
    with pytest.raises(ValueError, match="no"):
        step.run(world.progress)
    assert not step.pointer.exists()
    assert list(Store(world.layout.store).items()) == []


def test_how_long_it_took_is_remembered(world):
    world.run()
    assert world.step.last().meta["wall"] >= 0
