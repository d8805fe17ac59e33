"""Realising, finding, damage, replacing: everything that one process alone can do to a store."""

# Some paths are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH123, PTH208, PTH211

import errno
import os
import shutil
import socket
import stat
import time
from functools import partial

import pytest

from bpfbench.errors import BenchError
from bpfbench.store import manifest as manifests
from bpfbench.store import tree as trees
from bpfbench.store.keys import make_key
from bpfbench.store.nar import nar_hash
from bpfbench.store.store import Store

from .breaking import fill, overwrite, rubbish

COARSE_CLOCK = 5  # CLOCK_REALTIME_COARSE, which file systems stamp with


@pytest.fixture
def hashed(monkeypatch):
    """The files that a look at an item hashed."""
    files = []
    real = manifests.file_digest
    monkeypatch.setattr(
        manifests, "file_digest", lambda path, size: files.append(os.fsdecode(path)) or real(path, size)
    )
    return files


def never(tree):
    raise AssertionError("made although it is there")


def test_a_thing_is_made_once_and_found_again(store, key, hashed):
    assert store.status(key).state == "absent" and store.find(key) is None
    item = store.realise(key, fill)
    assert item.path == store.path(key) == store.root / key.id
    assert (item.tree / "bin" / "run").read_bytes() == b"#!/bin/sh\necho run\n"
    assert item.hash == nar_hash(item.tree) and item.meta == {"made": "by a test"}
    assert store.realise(key, never) == item == store.find(key) == store.find(key.id)
    assert dict(item.manifest.key.components) == {"recipe": "test", "version": 1}
    assert hashed == []  # the renames of the way into the store left all ctimes alone
    assert store.verify(item) == [] and rubbish(store) == []


def test_items_are_read_only_for_all_to_read_and_have_no_times(store, key):
    old = os.umask(0o077)
    try:
        item = store.realise(key, fill)
    finally:
        os.umask(old)
    modes = {
        path.name: stat.S_IMODE(path.lstat().st_mode)
        for path in item.path.rglob("*")
        if not path.is_symlink()
    }
    assert modes == {
        "tree": 0o555, "bin": 0o555, "run": 0o555, "data": 0o444, "empty": 0o555, "manifest.json": 0o444
    }  # fmt: skip
    assert stat.S_IMODE(item.path.stat().st_mode) == 0o755
    assert {path.lstat().st_mtime for path in item.tree.rglob("*")} == {1.0}


def test_a_single_file_can_be_an_item(store, key):
    def make(tree):
        tree.rmdir()
        tree.write_bytes(b"alone")

    item = store.realise(key, make)
    assert item.tree.read_bytes() == b"alone" and store.find(key) == item
    overwrite(item.tree, b"A")
    assert store.status(key).reasons == ("the tree itself has other content",)


def test_names_need_not_be_text(store, key):
    names = [b"\xff\xfe", b"new\nline", "ünï".encode(), b" ", b'"\\', b"-rf", b"a" * 255]

    def make(tree):
        for name in names:
            with open(os.fsencode(tree) + b"/" + name, "wb") as file:
                file.write(name)
        os.symlink(b"\xff\xfe", os.fsencode(tree) + b"/link")

    item = store.realise(key, make)
    assert sorted(os.listdir(os.fsencode(item.tree))) == sorted([*names, b"link"])
    assert store.find(key) == item and store.verify(item) == []
    for name in (b"new\nline", b"\xff\xfe"):
        restore_mode(item.tree, partial(os.unlink, os.fsencode(item.tree) + b"/" + name))
    assert sorted(store.status(key).reasons) == [r"\xff\xfe is missing", r"new\nline is missing"]


# Damage


def restore_mode(path, change):
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o755)
    change()
    path.chmod(mode)


def lengthen(path):
    restore_mode(path, lambda: os.truncate(path, 10))


def replace_link(tree):
    (tree / "link").unlink()
    (tree / "link").symlink_to("bin/ran")


def replace_by_link(tree):
    shutil.copy(tree / "data", tree.parent / "elsewhere")
    (tree / "data").unlink()
    (tree / "data").symlink_to("../elsewhere")


DAMAGE = {
    "tampered byte": (lambda t: overwrite(t / "data", b"S"), "data has other content"),
    "longer file": (lambda t: lengthen(t / "data"), "data has other content"),
    "added file": (lambda t: (t / "new").write_bytes(b""), "new was added"),
    "added deep": (lambda t: restore_mode(t / "empty", (t / "empty/x").touch), "empty/x was added"),
    "added directory": (lambda t: (t / "dir").mkdir(), "dir was added"),
    "removed file": (lambda t: (t / "data").unlink(), "data is missing"),
    "removed link": (lambda t: (t / "link").unlink(), "link is missing"),
    "removed directory": (lambda t: (t / "empty").rmdir(), "empty is missing"),
    "mode of a file": (lambda t: (t / "data").chmod(0o555), "data has mode 0555, not 0444"),
    "mode of a directory": (lambda t: (t / "empty").chmod(0o777), "empty has mode 0777, not 0555"),
    "set-uid": (lambda t: (t / "bin/run").chmod(0o4555), "bin/run has mode 4555, not 0555"),
    "symlink": (replace_link, "link has other content"),
    "file to symlink": (replace_by_link, "data is a symlink, not a file"),
    "no tree": (trees.delete, "the tree is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_item_replaced_whole(store, key, damage):
    harm, reason = DAMAGE[damage]
    item = store.realise(key, fill)
    restore_mode(item.tree, lambda: harm(item.tree)) if damage != "no tree" else harm(item.tree)
    assert store.find(key) is None
    assert store.status(key).state == "damaged" and store.status(key).reasons == (reason,)
    if damage != "no tree":
        assert store.verify(item) == [reason]
    again = store.realise(key, fill)
    assert again.hash == item.hash and store.verify(again) == [] and store.find(key) == again
    assert rubbish(store) == []


def test_all_damage_is_told(store, key):
    item = store.realise(key, fill)
    item.tree.chmod(0o755)
    (item.tree / "data").unlink()
    (item.tree / "new").touch()
    item.tree.chmod(0o555)
    overwrite(item.tree / "bin" / "run", b"!!")
    assert set(store.status(key).reasons) == {"data is missing", "new was added", "bin/run has other content"}


def test_bytes_changed_within_the_tick_of_the_realisation_are_noticed(store):
    # Repeated, because the timer tick is where it may go wrong.
    for number in range(30):
        key = make_key("quick", {"number": number})
        item = store.realise(key, lambda tree: (tree / "data").write_bytes(b"right"))
        overwrite(item.tree / "data", b"wrong")
        assert store.find(key) is None


def test_hashing_begins_a_tick_after_the_last_change(store, monkeypatch):
    """Else bytes changed in that very tick, after they were hashed, could carry the recorded ctime."""
    ticks = []

    def timed(module, name):
        real = getattr(module, name)

        def wrapper(tree):
            if name == "hash_tree":
                ticks.append(time.clock_gettime_ns(COARSE_CLOCK))
            result = real(tree)
            if name == "seal":
                ticks.append(time.clock_gettime_ns(COARSE_CLOCK))
            return result

        monkeypatch.setattr(module, name, wrapper)

    timed(trees, "seal")
    timed(manifests, "hash_tree")
    for number in range(20):
        store.realise(make_key("quick", {"number": number}), fill)
    sealed, hashed = ticks[::2], ticks[1::2]
    assert len(hashed) == 20 and all(before < after for before, after in zip(sealed, hashed, strict=True))


def test_all_is_on_the_disk_before_it_is_seen(store, key, monkeypatch):
    real = trees.flush
    seen = []

    def flush(path):
        seen.append((sorted(child.name for child in path.iterdir()), store.status(key).state))
        real(path)

    monkeypatch.setattr(trees, "flush", flush)
    store.realise(key, fill)
    assert seen == [(["manifest.json", "tree"], "absent")]


def test_only_what_may_have_changed_is_hashed(store, key, hashed):
    item = store.realise(key, fill)
    os.utime(item.tree / "data", (7, 7))
    assert store.find(key) is not None  # a time is not content
    assert hashed == [str(item.tree / "data")]
    assert store.find(key) is not None and len(hashed) == 1  # and it was remembered


def test_verify_does_not_trust_stat_data(store, key):
    item = store.realise(key, fill)
    overwrite(item.tree / "data", b"S")
    # Forge the manifest so that the quick look is satisfied, as by a disk that rots under it.
    now = (item.tree / "data").lstat()
    entries = [e._replace(ctime_ns=now.st_ctime_ns) if e.path == "data" else e for e in item.manifest.entries]
    forged = manifests.Manifest(key, item.hash, tuple(entries), {})
    manifests.save(forged, item.path / "manifest.json")
    assert store.find(key) is not None
    assert store.verify(store.find(key)) == ["data has other content"]


def cut(text, at):
    return text[: int(len(text) * at)]


@pytest.mark.parametrize("at", [0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_manifest_is_damage(store, key, at):
    item = store.realise(key, fill)
    path = item.path / "manifest.json"
    text = cut(path.read_bytes().rstrip(), at)
    path.unlink()
    path.write_bytes(text)
    status = store.status(key)
    assert status.state == "damaged" and "manifest" in status.reasons[0]
    assert list(store.items()) == [] and store.ids() == [key.id]
    assert store.realise(key, fill).hash == item.hash and store.find(key)


WRONG_TYPES = (
    '{"format":1,"name":1,"digest":2,"components":3,"hash":4,"meta":5,"entries":[[[],"file",1,1,1,1,1,""]]}'
)


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "{}", '"x"', '{"format": 2}', "[" * 100_000, WRONG_TYPES],
    ids=["null", "list", "empty", "string", "other format", "deep", "wrong types"],
)
def test_a_manifest_of_another_kind_is_damage(store, key, text):
    path = store.realise(key, fill).path / "manifest.json"
    path.unlink()
    path.write_text(text)
    assert store.status(key).state == "damaged"
    assert store.realise(key, fill) == store.find(key)


def test_a_missing_manifest_and_a_file_in_the_place_of_an_item_are_damage(store, key):
    item = store.realise(key, fill)
    (item.path / "manifest.json").unlink()
    assert store.status(key).state == "damaged"
    store.realise(key, fill)
    store.remove(key)
    store.path(key).write_text("what")
    assert store.status(key).state == "damaged"
    assert store.realise(key, fill) == store.find(key)


def test_an_item_under_another_name_is_damage(store, key):
    other = make_key("thing", {"version": 2})
    store.realise(key, fill).path.rename(store.path(other))
    assert store.status(other).reasons == (f"the manifest is that of {key.id}",)
    assert store.status(key).state == "absent"


# Making


class Broken(Exception):
    pass


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(store, key, error):
    def make(tree):
        fill(tree)
        (tree / "bin").chmod(0o000)
        raise error

    with pytest.raises(error):
        store.realise(key, make)
    assert list(store.root.iterdir()) == []


def test_an_exception_while_replacing_keeps_the_damaged_item(store, key):
    item = store.realise(key, fill)
    overwrite(item.tree / "data", b"S")

    def make(tree):
        raise Broken

    with pytest.raises(Broken):
        store.realise(key, make)
    assert store.status(key).state == "damaged" and rubbish(store) == []


def test_the_expected_hash_is_required(store, key):
    hash_ = store.realise(make_key("model", {}), fill).hash
    assert store.realise(key, fill, expected_hash=hash_).hash == hash_
    other = make_key("other", {})
    with pytest.raises(BenchError, match=f"{hash_}, but sha256-AAAA was expected"):
        store.realise(other, fill, expected_hash="sha256-AAAA")
    assert store.status(other).state == "absent" and rubbish(store) == []


def test_an_item_with_another_hash_than_expected_is_made_again(store, key):
    old = store.realise(key, lambda tree: (tree / "a").write_bytes(b"old"))
    wanted = store.realise(make_key("model", {}), fill).hash
    assert wanted != old.hash
    assert store.realise(key, fill, expected_hash=wanted).hash == wanted == store.find(key).hash


@pytest.mark.parametrize("kind", ["socket", "named pipe", "device"])
def test_special_files_are_refused_clearly(store, key, kind):
    def make(tree):
        (tree / "sub").mkdir()
        path = tree / "sub" / "it"
        if kind == "socket":
            here = os.open(path.parent, os.O_RDONLY)  # socket names are short
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(f"/proc/self/fd/{here}/it")
            os.close(here)
        elif kind == "named pipe":
            os.mkfifo(path)
        elif os.geteuid() == 0:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        else:
            pytest.skip("only root can make a device")

    with pytest.raises(
        BenchError, match=rf"sub/it is a {kind}; the store keeps files, directories and symlinks only"
    ):
        store.realise(key, make)
    assert list(store.root.iterdir()) == []


def test_hard_links_become_files_of_their_own(store, key, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"shared")
    outside.chmod(0o640)

    def make(tree):
        (tree / "a").hardlink_to(outside)
        (tree / "b").write_bytes(b"inner")
        (tree / "b").chmod(0o755)
        (tree / "c").hardlink_to(tree / "b")

    before = outside.stat()
    item = store.realise(key, make)
    assert [(item.tree / name).stat().st_nlink for name in "abc"] == [1, 1, 1]
    assert (
        stat.S_IMODE((item.tree / "b").stat().st_mode)
        == stat.S_IMODE((item.tree / "c").stat().st_mode)
        == 0o555
    )
    assert (outside.stat().st_mode, outside.stat().st_mtime) == (before.st_mode, before.st_mtime)
    outside.write_bytes(b"changed")
    assert (item.tree / "a").read_bytes() == b"shared" and store.find(key) == item


def test_a_tree_that_its_maker_closed_is_opened(store, key):
    def make(tree):
        fill(tree)
        (tree / "data").chmod(0)
        (tree / "bin").chmod(0)

    assert store.realise(key, make).hash == store.realise(make_key("open", {}), fill).hash


@pytest.mark.parametrize("kind", ["nothing", "symlink"])
def test_what_is_no_tree_is_refused(store, key, kind):
    def make(tree):
        tree.rmdir()
        if kind == "symlink":
            tree.symlink_to("/usr")

    with pytest.raises(BenchError, match="a tree is a directory or a file"):
        store.realise(key, make)
    assert list(store.root.iterdir()) == []


def test_meta_that_cannot_be_written_is_refused(store, key):
    with pytest.raises(BenchError, match=r"thing\.meta\.x"):
        store.realise(key, lambda tree: {"x": object()})
    assert list(store.root.iterdir()) == []


# The rest


def test_an_item_can_be_recalled_whatever_became_of_its_tree(store, key):
    item = store.realise(key, fill)
    trees.delete(item.tree)
    assert store.find(key) is None and store.recall(key.id) == item
    store.remove(key)
    assert store.recall(key.id) is None and store.recall("no id") is None


def test_items_remove_and_ids(store, key):
    assert store.ids() == [] and list(store.items()) == [] and store.sweep() == []
    other = make_key("other", {})
    one, two = store.realise(key, fill), store.realise(other, fill)
    (store.root / "README").write_text("not ours")
    assert {item.id for item in store.items()} == {one.id, two.id} == set(store.ids())
    store.remove(key)
    store.remove(key)
    assert store.find(key) is None and store.ids() == [two.id] and rubbish(store) == []
    assert two.manifest.size == len(b"#!/bin/sh\necho run\n") + len(b"some data")


@pytest.mark.parametrize(
    "item_id", ["..", "", "a", "../" + "0" * 32 + "-a", "0" * 32 + "-a/b", "0" * 32 + "-"]
)
def test_what_is_no_id_is_refused(store, item_id):
    with pytest.raises(BenchError, match="is no item id"):
        store.path(item_id)


def test_a_copied_store_is_intact_and_hashed_only_once(store, key, tmp_path, hashed):
    item = store.realise(key, fill)
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root, symlinks=True, copy_function=shutil.copyfile)
    for path in item.path.rglob("*"):
        if not path.is_symlink():  # as a plain `cp -r` does: modes, but not times
            (copy.root / path.relative_to(store.root)).chmod(path.stat().st_mode)
    found = copy.find(key)
    assert found is not None and found.hash == item.hash and found.meta == item.meta
    assert sorted(hashed) == [str(found.tree / "bin/run"), str(found.tree / "data")]
    assert copy.find(key) == found and copy.realise(key, never) == found and len(hashed) == 2
    overwrite(found.tree / "data", b"S")
    assert copy.status(key).state == "damaged"
    assert rubbish(copy) == []


def test_a_copied_store_whose_manifest_cannot_be_refreshed_is_still_intact(store, key, hashed, monkeypatch):
    item = store.realise(key, fill)
    os.utime(item.tree / "data", (7, 7))

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(manifests, "write_atomic", read_only)
    assert store.find(key) is not None and store.find(key) is not None
    assert len(hashed) == 2


def test_a_disk_that_is_full_while_a_tree_is_copied_is_told_as_such(store, tmp_path, monkeypatch):
    """What copies trees says of each file what was wrong, and of all of them nothing that a program understands."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")

    def full(source, target, **_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    def make(tree):
        shutil.copytree(tmp_path / "a", tree, dirs_exist_ok=True, copy_function=full)

    with pytest.raises(BenchError, match="No space left on device") as caught:
        store.realise(make_key("a", {}), make)
    assert "make room" in caught.value.hint
    assert list(store.root.glob(".making-*")) == []
