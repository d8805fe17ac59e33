"""The lock is part of the model: checked like a spec, told about where it is wrong, and allowed to be missing."""

from __future__ import annotations

import json

import pytest

from bpfbench.model.cache import load_cached
from bpfbench.model.types import Locked, Origin, Submodule

LOCK = "vendor/sources.lock.json"
TREE = "sha256-" + "A" * 43 + "="


def entry(**changes):
    pin = {"method": "debian", "package": "libshim", "file": "libshim_1.10.orig.tar.gz", "sha256": "b" * 64}
    module = {"url": "https://git.example/x", "commit": "c" * 40, "hash": TREE}
    whole = {"reference": "1.10", "revision": "1.10", "hash": TREE, "pins": [pin], "submodules": {"third/x": module}}
    return {**whole, **changes}


def lock(tree, **changes):
    tree.write(LOCK, json.dumps({"version": 1, "sources": {"libshim": entry(**changes)}}, indent=1))


def test_without_a_lock_nothing_is_locked(tree):
    assert tree.load().sources["libshim"].locked is None


def test_what_is_locked_is_part_of_the_source(tree):
    lock(tree)
    pin = Origin("debian", {"package": "libshim", "file": "libshim_1.10.orig.tar.gz", "sha256": "b" * 64})
    module = Submodule("third/x", "https://git.example/x", "c" * 40, TREE)
    assert tree.load().sources["libshim"].locked == Locked("1.10", "1.10", TREE, (pin,), (module,))


def test_a_changed_lock_is_noticed_by_the_cache(tree):
    assert load_cached(tree.layout).sources["libshim"].locked is None
    lock(tree)
    first = load_cached(tree.layout)
    assert first.sources == tree.load().sources
    assert load_cached(tree.layout).sources == first.sources
    lock(tree, revision="other")
    assert load_cached(tree.layout).sources["libshim"].locked.revision == "other"


def test_what_is_locked_and_no_longer_there_is_no_error(tree):
    tree.write(LOCK, json.dumps({"version": 1, "sources": {"gone": entry()}}))
    assert tree.load().sources["libshim"].locked is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hash": "sha256-short"}, "sources.libshim.hash"),
        ({"pins": []}, "sources.libshim.pins"),
        ({"pins": [{"method": "debian"}]}, "sources.libshim.pins[0]"),
        ({"pins": [{"method": "debian", "sha256": "b" * 63}]}, "sources.libshim.pins[0].sha256"),
        ({"pins": [{"method": "svn", "sha256": "b" * 64}]}, "sources.libshim.pins[0].method"),
        ({"revision": 5}, "sources.libshim.revision"),
        ({"extra": 5}, "sources.libshim.extra"),
        ({"submodules": {"x": {"url": "https://x/y"}}}, "sources.libshim.submodules.x"),
    ],
)
def test_a_broken_lock_is_told_with_file_line_and_field(tree, changes, field):
    lock(tree, **changes)
    problems = tree.problems()
    assert any(p.location.file == LOCK and p.location.line > 1 and p.field.startswith(field) for p in problems), problems


def test_a_lock_that_is_cut_off_is_told(tree):
    tree.write(LOCK, '{"version": 1, "sources": {')
    assert {problem.location.file for problem in tree.problems()} == {LOCK}
