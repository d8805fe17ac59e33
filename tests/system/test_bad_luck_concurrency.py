"""Several doits at once: one writer a checkout, one maker an item, one measurement a machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfbench.store.roots import FOLDER
from bpfbench.store.store import Item, Store

from .bad_luck import Checkout

pytestmark = pytest.mark.system

Another = Callable[[Checkout], Checkout]


def test_a_second_doit_in_the_same_checkout_is_refused_at_once(built: Checkout, another: Another) -> None:
    checkout = another(built)
    first = checkout.start()
    first.until_noted("run_tiny", "block")
    second = checkout.doit("report")
    assert first.process.poll() is None
    assert second.code == 3
    assert f"pid {first.pid}" in second.said
    assert "`doit noise=accept`" in second.said
    assert "since 20" in second.said
    assert second.executed == []
    for command in ("list", "results", "plan"):  # whoever only reads need not wait
        assert checkout.doit(command).code == 0
    assert first.process.poll() is None
    assert first.wait().code == 0
    checkout.succeed()


def measured(store: Path) -> list[tuple[float, float]]:
    """Return when each measurement in a store began and ended."""
    spans = []
    for item in Store(store).items():
        if item.id.endswith("-measure-tiny"):
            records = [json.loads(line) for line in (item.tree / "journal.jsonl").read_bytes().splitlines()]
            spans.append((records[0]["started"], records[-1]["wall_clock"]))
    return sorted(spans)


def test_two_checkouts_with_one_store_build_once_and_never_measure_at_the_same_time(bare: Checkout, another: Another, ground: Path) -> None:
    shared = ground / os.urandom(4).hex()
    one, two = another(bare), another(bare)
    running = [checkout.start(f"store={shared}", f"take={name}") for checkout, name in ((one, "one"), (two, "two"))]
    for ended in [each.wait() for each in running]:
        assert ended.code == 0, ended.said
    assert [item.id[33:] for item in Store(shared).items()].count("uprobe") == 1
    compiled = [checkout for checkout in (one, two) if list(checkout.state.glob("logs/build_uprobe/*"))]
    assert len(compiled) == 1
    (_, first_ended), (second_began, _) = measured(shared)
    assert first_ended <= second_began
    for checkout in (one, two):
        assert set(checkout.statuses().values()) <= {"ok", "unsupported"}
        checkout.assert_in_order()
    assert {path.name for path in shared.iterdir()} - {FOLDER} == set(Store(shared).ids())


def test_two_checkouts_that_want_the_same_measurement_measure_once(built: Checkout, another: Another, ground: Path) -> None:
    shared = ground / os.urandom(4).hex()
    one, two = another(built), another(built)
    running = [checkout.start(f"store={shared}") for checkout in (one, two)]
    for ended in [each.wait() for each in running]:
        assert ended.code == 0, ended.said
    assert len(measured(shared)) == 1
    assert one.result() == two.result()


def realised(item: Item) -> float:
    return item.path.stat().st_ctime


def test_a_build_waits_for_a_running_measurement(bare: Checkout, built: Checkout, another: Another) -> None:
    measuring, building = another(built), another(bare)
    measuring.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 300ms")
    run = measuring.start()
    run.until(lambda: measuring.blocks() >= 1)
    build = building.start("build_uprobe")
    build.until_noted("build_uprobe", "waiting until nobody measures")
    assert run.process.poll() is None
    assert run.wait().code == 0
    assert build.wait().code == 0
    ((_, measuring_ended),) = measured(measuring.store.root)
    assert realised(building.items("uprobe")[0]) > measuring_ended


def test_two_workers_do_what_one_does(bare: Checkout, another: Another) -> None:
    checkout = another(bare)
    done = checkout.succeed("-n", "2")
    assert {"build_uprobe", "run_tiny", "check_tiny", "figure_tiny", "report"} <= set(done.executed)
    assert checkout.succeed("-n", "2").executed == []
    assert checkout.succeed().executed == []
