"""Finding out what a source is: differences are shown, nothing is overwritten unasked."""

from __future__ import annotations

import json

import pytest

from bpfbench.context import Context
from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.locking import lock
from bpfbench.model.load import load
from bpfbench.model.types import Origin, Source, Words

from ..model.conftest import Tree
from .test_fetching import BAD, GOOD, sha
from .test_git import Repository

LOCK = "vendor/sources.lock.json"
SPEC = """\
# Why this source.
source: libshim
title: A library
reference: "1"  # what we want
origins:
"""


class Locking:
    """A checkout with valid specs, and one source with origins on the test's web server."""

    def __init__(self, tree: Tree, server, notes) -> None:
        self.tree, self.server, self.notes = tree, server, notes
        self.origins: list[Origin] = []

    def origin(self, name: str, **more: object) -> None:
        self.origins.append(Origin("archive", {"url": f"{self.server.url}/{name}", **more}))

    def context(self) -> Context:
        """Load the checkout; addresses of the test's server, which no spec may have, are put in."""
        spec = SPEC + "  - {method: archive, url: 'https://x.example/a'}\n"
        if not (self.tree.root / "specs/sources/libshim.yaml").read_text().startswith("# Why"):
            self.tree.write("specs/sources/libshim.yaml", spec)
        model = load(Layout.of(self.tree.root))
        read = model.sources["libshim"]
        source = Source(read.name, read.title, read.reference, tuple(self.origins), read.location, read.locked)
        model.sources["libshim"] = source  # type: ignore[index]
        return Context(self.tree.layout, model, Words("quick"), self.tree.root)

    def lock(self, to: str | None = None, *, accept: bool = False):
        context = self.context()
        return lock(context, context.model.sources["libshim"], to, self.notes, accept=accept)

    def written(self):
        return json.loads(self.tree.read(LOCK))["sources"]["libshim"]


@pytest.fixture
def locking(tmp_path, server, notes):
    return Locking(Tree(tmp_path / "checkout"), server, notes)


def test_a_new_source_is_locked_with_all_its_origins(locking):
    locking.server.put("a-1.tar.gz", GOOD), locking.server.put("b-1.tar.gz", GOOD)
    locking.origin("a-{reference}.tar.gz"), locking.origin("b-{reference}.tar.gz")
    outcome = locking.lock()
    assert outcome.before is None and outcome.now.reference == "1"
    entry = locking.written()
    assert [pin["url"].rpartition("/")[2] for pin in entry["pins"]] == ["a-1.tar.gz", "b-1.tar.gz"]
    assert {pin["sha256"] for pin in entry["pins"]} == {sha(GOOD)}
    assert any(f"hash     {entry['hash']}" in line for line in outcome.lines())
    assert not list((locking.tree.root / ".bench/downloads").iterdir())


def test_the_tree_is_in_the_store_afterwards(locking):
    from bpfbench.fetching import source_tree

    locking.server.put("a.tar.gz", GOOD)
    locking.origin("a.tar.gz")
    locking.lock()
    context = locking.context()
    assert (source_tree(context, "libshim") / "a").read_text() == "good"


def test_locking_again_changes_nothing(locking):
    locking.server.put("a.tar.gz", GOOD)
    locking.origin("a.tar.gz")
    locking.lock()
    path = locking.tree.root / LOCK
    before = path.read_bytes(), path.stat().st_mtime_ns
    outcome = locking.lock()
    assert not outcome.changed and list(outcome.lines()) == ["libshim: unchanged, 1"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_to_updates_lock_and_spec_and_shows_the_difference(locking):
    locking.server.put("a-1.tar.gz", GOOD), locking.server.put("a-2.tar.gz", BAD)
    locking.origin("a-{reference}.tar.gz")
    first = locking.lock().now
    outcome = locking.lock("2")
    lines = "\n".join(outcome.lines())
    assert "libshim: 1 → 2" in lines
    assert f"{first.hash}\n         → {outcome.now.hash}" in lines
    assert locking.written()["reference"] == "2"
    spec = locking.tree.read("specs/sources/libshim.yaml")
    assert 'reference: "2"  # what we want\n' in spec and spec.startswith("# Why this source.\n")
    assert locking.context().model.sources["libshim"].locked == outcome.now


def test_other_content_under_the_same_name_is_refused_with_expected_and_got(locking):
    locking.server.put("a.tar.gz", GOOD)
    locking.origin("a.tar.gz")
    before = locking.lock().now
    locking.server.put("a.tar.gz", BAD)
    text = locking.tree.read(LOCK)
    with pytest.raises(BenchError) as caught:
        locking.lock()
    assert f"expected {before.hash}" in str(caught.value) and "got      sha256-" in str(caught.value)
    assert "--accept" in str(caught.value.hint)
    assert locking.tree.read(LOCK) == text
    assert locking.lock(accept=True).now.hash != before.hash
    assert locking.written()["pins"][0]["sha256"] == sha(BAD)


def test_origins_that_disagree_are_refused(locking):
    locking.server.put("a.tar.gz", GOOD), locking.server.put("b.tar.gz", BAD)
    locking.origin("a.tar.gz"), locking.origin("b.tar.gz")
    with pytest.raises(BenchError, match="its origins have different trees") as caught:
        locking.lock()
    assert "a.tar.gz" in str(caught.value) and "b.tar.gz" in str(caught.value)
    assert not (locking.tree.root / LOCK).exists()


def test_a_sha256_that_the_spec_states_has_to_be_right(locking):
    locking.server.put("a.tar.gz", BAD)
    locking.origin("a.tar.gz", sha256=sha(GOOD))
    with pytest.raises(BenchError, match="another SHA-256") as caught:
        locking.lock()
    assert sha(GOOD) in str(caught.value) and sha(BAD) in str(caught.value)
    assert not (locking.tree.root / LOCK).exists()


def test_an_origin_out_of_reach_is_pinned_only_when_its_file_is_known(locking):
    locking.server.put("a.tar.gz", GOOD)
    locking.origin("gone-1.tar.gz", sha256=sha(GOOD))
    locking.origin("gone-2.tar.gz", sha256=sha(BAD))
    locking.origin("gone-3.tar.gz")
    locking.origin("a.tar.gz")
    outcome = locking.lock()
    assert [pin["url"].rpartition("/")[2] for pin in locking.written()["pins"]] == ["gone-1.tar.gz", "a.tar.gz"]
    assert [note.rpartition("(")[2] for note in outcome.notes] == [
        "pinned: another origin has the same file)", "not pinned)", "not pinned)",
    ]  # fmt: skip


def test_what_was_pinned_stays_pinned_while_it_is_out_of_reach(locking):
    locking.server.put("a.tar.gz", GOOD), locking.server.put("b.tar.gz", GOOD)
    locking.origin("a.tar.gz"), locking.origin("b.tar.gz")
    locking.lock()
    del locking.server.files["/a.tar.gz"]
    outcome = locking.lock()
    assert not outcome.changed
    assert outcome.notes[0].endswith("(stays pinned as it was)")


def test_no_origin_in_reach_is_an_error_and_the_lock_stays(locking):
    locking.server.put("a.tar.gz", GOOD)
    locking.origin("a.tar.gz")
    locking.lock()
    text = locking.tree.read(LOCK)
    locking.server.files.clear()
    with pytest.raises(BenchError, match="no origin is in reach"):
        locking.lock()
    assert locking.tree.read(LOCK) == text


def test_other_entries_of_the_lock_stay(locking):
    locking.tree.write(LOCK, json.dumps({"version": 1, "sources": {"other": {"reference": "1", "revision": "1",
        "hash": "sha256-" + "A" * 43 + "=", "pins": [{"method": "debian", "sha256": "0" * 64}]}}}))  # fmt: skip
    locking.server.put("a.tar.gz", GOOD)
    locking.origin("a.tar.gz")
    locking.lock()
    assert sorted(json.loads(locking.tree.read(LOCK))["sources"]) == ["libshim", "other"]


def test_a_branch_may_move_and_a_tag_may_not(locking, tmp_path):
    repository = Repository(tmp_path / "origin")
    first = repository.commit(a="1")
    locking.origins.append(Origin("git", {"url": repository.url, "ref": "main"}))
    assert locking.lock().now.revision == first
    second = repository.commit(a="2")
    outcome = locking.lock()
    assert outcome.now.revision == second
    assert f"  revision {first} → {second}" in list(outcome.lines())


def test_a_spec_whose_reference_cannot_be_found_is_told(locking):
    locking.server.put("a-1.tar.gz", GOOD), locking.server.put("a-2.tar.gz", BAD)
    locking.origin("a-{reference}.tar.gz")
    locking.lock()
    locking.tree.write("specs/sources/libshim.yaml", "{source: libshim, title: T, reference: '1', origins: [{method: archive, url: 'https://x.example/a'}]}")
    locking.tree.write("specs/sources/libshim.yaml", "# Why\n" + locking.tree.read("specs/sources/libshim.yaml"))
    with pytest.raises(BenchError, match="cannot be found"):
        locking.lock("2")
    assert locking.written()["reference"] == "1"
