"""Items in one file: the same bytes for the same items, whole or not at all, and nothing hostile gets in."""

# Names are bytes here, and lists of bytes are long:
# ruff: noqa: E501, PTH101, PTH102, PTH123, PTH211

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.errors import BenchError
from bpfbench.store import closure
from bpfbench.store.keys import make_key
from bpfbench.store.nar import nar_hash, serialise
from bpfbench.store.store import Store
from bpfbench.store.unnar import length, restore

from .breaking import become_nobody, fill, overwrite, rubbish


def odd(tree):
    """A tree with what is seldom: names that are no UTF-8, long ones, deep ones, a large file."""
    fill(tree)
    (tree / os.fsdecode(b"\xff\xfe name\n")).write_bytes(b"x")
    (tree / ("n" * 255)).symlink_to("../" * 40 + "outside")
    (tree / "/".join("deep" for _ in range(60))).mkdir(parents=True)
    (tree / "large").write_bytes(random.Random(1).randbytes(3 << 20))


@pytest.fixture
def items(store):
    def single(tree):
        tree.rmdir()
        tree.write_bytes(b"a single file")
        tree.chmod(0o755)

    return [
        store.realise(make_key("thing", {}), fill),
        store.realise(make_key("x" * 150, {}), odd),
        store.realise(make_key("single", {"deep": [1, None, {"a": "ü"}]}), single),
    ]


@pytest.fixture
def archive(items, tmp_path):
    path = tmp_path / "closure.tar"
    closure.export(items, path)
    return path


@pytest.fixture
def other(tmp_path):
    return Store(tmp_path / "other")


# There and back


def test_there_and_back(store, items, archive, other):
    taken = closure.take(other, archive)
    assert taken == closure.Taken(tuple(store.ids()), ())
    for item in items:
        found = other.find(item.id)
        assert other.verify(found) == []
        assert (found.hash, found.meta, found.manifest.key) == (item.hash, item.meta, item.manifest.key)
        assert found.manifest.key.components == item.manifest.key.components
        modes = {entry.path: (entry.kind, entry.mode, entry.content) for entry in item.manifest.entries}
        assert {entry.path: (entry.kind, entry.mode, entry.content) for entry in found.manifest.entries} == modes
    assert rubbish(other) == []


def test_the_same_items_give_the_same_bytes(items, archive, other, tmp_path):
    closure.take(other, archive)
    again = tmp_path / "again.tar"
    written = closure.export([*reversed(list(other.items())), *other.items()], again)
    assert again.read_bytes() == archive.read_bytes()
    assert written.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest() == closure.sha256_of(archive)
    assert written.size == archive.stat().st_size
    assert list(written.ids) == sorted(item.id for item in items)


def test_others_can_read_it(items, archive, tmp_path):
    listed = subprocess.run(["tar", "tf", archive], check=True, capture_output=True, text=True).stdout.split()
    assert listed == ["manifest.json", *(f"{item.id}.nar" for item in sorted(items, key=lambda item: item.id))]
    subprocess.run(["tar", "xf", archive, "-C", tmp_path], check=True)
    for row in json.loads((tmp_path / "manifest.json").read_bytes())["items"]:
        out = subprocess.run(
            ["openssl", "dgst", "-sha256", "-binary", tmp_path / f"{row['id']}.nar"], check=True, capture_output=True
        )
        import base64

        assert "sha256-" + base64.b64encode(out.stdout).decode() == row["hash"]


def test_what_is_here_intact_stays_and_what_is_damaged_is_replaced(items, archive, other):
    closure.take(other, archive)
    first, second, third = (other.path(item.id) for item in items)
    overwrite(first / "tree" / "data", b"S")
    shutil.rmtree(third)
    before = second.stat().st_ino
    taken = closure.take(other, archive)
    assert set(taken.new) == {first.name, third.name} and taken.kept == (second.name,)
    assert second.stat().st_ino == before
    assert all(other.verify(other.find(item.id)) == [] for item in items)


def test_nothing_at_all_can_be_exported(tmp_path, other):
    closure.export([], tmp_path / "empty.tar")
    assert closure.take(other, tmp_path / "empty.tar") == closure.Taken((), ())


# Writing goes wrong


@pytest.mark.parametrize("harm", ["content", "size", "missing", "added", "mode"])
def test_a_damaged_item_is_not_exported(store, items, tmp_path, harm):
    tree = items[0].tree
    tree.chmod(0o755)
    if harm == "content":
        overwrite(tree / "data", b"S")
    elif harm == "size":
        (tree / "data").unlink()
        (tree / "data").write_bytes(b"more than there was")
    elif harm == "missing":
        (tree / "data").unlink()
    elif harm == "added":
        (tree / "more").touch()
    else:
        (tree / "data").chmod(0o755)
    path = tmp_path / "closure.tar"
    path.write_bytes(b"old")
    with pytest.raises(BenchError, match=f"{items[0].id} is damaged"):
        closure.export(items, path)
    assert path.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"closure.tar", "store"}


def test_a_full_disk_while_exporting(full_disk, key):
    def work(place):
        store = Store(place / "store")
        item = store.realise(key, lambda tree: (tree / "file").write_bytes(bytes(150_000)) and None)
        with pytest.raises(BenchError, match="cannot be written: No space left on device"):
            closure.export([item], place / "closure.tar")
        assert [path.name for path in place.iterdir()] == ["store"]

    assert full_disk(work) == 0


def test_a_full_disk_while_importing(full_disk, tmp_path):
    big, small = make_key("big", {}), make_key("small", {})
    store = Store(tmp_path / "store")
    for each, count in ((big, 1 << 20), (small, 1000)):
        store.realise(each, lambda tree, count=count: (tree / "file").write_bytes(bytes(count)) and None)
    archive = tmp_path / "closure.tar"
    closure.export(list(store.items()), archive)

    def work(place):
        other = Store(place / "store")
        with pytest.raises(BenchError, match="No space left on device") as error:
            closure.take(other, archive)
        assert "make room" in error.value.hint
        assert big.id not in other.ids() and rubbish(other) == []

    assert full_disk(work) == 0


def test_another_user_may_import_what_root_exported(archive, items, public, children):
    shutil.copy(archive, public / "closure.tar")
    (public / "closure.tar").chmod(0o444)

    def nobody():
        become_nobody()
        store = Store(public / "store")
        closure.take(store, public / "closure.tar")
        assert all(store.verify(item) == [] and item.tree.lstat().st_uid == 65534 for item in store.items())

    assert children.run(nobody) == 0


# Reading what is hostile or broken


def refused(store, path, match=None):
    with pytest.raises(BenchError, match=match) as error:
        closure.take(store, path)
    assert str(path) in error.value.message and error.value.hint
    assert rubbish(store) == []
    for item in store.items():  # what came before the bad place is good
        assert store.verify(item) == []


def test_an_archive_that_is_cut_off_anywhere_is_refused(archive, other, tmp_path):
    data = archive.read_bytes()
    cut = tmp_path / "cut.tar"
    rng = random.Random(7)
    ends = {0, 1, 511, 512, 513, len(data) // 2, *(rng.randrange(len(data) - 2048) for _ in range(12))}
    for end in sorted(ends):
        cut.write_bytes(data[:end])
        shutil.rmtree(other.root, ignore_errors=True)
        refused(other, cut)


def test_a_changed_byte_anywhere_is_noticed_or_means_nothing(items, archive, tmp_path):
    data = archive.read_bytes()
    changed = tmp_path / "changed.tar"
    rng = random.Random(8)
    hashes = {item.id: item.hash for item in items}
    noticed = 0
    for number in range(30):
        at = rng.randrange(len(data)) if number % 2 else rng.randrange(4096)
        changed.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        store = Store(tmp_path / f"store-{number}")
        try:
            closure.take(store, changed)
        except BenchError:
            noticed += 1
        assert {item.id: item.hash for item in store.items()}.items() <= hashes.items()
        assert all(store.verify(item) == [] for item in store.items()) and rubbish(store) == []
    assert noticed > 15


def remade(archive, to, change):
    """Write the members of an archive again after ``change`` had its way with the list of (info, data)."""
    with tarfile.open(archive) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in change(members):
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return to


def info(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def head(members, change):
    """Change the manifest of an archive."""
    data = json.loads(members[0][1])
    change(data)
    return [(members[0][0], json.dumps(data).encode()), *members[1:]]


ARCHIVES = {
    "another member first": lambda m: [(info("../../evil"), b"x"), *m],
    "no manifest": lambda m: m[1:],
    "the manifest a link": lambda m: [(info("manifest.json", tarfile.SYMTYPE, "/etc/passwd"), b""), *m[1:]],
    "a member that leads out": lambda m: [m[0], (info("../evil"), b"x"), *m[1:]],
    "an absolute member": lambda m: [m[0], (info("/tmp/evil"), b"x"), *m[1:]],
    "a member too many": lambda m: [*m, (info("evil"), b"x")],
    "a member twice": lambda m: [*m, m[1]],
    "a member too few": lambda m: m[:-1],
    "members in another order": lambda m: [m[0], m[2], m[1], m[3]],
    "a symlink for a tree": lambda m: [m[0], (info(m[1][0].name, tarfile.SYMTYPE, "/etc/passwd"), b""), *m[2:]],
    "a hard link for a tree": lambda m: [m[0], (info(m[1][0].name, tarfile.LNKTYPE, m[2][0].name), b""), *m[2:]],
    "a device for a tree": lambda m: [m[0], (info(m[1][0].name, tarfile.CHRTYPE), b""), *m[2:]],
    "a directory for a tree": lambda m: [m[0], (info(m[1][0].name, tarfile.DIRTYPE), b""), *m[2:]],
    "another tree's content": lambda m: [m[0], (m[1][0], m[2][1]), *m[2:]],
    "a tree with more behind it": lambda m: [m[0], (m[1][0], m[1][1] + bytes(8)), *m[2:]],
    "not in our format": lambda m: head(m, lambda data: data.update(format="bpfbench-closure/9")),
    "no items": lambda m: head(m, lambda data: data.pop("items")),
    "items that are none": lambda m: head(m, lambda data: data.update(items=[1])),
    "a list for a manifest": lambda m: [(m[0][0], b"[]"), *m[1:]],
    "no JSON": lambda m: [(m[0][0], b"{"), *m[1:]],
    "a manifest that nests": lambda m: [(m[0][0], b"[" * 100_000), *m[1:]],
    "the same item twice": lambda m: head(m, lambda data: data["items"].insert(0, data["items"][0])),
    "another id": lambda m: head(m, lambda data: data["items"][0].update(id="0" * 32 + "-thing")),
    "an id that leads out": lambda m: head(m, lambda data: data["items"][0].update(id="../../evil", name="../evil")),
    "other components": lambda m: head(m, lambda data: data["items"][0].update(components={"evil": 1})),
    "another digest": lambda m: head(m, lambda data: data["items"][0].update(digest="0" * 64)),
    "another hash": lambda m: head(m, lambda data: data["items"][0].update(hash=data["items"][1]["hash"])),
    "another size": lambda m: head(m, lambda data: data["items"][0].update(size=8)),
    "a size below nothing": lambda m: head(m, lambda data: data["items"][0].update(size=-8)),
    "meta that is none": lambda m: head(m, lambda data: data["items"][0].update(meta=[1])),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_not_ours_is_refused(name, archive, other, tmp_path):
    refused(other, remade(archive, tmp_path / "hostile.tar", ARCHIVES[name]))
    assert {path.name for path in tmp_path.iterdir()} <= {"closure.tar", "hostile.tar", "store", "other"}


def test_sparse_members_are_refused(archive, other, tmp_path):
    def sparse(members):
        made = members[1][0]
        made.pax_headers = {"GNU.sparse.map": "0,8", "GNU.sparse.size": "99", "GNU.sparse.numblocks": "1"}
        return members

    refused(other, remade(archive, tmp_path / "sparse.tar", sparse))


@pytest.mark.parametrize("kind", ["missing", "directory", "compressed", "text", "pipe"])
def test_what_is_no_archive_at_all_is_refused(kind, archive, other, tmp_path):
    path = tmp_path / "given"
    if kind == "directory":
        path.mkdir()
    elif kind == "compressed":
        import gzip

        path.write_bytes(gzip.compress(archive.read_bytes()))
    elif kind == "text":
        path.write_text("hello\n" * 1000)
    elif kind == "pipe":
        path = Path("/dev/null")
    with pytest.raises(BenchError) as error:
        closure.take(other, path)
    assert str(path) in error.value.message and not other.root.exists()


# Serialisations


def nar(tree) -> bytes:
    out = io.BytesIO()
    serialise(tree, out.write)
    return out.getvalue()


def reader(data: bytes):
    stream = io.BytesIO(data)

    def read(size: int) -> bytes:
        got = stream.read(size)
        if len(got) != size:
            raise BenchError("cut off")
        return got

    return read


def test_the_length_is_known_beforehand(items):
    for item in items:
        assert length(item.manifest.entries) == len(nar(item.tree))


names = st.binary(min_size=1, max_size=12).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b".."))
trees = st.recursive(
    st.one_of(
        st.tuples(st.just("file"), st.binary(max_size=40), st.booleans()),
        st.tuples(st.just("link"), st.binary(min_size=1, max_size=20).filter(lambda t: b"\0" not in t)),
    ),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def plant(path: bytes, tree) -> None:
    if isinstance(tree, dict):
        os.mkdir(path)
        for name, inner in tree.items():
            plant(path + b"/" + name, inner)
    elif tree[0] == "link":
        os.symlink(tree[1], path)
    else:
        with open(path, "wb") as file:
            file.write(tree[1])
        os.chmod(path, 0o755 if tree[2] else 0o644)


@given(trees)
def test_any_tree_comes_back(tmp_path_factory, tree):
    place = tmp_path_factory.mktemp("tree")
    plant(os.fsencode(place / "one"), tree)
    data = nar(place / "one")
    restore(reader(data), place / "two")
    assert nar(place / "two") == data
    assert nar_hash(place / "one") == nar_hash(place / "two")


def word(*words: bytes) -> bytes:
    return b"".join(len(w).to_bytes(8, "little") + w + bytes(-len(w) % 8) for w in words)


def entry(name: bytes, *node: bytes) -> bytes:
    return word(b"entry", b"(", b"name", name, b"node") + b"".join(node) + word(b")")


FILE = word(b"(", b"type", b"regular", b"contents", b"x", b")")
BEGIN, END = word(b"nix-archive-1", b"(", b"type", b"directory"), word(b")")
LINK = word(b"(", b"type", b"symlink", b"target", b"/tmp", b")")

SERIALISATIONS = {
    "a name that leads up": BEGIN + entry(b"..", FILE) + END,
    "the directory itself": BEGIN + entry(b".", FILE) + END,
    "no name": BEGIN + entry(b"", FILE) + END,
    "a name with a slash": BEGIN + entry(b"a/../../b", FILE) + END,
    "an absolute name": BEGIN + entry(b"/tmp/evil", FILE) + END,
    "a name with a zero": BEGIN + entry(b"a\0b", FILE) + END,
    "a long name": BEGIN + entry(b"a" * 256, FILE) + END,
    "a name twice": BEGIN + entry(b"a", FILE) + entry(b"a", FILE) + END,
    "through a link": BEGIN + entry(b"a", LINK) + entry(b"a", word(b"(", b"type", b"directory"), entry(b"b", FILE), END) + END,
    "names out of order": BEGIN + entry(b"b", FILE) + entry(b"a", FILE) + END,
    "a device": word(b"nix-archive-1", b"(", b"type", b"device", b")"),
    "a link to nowhere": word(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"", b")"),
    "a link with a zero": word(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"a\0b", b")"),
    "a long link": word(b"nix-archive-1", b"(", b"type", b"symlink", b"target", b"a" * 4096, b")"),
    "a word without an end": word(b"nix-archive-1") + (1 << 62).to_bytes(8, "little"),
    "a file without an end": word(b"nix-archive-1", b"(", b"type", b"regular", b"contents") + b"\xff" * 8 + b"x",
    "padding that says something": word(b"nix-archive-1", b"(", b"type", b"regular", b"contents") + (1).to_bytes(8, "little") + b"xevil!!!" + END,
    "executable with a value": word(b"nix-archive-1", b"(", b"type", b"regular", b"executable", b"x", b"contents", b"x", b")"),
    "executable twice": word(b"nix-archive-1", b"(", b"type", b"regular", b"executable", b"", b"executable", b"", b"contents", b"x", b")"),
    "another beginning": word(b"nix-archive-2", b"(", b"type", b"regular", b"contents", b"x", b")"),
    "something else in a directory": BEGIN + word(b"exit") + END,
    "directories without end": word(b"nix-archive-1") + b"".join(word(b"(", b"type", b"directory", b"entry", b"(", b"name", b"d", b"node") for _ in range(5000)),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", SERIALISATIONS)
def test_what_no_serialiser_would_write_is_refused(name, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BenchError):
        restore(reader(SERIALISATIONS[name]), tmp_path / "in" / "tree")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert {path.name for path in (tmp_path / "in").iterdir()} <= {"tree"}
    assert not Path("/tmp/evil").exists() and not Path("/tmp/b").exists()
