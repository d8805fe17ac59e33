"""Who needs what: roots, items in use, and the removal of the rest, beside others at work."""

# ruff: noqa: PTH208

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from bpfbench.layout import Layout
from bpfbench.store import garbage, pointers, roots, uses
from bpfbench.store.files import write_atomic
from bpfbench.store.keys import make_key
from bpfbench.store.locks import Flock
from bpfbench.store.store import Store

from .breaking import become_nobody, fill, overwrite, rubbish


def checkout(place: Path, store: Store) -> Layout:
    place.mkdir(parents=True)
    (place / "dodo.py").touch()
    return Layout.of(place, store.root)


def item(store: Store, name: str, text: bytes = b"some text"):
    def make(tree):
        (tree / "file").write_bytes(text)

    return store.realise(make_key(name, {"text": text.decode()}), make)


def users(store: Store, layouts) -> list[roots.Root]:
    return [root for layout in layouts for root in roots.roots(store.root, layout)]


def dead(store: Store, *layouts: Layout, wanted=()) -> set[str]:
    found = garbage.survey(store, users(store, layouts), wanted)
    assert {held.id for held in (*found.dead, *found.live)} == set(store.ids())
    return {held.name for held in found.dead}


def collect(store: Store, *layouts: Layout):
    return garbage.collect(store, garbage.survey(store, []).dead, lambda: users(store, layouts))


@pytest.fixture
def here(tmp_path, store) -> Layout:
    return checkout(tmp_path / "checkout", store)


# What is needed


def test_an_item_that_nobody_names_is_dead(store, here):
    item(store, "one")
    assert dead(store, here) == {"one"}


def test_what_a_pointer_names_lives(store, here):
    pointers.write(here.pointers / "build_one.json", item(store, "one").id)
    item(store, "two")
    assert dead(store, here) == {"two"}


def test_what_is_wanted_now_lives(store, here):
    one = item(store, "one")
    assert dead(store, here, wanted={one.id}) == set()


def test_samples_of_a_result_that_is_shown_live(store, here):
    samples = item(store, "measure-x")
    item(store, "measure-y")
    write_atomic(here.results / "machine" / "quick" / "x.json", json.dumps({"run_key": samples.id}).encode())
    assert dead(store, here) == {"measure-y"}


def test_an_item_of_which_a_file_is_shown_lives(store, here):
    item(store, "figure-x", b"a figure")
    item(store, "figure-y", b"another figure")
    item(store, "empty", b"")
    write_atomic(here.results / "machine" / "paper" / "figures" / "x.svg", b"a figure")
    (here.results / "machine" / "nothing").write_bytes(b"")  # that all empty files are alike keeps none
    assert dead(store, here) == {"figure-y", "empty"}


@pytest.mark.parametrize("junk", [b"", b"[]", b"{", b'{"run_key": 7}', b'"x"', b"\xff\xfe"])
def test_junk_among_pointers_and_results_is_no_harm(store, here, junk):
    item(store, "one")
    write_atomic(here.pointers / "build_one.json", junk)
    write_atomic(here.results / "machine" / "quick" / "x.json", junk)
    assert dead(store, here) == {"one"}


# Other checkouts


def test_other_checkouts_that_were_entered_keep_what_they_name(store, here, tmp_path):
    other = checkout(tmp_path / "other, ü", store)
    pointers.write(other.pointers / "build_one.json", item(store, "one").id)
    item(store, "two")
    assert dead(store, here) == {"one", "two"}
    roots.register(other)
    assert dead(store, here) == {"two"}
    # What it has come to name since is read from the checkout itself.
    pointers.write(other.pointers / "build_two.json", item(store, "two").id)
    assert dead(store, here) == set()


def test_a_checkout_that_is_gone_keeps_nothing_and_is_forgotten(store, here, tmp_path):
    other = checkout(tmp_path / "other", store)
    pointers.write(other.pointers / "build_one.json", item(store, "one").id)
    roots.register(other)
    shutil.rmtree(other.root)
    assert dead(store, here) == {"one"}
    found = roots.roots(store.root, here)
    assert [(root.checkout, root.state) for root in found] == [(here.root, "open"), (other.root, "gone")]
    assert garbage.forget_gone(found) == [other.root]
    assert list((store.root / roots.FOLDER).iterdir()) == []


def test_what_took_the_place_of_a_checkout_is_none(store, here, tmp_path):
    other = checkout(tmp_path / "other", store)
    item(store, "one")
    roots.register(other)
    shutil.rmtree(other.root)
    other.root.write_text("a file")
    assert [root.state for root in roots.roots(store.root, here)] == ["open", "gone"]


def test_entering_a_checkout_twice_writes_nothing(store, here):
    item(store, "one")
    roots.register(here)
    (entry,) = (store.root / roots.FOLDER).iterdir()
    before = entry.stat()
    roots.register(here)
    assert entry.stat() == before
    pointers.write(here.pointers / "build_one.json", item(store, "one").id)
    roots.register(here)
    assert item(store, "one").id in json.loads(entry.read_bytes())["items"]


def test_a_store_that_is_not_there_is_not_made_by_entering(store, here):
    roots.register(here)
    assert not store.root.exists()


@pytest.mark.parametrize("junk", [b"", b"[]", b'{"format": 1, "checkout": "/", "items": 3}', b'{"format": 9}'])
def test_a_torn_entry_is_none(store, here, junk):
    item(store, "one")
    roots.register(here)
    (entry,) = (store.root / roots.FOLDER).iterdir()
    entry.write_bytes(junk)
    assert [root.checkout for root in roots.roots(store.root, here)] == [here.root]
    roots.register(here)
    assert json.loads(entry.read_bytes())["checkout"] == str(here.root)


def test_a_checkout_that_may_not_be_looked_into_keeps_what_it_said_and_what_is_newer(public, children):
    store = Store(public / "store")
    item(store, "old")
    home = checkout(public / "home" / "checkout", store)
    (public / "home").chmod(0o700)
    pointers.write(home.pointers / "build_one.json", item(store, "one").id)
    roots.register(home)
    entry = next((store.root / roots.FOLDER).iterdir())
    # Made before the entry and after it, as the file system sees it.
    os.utime(entry, (entry.stat().st_ctime + 0.5,) * 2)
    late = entry.stat().st_mtime
    while True:
        path = item(store, "late").path
        if path.stat().st_ctime >= late:
            break
        store.remove(path.name)
    own = Layout.of(public / "own", store.root)

    def nobody():
        become_nobody()
        found = roots.roots(store.root, own)
        assert [root.state for root in found] == ["closed", "open"]
        assert {held.name for held in garbage.survey(store, found).dead} == {"old"}

    assert children.run(nobody) == 0


def test_any_user_of_a_shared_store_can_enter_a_checkout(public, children):
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o2777)
    old = os.umask(0o077)
    roots.register(checkout(public / "one", store))
    os.umask(old)
    two = checkout(public / "two", store)

    def nobody():
        become_nobody()
        roots.register(two)

    assert children.run(nobody) == 0
    assert [root.checkout.name for root in roots.roots(store.root)] == ["one", "two"]


# Removing


def test_what_is_removed_is_gone_and_nothing_is_left_of_it(store, here):
    one, two = item(store, "one"), item(store, "two", b"other text")
    pointers.write(here.pointers / "build_one.json", one.id)
    found = garbage.survey(store, roots.roots(store.root, here))
    assert [(held.name, held.size) for held in found.dead] == [("two", 10)]
    done = garbage.collect(store, found.dead, lambda: roots.roots(store.root, here))
    assert (done.removed, done.used, done.refused, done.undeleted) == ([two.id], [], [], [])
    assert store.ids() == [one.id] and rubbish(store) == []
    assert store.verify(one) == []


def test_more_items_than_there_may_be_open_files(store, here, children):
    ids = {item(store, f"item-{number}").id for number in range(garbage._AT_ONCE + 3)}

    def work():
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (garbage._AT_ONCE + 50,) * 2)
        assert set(collect(store, here).removed) == ids

    assert children.run(work) == 0
    assert store.ids() == [] and rubbish(store) == []


def test_damaged_items_and_items_without_a_manifest_go_too(store, here):
    overwrite(item(store, "one").tree / "file", b"S")
    (item(store, "two").path / "manifest.json").unlink()
    assert len(collect(store, here).removed) == 2
    assert store.ids() == []


def test_what_came_to_be_needed_meanwhile_stays(store, here):
    one = item(store, "one")
    found = garbage.survey(store, roots.roots(store.root, here))
    pointers.write(here.pointers / "build_one.json", one.id)
    done = garbage.collect(store, found.dead, lambda: roots.roots(store.root, here))
    assert (done.removed, done.used) == ([], [one.id])
    assert store.find(one.id)


def test_an_item_that_somebody_found_stays_until_they_end(store, here, children, line):
    one = item(store, "one")
    ready, go = line(), line()

    def user():
        with uses.holding():
            assert store.find(one.id)
            ready.say("found")
            assert go.hear() == "go"
            assert store.verify(one) == []

    pid = children.start(user)
    assert ready.hear() == "found"
    assert collect(store, here).used == [one.id]
    go.say("go")
    assert children.end(pid) == 0
    assert collect(store, here).removed == [one.id]


def test_an_item_that_somebody_makes_stays_from_the_moment_it_is_seen(store, here, children, line):
    ready, go, key = line(), line(), make_key("made", {})

    def maker():
        with uses.holding():
            made = store.realise(key, fill)
            ready.say("made")
            assert go.hear() == "go"
            assert store.verify(made) == []

    pid = children.start(maker)
    assert ready.hear() == "made"
    assert collect(store, here).used == [key.id]
    go.say("go")
    assert children.end(pid) == 0


def test_an_item_of_a_killed_user_is_free_at_once(store, here, children, line):
    one, ready, never = item(store, "one"), line(), line()

    def user():
        with uses.holding():
            store.find(one.id)
            ready.say("found")
            never.hear()

    pid = children.start(user)
    assert ready.hear() == "found"
    children.kill(pid)
    assert collect(store, here).removed == [one.id]


def test_a_forked_worker_holds_for_itself(store, here, children, line):
    one, two = item(store, "one"), item(store, "two")
    ready, go = line(), line()

    def parent():
        with uses.holding():
            store.find(one.id)
            worker = os.fork()
            if worker == 0:
                store.find(two.id)
                ready.say("found")
                go.hear()
                os._exit(0)
            assert os.waitpid(worker, 0)[1] == 0
            ready.say("ended")
            go.hear()

    pid = children.start(parent)
    assert ready.hear() == "found"
    assert set(collect(store, here).used) == {one.id, two.id}
    go.say("go")
    assert ready.hear() == "ended"  # what the worker's end must not free is what its parent found
    done = collect(store, here)
    assert (done.used, done.removed) == ([one.id], [two.id])
    go.say("go")
    assert children.end(pid) == 0


def test_whoever_wants_an_item_while_it_is_removed_finds_it_absent(store, children, line):
    one, waiting = item(store, "one"), line()
    with Flock(one.path) as flock:
        assert flock.try_take()

        def user():
            waiting.say("looking")
            with uses.holding():
                assert store.find(one.id) is None

        pid = children.start(user)
        assert waiting.hear() == "looking"
        one.path.rename(store.root / ".trash-x")
    assert children.end(pid) == 0


def test_nothing_is_held_outside_of_a_run(store, here):
    one = item(store, "one")
    with uses.holding():
        store.find(one.id)
        assert uses.claim(one.path) is None
    with uses.claim(one.path) as claimed:
        assert claimed.is_open
    store.find(one.id)
    uses.claim(one.path).close()


def test_holding_the_same_item_twice_takes_one_open_file(store):
    one = item(store, "one")
    with uses.holding():
        store.find(one.id)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            store.find(one.id)
        assert len(os.listdir("/proc/self/fd")) == before
    assert uses._held == {}


def test_a_replaced_item_is_held_in_its_new_place(store, here, children, line):
    key, ready, go = make_key("thing", {}), line(), line()
    overwrite(store.realise(key, fill).tree / "data", b"S")

    def user():
        with uses.holding():
            assert store.find(key) is None
            made = store.realise(key, fill)
            ready.say("replaced")
            assert go.hear() == "go"
            assert store.verify(made) == []

    pid = children.start(user)
    assert ready.hear() == "replaced"
    assert collect(store, here).used == [key.id]
    go.say("go")
    assert children.end(pid) == 0


def test_a_killed_collection_leaves_what_the_next_sweep_takes_away(store, here, children):
    for number in range(5):
        store.realise(make_key("thing", {"number": number}), fill)

    def work():
        deleted = []

        def stop(path):
            deleted.append(path)
            os.kill(os.getpid(), signal.SIGKILL)

        garbage.workshop.trees.delete = stop
        collect(store, here)

    assert children.end(children.start(work)) == -signal.SIGKILL
    assert store.ids() == [] and len(rubbish(store)) == 5
    store.sweep()
    assert rubbish(store) == []


def test_what_another_user_made_is_put_aside_and_freed_by_them(public, children):
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o777)
    one = item(store, "one")

    def nobody():
        become_nobody()
        done = collect(store)
        assert (done.removed, done.undeleted) == ([one.id], [one.id])

    assert children.run(nobody) == 0
    assert store.ids() == [] and len(rubbish(store)) == 1
    store.sweep()
    assert rubbish(store) == []


def test_in_a_sticky_directory_only_ones_own_go(public, children):
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o1777)
    one = item(store, "one")

    def nobody():
        become_nobody()
        two = item(store, "two")
        done = collect(store)
        assert (done.removed, done.refused) == ([two.id], [one.id])
        assert store.find(one.id)

    assert children.run(nobody) == 0


def test_sweeping_takes_torn_entries_of_roots_away(store, here):
    item(store, "one")
    roots.register(here)
    (store.root / roots.FOLDER / ".x.json.0011.tmp").write_text("half")
    assert store.sweep() == [f"{roots.FOLDER}/.x.json.0011.tmp"]
