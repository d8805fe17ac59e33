"""A glance tells what a close look told, for as long as nothing has changed, and not a moment longer."""

import os
import shutil
import time

import pytest

from bpfbench.glance import KEPT, SETTLED, Glances, below, stamps_of


class Looked:
    """A step over a tree, with a count of how often it was looked at closely."""

    def __init__(self, root):
        self.tree, self.text, self.looks, self.good = root / "tree", "one", 0, True
        (self.tree / "folder").mkdir(parents=True)
        (self.tree / "folder" / "file").write_text("x")
        (self.tree / "link").symlink_to("folder")

    def glimpse(self):
        return self.text

    def look(self):
        self.looks += 1
        return self.good, list(below(str(self.tree)))


@pytest.fixture
def step(tmp_path):
    made = Looked(tmp_path)
    settle()
    return made


def settle():
    time.sleep(2.5 * SETTLED / 1e9)


def glances(tmp_path, call="call"):
    (tmp_path / "state").mkdir(exist_ok=True)
    return Glances(tmp_path / "state" / "glances", call)


def look(tmp_path, step, call="call"):
    """Look as a call of its own would, and return the verdict and whether it took a close look."""
    before, made = step.looks, glances(tmp_path, call)
    verdict = made.uptodate("task", step.glimpse, step.look)
    made.save()
    return verdict, step.looks > before


@pytest.mark.parametrize("good", [True, False])
def test_a_verdict_is_remembered(tmp_path, step, good):
    step.good = good
    assert look(tmp_path, step) == (good, True)
    step.good = not good
    assert look(tmp_path, step) == (good, False)


def touch_nothing_but_the_content(file):
    info = file.stat()
    file.write_text("y")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


CHANGES = {
    "content with its old time": lambda step: touch_nothing_but_the_content(step.tree / "folder" / "file"),
    "a mode": lambda step: (step.tree / "folder" / "file").chmod(0o600),
    "a file more": lambda step: (step.tree / "folder" / "more").write_text(""),
    "a file less": lambda step: (step.tree / "folder" / "file").unlink(),
    "a folder less": lambda step: shutil.rmtree(step.tree / "folder"),
    "all gone": lambda step: shutil.rmtree(step.tree),
    "another link": lambda step: ((step.tree / "link").unlink(), (step.tree / "link").symlink_to("other!")),
    "what is no file": lambda step: setattr(step, "text", "two"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_looked_at(tmp_path, step, change):
    look(tmp_path, step)
    assert look(tmp_path, step) == (True, False)
    CHANGES[change](step)
    assert look(tmp_path, step)[1]


def test_what_has_just_changed_is_not_remembered(tmp_path, step):
    (step.tree / "folder" / "file").write_text("new")
    assert look(tmp_path, step)[1]
    assert look(tmp_path, step)[1]
    settle()
    assert look(tmp_path, step)[1]
    assert not look(tmp_path, step)[1]


def test_what_changes_during_the_look_is_not_remembered(tmp_path, step):
    seen = step.look

    def look_and_meddle():
        found = seen()
        (step.tree / "folder" / "file").write_text("meddled")
        return found

    step.look = look_and_meddle
    assert look(tmp_path, step)[1]
    step.look = seen
    settle()
    assert look(tmp_path, step)[1]


def test_up_to_date_without_its_files_is_not_remembered(tmp_path, step):
    step.look = lambda: (True, [str(step.tree), str(step.tree / "folder" / "absent")])
    made = glances(tmp_path)
    assert made.uptodate("task", step.glimpse, step.look)
    made.save()
    assert not list((tmp_path / "state").rglob("*.json"))


def test_what_is_missing_from_a_folder_that_is_watched_is_remembered(tmp_path, step):
    step.look = lambda: (True, [str(step.tree), str(step.tree / "absent")])
    made = glances(tmp_path)
    assert made.uptodate("task", step.glimpse, step.look)
    made.save()
    step.look = lambda: (False, [])
    assert glances(tmp_path).uptodate("task", step.glimpse, step.look)
    (step.tree / "absent").write_text("")
    assert not glances(tmp_path).uptodate("task", step.glimpse, step.look)


def test_absence_is_remembered_as_long_as_it_lasts(tmp_path, step):
    absent, seen = tmp_path / "absent", step.look
    step.look = lambda: (False, [*seen()[1], str(absent)])
    assert look(tmp_path, step) == (False, True)
    assert look(tmp_path, step) == (False, False)
    absent.write_text("")
    assert look(tmp_path, step)[1]


def test_another_call_has_verdicts_of_its_own_and_few_are_kept(tmp_path, step):
    for number in range(KEPT + 3):
        assert look(tmp_path, step, f"call {number}")[1]
    assert not look(tmp_path, step, f"call {KEPT + 2}")[1]
    assert len(list((tmp_path / "state" / "glances").iterdir())) == KEPT


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"task": 1}', b'{"task": [true, "one", [], 7]}', b"\xff", b"[" * 100_000])
def test_a_broken_memory_is_no_memory(tmp_path, step, rubbish):
    look(tmp_path, step)
    (file,) = (tmp_path / "state" / "glances").iterdir()
    file.write_bytes(rubbish)
    assert look(tmp_path, step) == (True, True)
    assert look(tmp_path, step) == (True, False)


def test_a_file_is_looked_at_once_until_something_moved(tmp_path, step):
    look(tmp_path, step)
    made = glances(tmp_path)
    assert made.uptodate("task", step.glimpse, step.look)
    (step.tree / "folder" / "file").write_text("y")
    step.good = False
    assert made.uptodate("task", step.glimpse, step.look)
    made.forget()
    assert not made.uptodate("task", step.glimpse, step.look)


def test_an_error_of_the_close_look_is_raised_and_not_remembered(tmp_path, step):
    look(tmp_path, step)
    (step.tree / "folder" / "file").write_text("y")

    def broken():
        raise ValueError("no")

    step.look = broken
    with pytest.raises(ValueError, match="no"):
        look(tmp_path, step)


def test_a_checkout_that_is_gone_is_not_made_again(tmp_path, step):
    made = glances(tmp_path)
    made.uptodate("task", step.glimpse, step.look)
    shutil.rmtree(tmp_path / "state")
    made.save()
    assert not (tmp_path / "state").exists()


def test_stamps_of_what_cannot_be_looked_at_are_none(tmp_path):
    assert stamps_of([str(tmp_path / ("x" * 300))]) is None
    assert stamps_of([str(tmp_path / "absent")]) == stamps_of([str(tmp_path / "other")])
