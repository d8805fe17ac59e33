"""Doing it again: nothing is done twice, whatever cache is lost, and what was tampered with is made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .bad_luck import Checkout

pytestmark = pytest.mark.system

Another = Callable[[Checkout], Checkout]


@pytest.fixture
def checkout(complete: Checkout, another: Another) -> Checkout:
    """A checkout in which everything is done. The copy's files are new ones, so what is shown is put in place again."""
    made = another(complete)
    made.succeed()
    return made


def test_the_second_run_does_nothing(checkout: Checkout) -> None:
    before = checkout.made()
    assert checkout.succeed().executed == []
    assert checkout.made() == before
    assert "nothing to do" in checkout.doit("plan").out


def _lose_database(checkout: Checkout) -> None:
    (checkout.root / ".doit.db").unlink()


def _tear_database(checkout: Checkout) -> None:
    path = checkout.root / ".doit.db"
    path.write_bytes(path.read_bytes()[:-20])


def _forget(checkout: Checkout) -> None:
    assert checkout.doit("forget", noise=False).code == 0


def _clean(checkout: Checkout) -> None:
    done = checkout.doit("clean", "-a", noise=True)
    assert done.code == 0, done.said
    assert not list((checkout.root / "results").rglob("report.*"))
    assert not list((checkout.root / "results").rglob("*.svg"))


def _lose_results(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / "results")


def _lose_state(checkout: Checkout) -> None:
    shutil.rmtree(checkout.state)


def _lose_all_but_the_store(checkout: Checkout) -> None:
    for lose in (_lose_database, _lose_results, _lose_state):
        lose(checkout)


@pytest.mark.parametrize("lose", [_lose_database, _tear_database, _forget, _clean, _lose_results, _lose_state, _lose_all_but_the_store])
def test_what_is_lost_is_put_in_place_again_without_building_or_measuring(checkout: Checkout, lose: Callable[[Checkout], None]) -> None:
    before, shown = checkout.made(), checkout.result()
    lose(checkout)
    checkout.succeed()
    assert checkout.made() == before
    assert checkout.result() == shown
    assert checkout.shown("report.html").exists()
    assert checkout.succeed().executed == []


def _tamper(path: Path) -> None:
    """Change a byte and hide it from whoever only looks at sizes and modification times."""
    info = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(info.st_mode & 0o777)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _remade(checkout: Checkout, before: dict[str, tuple[int, int]]) -> set[str]:
    return {item[33:] for item, made in checkout.made().items() if before.get(item) != made}


def test_a_tampered_program_is_built_again_and_nothing_else(checkout: Checkout) -> None:
    before = checkout.made()
    _tamper(checkout.items("uprobe")[0].tree / "victim")
    assert checkout.succeed().executed == ["build_uprobe"]
    assert _remade(checkout, before) == {"uprobe"}  # the same bytes: what follows from them stands


def test_a_tampered_measurement_is_measured_again(checkout: Checkout) -> None:
    before = checkout.made()
    _tamper(checkout.items("measure-tiny")[0].tree / "journal.jsonl")
    assert "run_tiny" in checkout.succeed().executed
    assert {"measure-tiny", "result-tiny"} <= _remade(checkout, before)


def test_a_file_added_to_an_item_is_noticed(checkout: Checkout) -> None:
    before = checkout.made()
    tree = checkout.items("uprobe")[0].tree
    tree.chmod(0o755)
    (tree / "more").write_text("more")
    checkout.succeed()
    assert _remade(checkout, before) == {"uprobe"}


def test_a_shown_result_that_was_changed_is_put_right(checkout: Checkout) -> None:
    before, shown = checkout.made(), checkout.shown("tiny.json")
    data = shown.read_bytes()
    shown.write_bytes(data.replace(b'"ok"', b'"no"'))
    checkout.succeed()
    assert shown.read_bytes() == data
    assert checkout.made() == before
