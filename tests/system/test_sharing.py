"""One store for several checkouts and users; verify, gc, export and import as one types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.store import Store

from .bad_luck import NOBODY, Checkout, as_nobody, give_to

pytestmark = pytest.mark.system

Another = Callable[[Checkout], Checkout]


@pytest.fixture
def checkout(complete: Checkout, another: Another) -> Checkout:
    made = another(complete)
    made.succeed()
    return made


@pytest.fixture
def shared(complete: Checkout, another: Another, ground: Path) -> Iterator[Path]:
    """A store that holds everything, and that everybody may write."""
    place = ground / f"shared store {os.urandom(3).hex()}"
    shutil.copytree(complete.store.root, place, symlinks=True)
    place.chmod(0o2777)
    shutil.rmtree(place / "roots")  # the template does not use this one
    yield place
    shutil.rmtree(place, ignore_errors=True)


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(0o444)


# verify


def test_verify_of_a_whole_store(checkout: Checkout) -> None:
    done = checkout.doit("verify", noise=False)
    assert done.code == 0 and f"{len(checkout.store.ids())} items intact" in done.out


def test_verify_names_what_is_damaged_and_doit_mends_it(checkout: Checkout) -> None:
    item = checkout.items("uprobe")[0]
    flip(item.tree / "victim")
    done = checkout.fail("verify", code=1, noise=False)
    assert item.id in done.out and "victim has" in done.out and "./bench" in done.err
    assert checkout.doit("verify", "measure-*", noise=False).code == 0
    for name in ("uprobe", "build_uprobe", item.id, item.id[:8]):
        assert checkout.doit("verify", name, noise=False).code == 1, name
    checkout.succeed()
    assert checkout.doit("verify", noise=False).code == 0


def test_verify_of_what_there_is_not(checkout: Checkout) -> None:
    done = checkout.fail("verify", "uprob", code=3, noise=False)
    assert "uprob" in done.err and '"uprobe"' in done.err


# gc


def test_gc_shows_first_and_removes_only_what_is_not_needed(checkout: Checkout) -> None:
    (old,) = checkout.items("uprobe")
    checkout.edit("workloads/uprobe/victim.c", "int main(", "int unneeded = 1;\n\nint main(")
    checkout.succeed("build_uprobe")
    checkout.edit("workloads/uprobe/victim.c", "int unneeded = 1;\n\nint main(", "int main(")
    (new,) = [item for item in checkout.items("uprobe") if item.id != old.id]
    checkout.succeed("build_uprobe")
    before = checkout.store.ids()
    shown = checkout.doit("gc", noise=False)
    assert shown.code == 0 and "uprobe" in shown.out and "--delete" in shown.out and "nothing was removed" in shown.out
    assert checkout.store.ids() == before
    done = checkout.doit("gc", "--delete", noise=False)
    assert done.code == 0 and "removed 1 item" in done.out
    assert set(before) - set(checkout.store.ids()) == {new.id}
    assert checkout.succeed().executed == []
    assert "everything is needed" in checkout.doit("gc", "-y", noise=False).out


def test_gc_keeps_what_another_profile_shows(checkout: Checkout) -> None:
    text = checkout.spec("profiles.yaml").read_text()
    checkout.spec("profiles.yaml").write_text(text + text.partition("profiles:\n")[2].replace("tiny:", "other:").replace("2ms", "3ms"))
    checkout.succeed("profile=other")
    assert checkout.doit("gc", "--delete", noise=False).code == 0
    assert len(checkout.items("measure-tiny")) == 2
    for profile in ("other", "tiny"):
        done = checkout.succeed(f"profile={profile}")
        assert "measuring" not in done.said and len(checkout.items("measure-tiny")) == 2
    shutil.rmtree(next((checkout.root / "results").glob("*/other")))
    done = checkout.doit("gc", "--delete", noise=False)
    assert "measure-tiny" in done.out and len(checkout.items("measure-tiny")) == 1


def test_gc_takes_no_names(checkout: Checkout) -> None:
    assert "takes no names" in checkout.fail("gc", "uprobe", code=3, noise=False).err


# One store, several checkouts and users


def test_a_second_checkout_with_the_same_store_builds_and_measures_nothing(bare: Checkout, another: Another, shared: Path) -> None:
    checkout, store = another(bare), Store(shared)
    made = {item.id: item.tree.stat().st_ctime_ns for item in store.items()}
    done = checkout.succeed(f"store={shared}")
    assert {item.id: item.tree.stat().st_ctime_ns for item in store.items()} == made
    assert checkout.result()["status"] == "ok"
    assert checkout.succeed(f"store={shared}").executed == []
    assert not checkout.store.root.exists(), done.said


def test_gc_in_one_checkout_keeps_what_the_other_needs(complete: Checkout, bare: Checkout, another: Another, shared: Path) -> None:
    one, two, word = another(bare), another(bare), f"store={shared}"
    one.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 3ms")
    one.succeed(word)
    two.succeed(word)
    before = Store(shared).ids()
    done = two.doit("gc", "--delete", word, noise=False)
    assert done.code == 0 and str(one.root) in done.out
    assert set(Store(shared).ids()) == set(before)
    assert one.succeed(word).executed == [] == two.succeed(word).executed
    shutil.rmtree(one.root)
    done = two.doit("gc", "--delete", word, noise=False)
    assert "gone: keeps nothing" in done.out and len(Store(shared).ids()) < len(before)
    assert two.succeed(word).executed == []


@pytest.fixture
def nobody() -> Mapping[str, Any]:
    """Options to run doit as a user without rights."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    return as_nobody() or pytest.skip("another user cannot run our Python here")


def test_users_share_a_store(bare: Checkout, another: Another, shared: Path, nobody: Mapping[str, Any]) -> None:
    """Nobody uses what root made, and adds to it; root uses that."""
    theirs, ours, word = another(bare), another(bare), f"store={shared}"
    theirs.edit("workloads/uprobe/victim.c", "int main(", "int theirs = 1;\n\nint main(")
    give_to(theirs.root.parent, NOBODY)
    first = theirs.doit("build_uprobe", word, **nobody)
    assert first.code == 0, first.said
    made = [item for item in Store(shared).items() if item.tree.stat().st_uid == NOBODY]
    assert [item.id[33:] for item in made] == ["uprobe"]
    (ours.root / "workloads/uprobe/victim.c").write_bytes((theirs.root / "workloads/uprobe/victim.c").read_bytes())
    assert ours.succeed("build_uprobe", word).code == 0
    assert made[0].tree.stat().st_uid == NOBODY  # found, not made again
    # What is root's is verified, and shown, by nobody.
    assert theirs.doit("verify", word, **nobody, noise=False).code == 0
    assert theirs.doit("gc", word, **nobody, noise=False).code == 0


def test_a_store_that_one_may_only_read(complete: Checkout, bare: Checkout, another: Another, nobody: Mapping[str, Any]) -> None:
    theirs, place = another(bare), complete.store.root
    give_to(theirs.root.parent, NOBODY)
    used = theirs.doit("build_uprobe", f"store={place}", **nobody)
    assert used.code == 0, used.said
    theirs.edit("workloads/uprobe/victim.c", "int main(", "int theirs = 1;\n\nint main(")
    refused = theirs.doit("build_uprobe", f"store={place}", **nobody)
    assert refused.code != 0 and "store=/path" in refused.said and "Traceback" not in refused.said


def test_gc_beside_a_run_that_uses_the_store(bare: Checkout, another: Another, shared: Path) -> None:
    """A doit that is stopped while it measures has found a build that no pointer of anybody's names."""
    one, two, word = another(bare), another(bare), f"store={shared}"
    one.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 3ms")
    (item,) = [item for item in Store(shared).items() if item.id[33:] == "uprobe"]
    running = one.start("run_tiny", word)
    running.until(lambda: one.blocks() > 0)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        (one.state / "pointers" / "build_uprobe.json").unlink()
        done = two.doit("gc", "--delete", word, noise=False)
        assert done.code == 0 and Store(shared).find(item.id)
    finally:
        os.kill(running.pid, signal.SIGCONT)
    assert running.wait().code == 0


# export and import


def test_a_closure_takes_everything_to_another_machine(checkout: Checkout, bare: Checkout, another: Another, tmp_path: Path) -> None:
    archive, offline = tmp_path / "closure ü.tar", another(bare)
    out = checkout.doit("export", str(archive), noise=False)
    assert out.code == 0 and "left out" not in out.err, out.said
    digest = out.out.split("sha256 ")[1].strip()
    back = offline.doit("import", str(archive), "--sha256", digest, noise=False)
    assert back.code == 0 and "0 here already" in back.out, back.said
    assert set(offline.store.ids()) <= set(checkout.store.ids())
    before = offline.made()
    offline.succeed()
    after = offline.made()
    assert {item: after[item] for item in before} == before
    assert {item[33:] for item in after.keys() - before.keys()} == set()
    assert offline.result() == checkout.result()
    again = offline.doit("import", str(archive), noise=False)
    assert "0 items new" in again.out


def test_only_what_is_asked_for_is_exported_and_it_must_be_there(built: Checkout, another: Another, tmp_path: Path) -> None:
    checkout, archive = another(built), tmp_path / "closure.tar"
    assert checkout.doit("export", str(archive), "build_uprobe", noise=False).code == 0
    assert [item[33:] for item in checkout.store.ids()] == ["uprobe"]
    done = checkout.fail("export", str(archive), "run_tiny", code=3, noise=False)
    assert "run_tiny" in done.err and "./bench run_tiny" in done.err
    assert "left out: run_tiny" in checkout.doit("export", str(archive), noise=False).err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export",), "where to"),
        (("export", "build_uprobe"), "name of a task"),
        (("export", "/nonexistent/x.tar"), "mkdir -p /nonexistent"),
        (("export", "/"), "is a directory"),
        (("import",), "one file"),
        (("import", "a", "b"), "one file"),
        (("import", "/nonexistent"), "No such file"),
        (("import", "dodo.py"), "no closure"),
        (("import", "dodo.py", "--sha256", "00"), "has the SHA-256"),
    ],
)
def test_what_export_and_import_refuse(built: Checkout, words: tuple[str, ...], told: str) -> None:
    before = built.made()
    assert told in built.fail(*words, code=3, noise=False).err
    assert built.made() == before


def test_a_damaged_item_is_not_exported(built: Checkout, another: Another, tmp_path: Path) -> None:
    checkout = another(built)
    flip(checkout.items("uprobe")[0].tree / "victim")
    done = checkout.fail("export", str(tmp_path / "closure.tar"), "build_uprobe", code=3, noise=False)
    assert "damaged" in done.err and list(tmp_path.iterdir()) == []


def test_an_import_that_is_cut_off_changes_nothing_that_is_seen(built: Checkout, bare: Checkout, another: Another, tmp_path: Path) -> None:
    archive, offline = tmp_path / "closure.tar", another(bare)
    assert built.doit("export", str(archive), noise=False).code == 0
    archive.write_bytes(archive.read_bytes()[:100_000])
    done = offline.fail("import", str(archive), code=3, noise=False)
    assert ("cut off" in done.err or "unexpected end" in done.err) and offline.store.ids() == []
    assert offline.succeed("build_uprobe").executed == ["build_uprobe"]


def test_results_json_of_a_checkout_is_what_gc_goes_by(checkout: Checkout) -> None:
    """The samples of a shown result stay, even where every pointer was lost."""
    shutil.rmtree(checkout.state)
    key = json.loads(checkout.shown("tiny.json").read_bytes())["run_key"]
    assert checkout.doit("gc", "--delete", noise=False).code == 0
    assert key in checkout.store.ids()
