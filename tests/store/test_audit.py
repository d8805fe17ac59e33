"""Hashing everything finds every damage, also one that hides from a look at sizes and times."""

import shutil

import pytest

from bpfbench.store import manifest as manifests
from bpfbench.store.audit import audit, strays
from bpfbench.store.keys import make_key
from bpfbench.store.roots import FOLDER

from .breaking import fill, overwrite


@pytest.fixture
def item(store, key):
    return store.realise(key, fill)


def damage(store):
    (finding,) = audit(store, store.ids())
    return finding.damage


def test_an_intact_item(store, item):
    (finding,) = audit(store, store.ids())
    assert (finding.id, finding.damage, finding.size) == (item.id, (), item.manifest.size)


def test_a_change_that_the_manifest_does_not_show(store, item):
    """The manifest is refreshed over a damage: only hashing against its own content can tell."""
    overwrite(item.tree / "data", b"S")
    look = manifests.describe(item.manifest.key, item.tree, {})
    pairs = zip(look.entries, item.manifest.entries, strict=True)
    entries = tuple(now._replace(content=old.content) for now, old in pairs)
    manifests.save(manifests.Manifest(item.manifest.key, item.hash, entries, {}), item.path / "manifest.json")
    assert store.status(item.id).state == "intact"
    assert damage(store) == ("data has other content",)


HARMS = {
    "data has other content": lambda item: overwrite(item.tree / "data", b"S"),
    "data is missing": lambda item: (item.tree.chmod(0o755), (item.tree / "data").unlink()),
    "more was added": lambda item: (item.tree.chmod(0o755), (item.tree / "more").touch()),
    "data has mode 0555": lambda item: (item.tree / "data").chmod(0o555),
    "cannot be read": lambda item: (item.tree.chmod(0o755), shutil.rmtree(item.path / "tree")),
    "no complete manifest": lambda item: overwrite(item.path / "manifest.json", b"x"),
    "No such file": lambda item: (item.path / "manifest.json").unlink(),
    "extra was added beside the tree": lambda item: (item.path / "extra").touch(),
}


@pytest.mark.parametrize("told", HARMS)
def test_every_damage_is_told(store, item, told):
    HARMS[told](item)
    assert any(told in one for one in damage(store))


def test_all_damages_of_an_item_are_told(store, item):
    overwrite(item.tree / "data", b"S")
    (item.tree / "bin" / "run").chmod(0o444)
    assert len(damage(store)) == 2


def test_a_manifest_of_another_item(store, item):
    other = store.realise(make_key("other", {}), fill)
    shutil.copy(other.path / "manifest.json", item.path / "manifest.json")
    (finding,) = audit(store, [item.id])
    assert finding.damage == (f"the manifest is that of {other.id}",)


def test_what_is_removed_meanwhile_is_passed_over(store, item):
    other = store.realise(make_key("other", {}), fill)
    ids = store.ids()
    store.remove(other)
    assert [finding.id for finding in audit(store, ids)] == [item.id]


def test_what_is_no_directory(store, item):
    store.remove(item.id)
    item.path.write_text("a file")
    assert len(damage(store)) == 1


def test_strays(store, item):
    assert strays(store) == []
    for name in (FOLDER, ".making-x", ".trash-x"):
        (store.root / name).mkdir()
    assert strays(store) == []
    (store.root / "notes.txt").touch()
    assert strays(store) == ["notes.txt"]


def test_a_store_that_is_not_there(store):
    assert strays(store) == [] and list(audit(store, store.ids())) == []


def test_a_changed_byte_anywhere_in_a_manifest_is_noticed_or_means_nothing(store, item):
    path = item.path / "manifest.json"
    data, noticed = path.read_bytes(), 0
    path.chmod(0o644)
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = store.recall(item.id)
        noticed += found is None
        assert found is None or found.manifest == item.manifest
    assert noticed > len(data) // 7 - 20  # all but those in the sum's own name


def test_a_manifest_of_an_earlier_version_is_read(store, item):
    path = item.path / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().rpartition(b',\n "sum"')[0] + b"}\n")
    assert store.find(item.id) == item and damage(store) == ()
