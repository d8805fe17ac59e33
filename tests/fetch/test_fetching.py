"""The step behind fetch_<source>: first origin with the right tree, all reasons when none has it, out of reach only once."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench import fetching
from bpfbench.context import Context
from bpfbench.errors import BenchError
from bpfbench.fetching import fetch_step, source_hash, source_tree, unavailable
from bpfbench.layout import Layout
from bpfbench.locking import lock
from bpfbench.model.types import Location, Locked, Model, Origin, Source, Words
from bpfbench.store.availability import read
from bpfbench.store.nar import nar_hash

from .hostile import info, tar
from .test_git import Repository

GOOD = gzip.compress(tar((info("x-1/a"), b"good")), mtime=0)
BAD = gzip.compress(tar((info("x-1/a"), b"bad")), mtime=0)
HOSTILE = gzip.compress(tar((info("x-1/../../a"), b"bad")), mtime=0)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def good_hash(tmp_path):
    place = tmp_path / "good"
    place.mkdir()
    (place / "a").write_text("good")
    return nar_hash(place)


class Bench:
    """A checkout with one source, made of origins on the test's web server."""

    def __init__(self, root: Path, server, notes) -> None:
        self.root, self.server, self.notes = root, server, notes
        self.origins: list[Origin] = []
        self.pins: list[Origin] = []
        self.reference, self.locked_reference = "1", "1"

    def origin(self, name: str, body: bytes | None, sha256: str | None = None) -> None:
        url = self.server.put(name, body) if body is not None else f"{self.server.url}/{name}"
        self.add(Origin("archive", {"url": url}), {"sha256": sha256 or sha(body or b"")})

    def add(self, origin: Origin, pin: dict[str, str]) -> None:
        self.origins.append(origin)
        self.pins.append(Origin(origin.method, {**origin.fields, **pin}))

    def source(self, hash: str | None, submodules=()) -> Source:
        locked = Locked(self.locked_reference, "1", hash, tuple(self.pins), tuple(submodules)) if hash else None
        return Source("thing", "A thing", self.reference, tuple(self.origins), Location("specs/sources/thing.yaml", 1, 1), locked)

    def context(self, hash: str | None, named: str | None = None, submodules=(), **overrides: str) -> Context:
        source = self.source(hash, submodules)
        model = Model({"thing": source}, {}, {}, {}, {}, "quick", {}, "digest")
        context = Context(Layout.of(self.root), model, Words("quick", overrides=overrides), self.root)
        context.named.update([named] if named else [])
        return context

    def run(self, context: Context):
        return fetch_step(context, context.model.sources["thing"]).run(self.notes)

    def standing(self, context: Context):
        return fetch_step(context, context.model.sources["thing"]).standing()


@pytest.fixture
def bench(tmp_path, server, notes, monkeypatch):
    monkeypatch.setattr("bpfbench.fetch.tools.CONNECT", 2.0)
    return Bench(tmp_path / "checkout", server, notes)


def test_a_source_is_fetched_once_and_known_by_its_hash_before(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    context = bench.context(good_hash)
    assert source_hash(context, "thing") == good_hash
    assert source_tree(context, "thing") is None
    assert not bench.standing(context).uptodate
    item = bench.run(context)
    assert item.hash == good_hash and (item.tree / "a").read_text() == "good"
    assert item.meta["origin"] == f"archive {bench.server.url}/x.tar.gz"
    assert source_tree(context, "thing") == item.tree
    assert bench.standing(context).uptodate
    bench.server.requests.clear()
    assert bench.run(bench.context(good_hash)).id == item.id
    assert bench.server.requests == []
    assert not list((bench.root / ".bench/downloads").iterdir())


def test_the_first_origin_with_the_right_tree_wins(bench, good_hash):
    bench.origin("gone.tar.gz", None)
    bench.origin("other-bytes.tar.gz", BAD, sha(GOOD))
    bench.origin("hostile.tar.gz", HOSTILE)
    bench.origin("other-tree.tar.gz", BAD)
    bench.origin("right.tar.gz", GOOD)
    bench.origin("never-asked.tar.gz", GOOD)
    item = bench.run(bench.context(good_hash))
    assert item.meta["origin"].endswith("/right.tar.gz")
    assert [path for path, _ in bench.server.requests][-1] == "/right.tar.gz"


def test_where_it_came_from_is_no_part_of_the_item(bench, good_hash, tmp_path):
    bench.origin("one.tar.gz", GOOD)
    first = bench.run(bench.context(good_hash))
    other = Bench(tmp_path / "other", bench.server, bench.notes)
    other.origin("two.tar", gzip.decompress(GOOD))
    assert other.run(other.context(good_hash)).id == first.id


def test_when_no_origin_has_it_all_reasons_are_told_with_expected_and_got(bench, good_hash):
    bench.origin("gone.tar.gz", None)
    bench.origin("bytes.tar.gz", BAD, sha(GOOD))
    bench.origin("hostile.tar.gz", HOSTILE)
    bench.origin("tree.tar.gz", BAD)
    with pytest.raises(BenchError) as caught:
        bench.run(bench.context(good_hash))
    told = str(caught.value)
    assert "404" in told
    assert sha(GOOD) in told and sha(BAD) in told
    assert "x-1/../../a: its name leads upwards" in told
    assert f"but {good_hash} was expected" in told
    assert "./bench lock thing" in told
    assert not list((bench.root / "vendor/store").glob("*-thing"))
    assert unavailable(bench.context(good_hash), "thing") is None, "wrong content is no question of reach"


def test_out_of_reach_is_recorded_once_and_costs_nothing_afterwards(bench, good_hash):
    bench.origin("gone.tar.gz", None)
    assert bench.run(bench.context(good_hash)) is None
    record = read(bench.root / "vendor/store/availability", "source-thing")
    assert not record.ok and "404" in record.reason
    context = bench.context(good_hash)
    assert "404" in unavailable(context, "thing")
    assert bench.standing(context).uptodate and "out of reach" in bench.standing(context).why
    bench.server.requests.clear()
    assert bench.run(context) is None
    assert bench.server.requests == []


def test_naming_the_task_tries_again_and_fails_if_it_still_cannot(bench, good_hash):
    bench.origin("x.tar.gz", None)
    bench.run(bench.context(good_hash))
    named = bench.context(good_hash, named="fetch_thing")
    assert not bench.standing(named).uptodate
    with pytest.raises(BenchError, match="no origin is in reach") as caught:
        bench.run(named)
    assert "override.thing=/path" in str(caught.value)
    bench.server.put("x.tar.gz", GOOD)
    bench.pins[0] = Origin("archive", {**bench.origins[0].fields, "sha256": sha(GOOD)})
    assert bench.run(bench.context(good_hash, named="fetch_*")).hash == good_hash
    assert unavailable(bench.context(good_hash), "thing") is None


def test_another_origin_or_network_is_tried_without_being_asked(bench, good_hash, monkeypatch):
    bench.origin("gone.tar.gz", None)
    bench.run(bench.context(good_hash))
    assert unavailable(bench.context(good_hash), "thing")
    monkeypatch.setenv("https_proxy", "http://other.example")
    assert unavailable(bench.context(good_hash), "thing") is None
    monkeypatch.delenv("https_proxy")
    bench.origin("x.tar.gz", GOOD)
    assert bench.run(bench.context(good_hash)).hash == good_hash


def test_a_source_that_is_not_locked_says_what_to_type(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    with pytest.raises(BenchError, match=r"specs/sources/thing.yaml:1:1: thing is not locked") as caught:
        source_hash(bench.context(None), "thing")
    assert caught.value.hint == "./bench lock thing"
    bench.reference = "2"
    with pytest.raises(BenchError, match="thing is 2 here, but locked is 1"):
        bench.run(bench.context(good_hash))


def test_an_origin_that_was_never_pinned_is_not_used(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    bench.pins.clear()
    assert bench.run(bench.context(good_hash)) is None
    assert "not pinned" in unavailable(bench.context(good_hash), "thing")
    assert bench.server.requests == []


def test_a_sha256_of_the_specs_is_not_overruled_by_the_lock(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    bench.origins[0] = Origin("archive", {**bench.origins[0].fields, "sha256": "0" * 64})
    bench.run(bench.context(good_hash))
    assert "not pinned" in unavailable(bench.context(good_hash), "thing")


def test_a_damaged_item_is_fetched_again(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    item = bench.run(bench.context(good_hash))
    (item.tree / "a").chmod(0o644)
    (item.tree / "a").write_text("tampered")
    assert not bench.standing(bench.context(good_hash)).uptodate
    assert (bench.run(bench.context(good_hash)).tree / "a").read_text() == "good"


def test_a_submodule_at_another_commit_than_the_locks_is_refused(bench, tmp_path):
    inner, outer = Repository(tmp_path / "inner"), Repository(tmp_path / "outer")
    inner.commit(i="1")
    outer.git("submodule", "--quiet", "add", inner.url, "third/inner")
    outer.commit(o="1")
    bench.origins.append(Origin("git", {"url": outer.url, "ref": "main", "submodules": True}))
    context = bench.context(None)
    now = lock(context, context.model.sources["thing"], None, bench.notes).now
    assert [(m.path, m.commit) for m in now.submodules] == [("third/inner", inner.git("rev-parse", "HEAD"))]
    bench.pins[:] = now.pins
    bench.locked_reference = now.reference
    context = bench.context(now.hash, submodules=now.submodules)
    assert (source_tree(context, "thing") / "third/inner/i").read_text() == "1", "lock has put it into the store"
    import shutil

    shutil.rmtree(bench.root / "vendor/store")
    assert bench.run(context).hash == now.hash
    shutil.rmtree(bench.root / "vendor/store")
    wrong = replace(now.submodules[0], commit="1" * 40)
    with pytest.raises(BenchError, match="another commit of the submodule third/inner") as caught:
        bench.run(bench.context(now.hash, submodules=[wrong]))
    assert "1" * 40 in str(caught.value) and inner.git("rev-parse", "HEAD") in str(caught.value)


def test_a_local_tree_stands_in_and_an_edit_of_it_is_noticed(bench, good_hash, tmp_path):
    bench.origin("x.tar.gz", GOOD)
    repository = Repository(tmp_path / "mine")
    repository.commit(a="mine")
    context = bench.context(good_hash, thing=str(repository.path))
    assert source_hash(context, "thing") is None, "not known before it is copied"
    item = bench.run(context)
    assert (item.tree / "a").read_text() == "mine"
    assert bench.server.requests == []
    assert source_hash(context, "thing") == item.hash != good_hash
    assert item.manifest.key.components["override"]["commit"] == repository.git("rev-parse", "HEAD")
    (repository.path / "a").write_text("edited")
    again = bench.context(good_hash, thing=str(repository.path))
    assert not bench.standing(again).uptodate
    assert (bench.run(again).tree / "a").read_text() == "edited"
    (repository.path / "a").write_text("mine")
    back = bench.context(good_hash, thing=str(repository.path))
    assert bench.run(back).id == item.id


def test_an_unlocked_source_can_be_overridden(bench, tmp_path):
    bench.origin("x.tar.gz", GOOD)
    place = tmp_path / "mine"
    place.mkdir()
    (place / "f").write_text("1")
    assert bench.run(bench.context(None, thing=str(place))).hash == nar_hash(place)


def test_a_kill_leaves_a_part_that_the_next_run_goes_on_with(bench, good_hash):
    bench.origin("x.tar.gz", GOOD)
    downloads = bench.root / ".bench/downloads"
    downloads.mkdir(parents=True)
    (downloads / f"{sha(GOOD)}.part").write_bytes(GOOD[:30])
    (downloads / f"{sha(GOOD)}.json").write_text(f'{{"url": "{bench.server.url}/x.tar.gz", "validator": null, "length": {len(GOOD)}}}')
    assert bench.run(bench.context(good_hash)).hash == good_hash
    assert bench.server.requests == [("/x.tar.gz", "bytes=30-")]


def test_the_lock_file_of_this_repository_covers_its_sources():
    from bpfbench.model.load import load

    model = load(Layout.of(Path(__file__).parents[2]))
    for source in model.sources.values():
        locked = fetching.locked(source)
        assert any(fetching.pin_of(origin, locked) for origin in source.origins), source.name
