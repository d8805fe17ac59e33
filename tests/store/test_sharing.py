"""Several makers at once, several users, other and full and read-only file systems."""

import errno
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.store import manifest as manifests
from bpfbench.store.files import make_shared, write_atomic
from bpfbench.store.keys import make_key
from bpfbench.store.store import Store

from .breaking import become_nobody, fill, mount, need_root, overwrite, private_mounts, rubbish

MS_RDONLY, MS_REMOUNT = 1, 32


def never(tree):
    raise AssertionError("made although somebody else makes it")


def test_processes_that_want_the_same_thing_at_once_make_it_once(store, key, children, line, tmp_path):
    log = tmp_path / "log"
    makers_ready, go, waiting = line(), line(), line()

    def make(tree):
        fill(tree)
        with log.open("ab", buffering=0) as file:
            file.write(b"made\n")
        # Everybody else is seen waiting for this one before it goes on.
        for _ in range(3):
            assert waiting.hear() == "waiting"

    def child():
        told = []

        def on_wait(seconds):
            if not told:
                waiting.say("waiting")
                told.append(seconds)

        makers_ready.say("ready")
        assert go.hear() == "go"
        item = store.realise(key, make, on_wait=on_wait)
        assert store.verify(item) == []

    pids = [children.start(child) for _ in range(4)]
    assert [makers_ready.hear() for _ in pids] == ["ready"] * 4
    for _ in pids:
        go.say("go")
    assert [children.end(pid) for pid in pids] == [0] * 4
    assert log.read_bytes() == b"made\n"
    assert rubbish(store) == []


def test_threads_too_make_it_once(store, key):
    made, items = [], []

    def make(tree):
        made.append(tree)
        fill(tree)

    threads = [threading.Thread(target=lambda: items.append(store.realise(key, make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(items) == 4 and rubbish(store) == []


def test_when_the_first_maker_is_killed_the_second_makes_it(store, key, children, line):
    first, second, never = line(), line(), line()

    def slow(tree):
        fill(tree)
        first.say("half")
        never.hear()

    maker = children.start(lambda: store.realise(key, slow))
    assert first.hear() == "half"
    waiter = children.start(lambda: store.realise(key, fill, on_wait=lambda seconds: second.say("waiting")))
    assert second.hear() == "waiting"
    assert store.find(key) is None  # nothing half-made is seen
    children.kill(maker)
    assert children.end(waiter) == 0
    assert store.verify(store.find(key)) == [] and rubbish(store) == []


def test_when_the_first_maker_fails_the_second_makes_it(store, key, children, line):
    first, second = line(), line()

    def fail(tree):
        first.say("half")
        assert second.hear() == "waiting"
        raise BenchError("cannot")

    def failing():
        with pytest.raises(BenchError, match="cannot"):
            store.realise(key, fail)

    maker = children.start(failing)
    assert first.hear() == "half"
    told = []
    item = store.realise(key, fill, on_wait=lambda seconds: told or told.append(second.say("waiting")))
    assert children.end(maker) == 0 and told and store.find(key) == item


def test_different_things_are_made_side_by_side(store, key):
    other = make_key("other", {})

    def make(tree):
        fill(tree)
        store.realise(other, fill)

    store.realise(key, make)
    assert len(store.ids()) == 2 and rubbish(store) == []


# Full and read-only disks, another file system


def test_a_full_disk_while_making(full_disk, key):
    def work(place):
        store = Store(place / "store")
        with pytest.raises(BenchError, match="No space left on device") as error:
            store.realise(key, lambda tree: (tree / "big").write_bytes(bytes(1 << 20)))
        assert "doit gc" in error.value.hint
        assert list(store.root.iterdir()) == []
        assert store.realise(key, fill) == store.find(key)  # the room is free again

    assert full_disk(work) == 0


def test_a_full_disk_while_writing_the_manifest(full_disk, key):
    def make(tree):
        with (tree / "big").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def work(place):
        store = Store(place / "store")
        with pytest.raises(BenchError, match="No space left on device"):
            store.realise(key, make)
        assert list(store.root.iterdir()) == []
        item = store.realise(key, fill)
        overwrite(item.tree / "data", b"S")
        with pytest.raises(BenchError, match="No space left on device"):
            store.realise(key, make)  # a replacement that fails leaves the old item
        assert store.status(key).state == "damaged" and rubbish(store) == []

    assert full_disk(work) == 0


def test_a_full_disk_leaves_the_old_file(full_disk):
    def work(place):
        path = place / "file"
        write_atomic(path, b"old")
        with pytest.raises(OSError, match="No space left on device"):
            write_atomic(path, bytes(1 << 20))
        assert path.read_bytes() == b"old" and list(place.iterdir()) == [path]

    assert full_disk(work) == 0


def test_a_store_on_another_file_system(full_disk, key, tmp_path):
    def work(place):
        assert place.stat().st_dev != tmp_path.stat().st_dev
        store = Store(place / "store")
        item = store.realise(key, fill)
        assert store.find(key) == item and store.verify(item) == []
        overwrite(item.tree / "data", b"S")
        assert store.find(key) is None and store.realise(key, fill).hash == item.hash

    assert full_disk(work) == 0


def test_a_read_only_store_can_be_used_but_not_added_to(children, key, tmp_path):
    need_root()
    place = tmp_path / "mounted"
    place.mkdir()

    def work():
        private_mounts()
        mount("tmpfs", place, "tmpfs")
        store = Store(place / "store")
        item = store.realise(key, fill)
        os.utime(
            item.tree / "data", (7, 7)
        )  # what is found differs from the manifest, which cannot be refreshed
        mount("tmpfs", place, "tmpfs", MS_REMOUNT | MS_RDONLY)
        for _ in range(2):
            assert store.find(key).hash == item.hash and store.realise(key, fill).hash == item.hash
        with pytest.raises(BenchError, match="cannot be written: Read-only file system") as error:
            store.realise(make_key("other", {}), fill)
        assert "store=/path" in error.value.hint

    assert children.run(work) == 0


# Several users


def test_what_root_made_with_a_tight_umask_others_can_read(public, key, children):
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o755)
    old = os.umask(0o077)
    item = store.realise(key, fill)
    os.umask(old)

    def other():
        become_nobody()
        found = store.find(key)
        assert found == item and store.verify(found) == []
        with pytest.raises(BenchError, match="cannot be written: Permission denied"):
            store.realise(make_key("other", {}), fill)
        with pytest.raises(BenchError, match="cannot be written: Permission denied"):
            store.remove(key)
        assert store.find(key) == item

    assert children.run(other) == 0


def test_a_store_that_users_share(public, key, children, line):
    """A damaged item of one user is replaced by another, and so is what a killed maker left."""
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o777)
    overwrite(store.realise(key, fill).tree / "data", b"S")
    other, ready, never = make_key("other", {}), line(), line()

    def slow(tree):
        fill(tree)
        ready.say("half")
        never.hear()

    maker = children.start(lambda: store.realise(other, slow))
    assert ready.hear() == "half"
    children.kill(maker)

    def nobody():
        become_nobody()
        assert store.status(key).state == "damaged"
        for wanted in (key, other):
            item = store.realise(wanted, fill)
            assert item.tree.stat().st_uid == os.geteuid() and store.find(wanted) == item

    assert children.run(nobody) == 0
    assert [store.status(wanted).state for wanted in (key, other)] == ["intact", "intact"]
    store.sweep()  # nobody could not delete what root left, but root can
    assert rubbish(store) == []


def test_a_waiting_user_waits_for_another_users_maker(public, key, children, line):
    store = Store(public / "store")
    store.root.mkdir()
    store.root.chmod(0o777)
    ready, waiting = line(), line()

    def slow(tree):
        fill(tree)
        ready.say("half")
        assert waiting.hear() == "waiting"

    def nobody():
        become_nobody()
        told = []
        item = store.realise(key, never, on_wait=lambda s: told or told.append(waiting.say("waiting")))
        assert told and item.tree.stat().st_uid == 0

    old = os.umask(0o077)
    maker = children.start(lambda: store.realise(key, slow))
    os.umask(old)
    assert ready.hear() == "half"
    assert children.run(nobody) == 0 and children.end(maker) == 0


def test_files_of_others_in_a_tree_become_ours(store, key, tmp_path):
    need_root()

    def make(tree):
        fill(tree)
        for path in [tree / "data", tree / "bin", tree / "link"]:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        (tree / "bin" / "run").chmod(0o4755)

    item = store.realise(key, make)
    assert {path.lstat().st_uid for path in item.tree.rglob("*")} == {0}
    assert stat.S_IMODE((item.tree / "bin" / "run").stat().st_mode) == 0o555


def test_files_of_others_that_cannot_become_ours_are_refused(public, key, children):
    store = Store(public / "store")
    foreign = public / "foreign"
    foreign.write_bytes(b"root's")

    def nobody():
        become_nobody()

        def make(tree):
            tree.rmdir()
            foreign.rename(tree)  # a directory that all may write lets anybody do this

        with pytest.raises(BenchError, match="belongs to user 0, so that user 65534 cannot seal it"):
            store.realise(key, make)
        assert rubbish(store) == []

    assert children.run(nobody) == 0


def test_a_store_restored_by_another_user_is_intact(public, key, children):
    store = Store(public / "store")
    item = store.realise(key, fill)
    restored = Store(public / "restored")

    def nobody():
        become_nobody()
        shutil.copytree(store.root, restored.root, symlinks=True)
        assert restored.find(key).hash == item.hash
        hashed = []
        manifests.file_digest = lambda path, size: hashed.append(path)  # this process ends here
        assert restored.find(key).hash == item.hash and hashed == []

    assert children.run(nobody) == 0


def test_a_big_file_is_never_held_in_memory(store, key, children):
    """Sparse, so that it costs no disk; larger than what the child may allocate."""
    import resource

    def make(tree):
        with (tree / "big").open("wb") as file:
            file.truncate(600 << 20)

    def child():
        here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (here + (64 << 20),) * 2)
        assert store.realise(key, make).manifest.size == 600 << 20

    assert children.run(child) == 0


@pytest.mark.parametrize("folder", ["roots", "availability"])
def test_what_lies_beside_the_items_is_for_all_who_share_the_store(public, children, folder):
    root = public / "store"
    root.mkdir()
    root.chmod(0o2777)
    old = os.umask(0o077)
    make_shared(root / folder)
    os.umask(old)

    def nobody():
        become_nobody()
        write_atomic(root / folder / "mine", b"x")
        Store(root).sweep()

    (root / folder / ".torn.0011.tmp").touch()
    assert children.run(nobody) == 0
    assert [path.name for path in (root / folder).iterdir()] == ["mine"]
