"""A real Redis on a real flushfs, bare and with an extension in it; promises that are broken; and whatever else can go wrong.

Debian's Redis serves here, so that no test waits for its build; specs name a pinned one of the same version.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.drivers import redis, redis_load, redis_server
from bpfbench.drivers.redis_setup import Setup
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process.leftovers import leftovers
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell, Sample

from ..debian import program
from .packages_here import Tree
from .test_flushfs import OBSTACLE

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
EXPERIMENT = MODEL.experiments["redis"]
CASES = {case.name: case for case in EXPERIMENT.cases}
ARMS = {arm.name: arm for arm in EXPERIMENT.arms}
MARK = "test-redis"

pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return packages as the specs' own would be, with Debian's programs in them."""
    folder, cache = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("toolchain")
    for package in ("redis-extension", "flushfs"):
        workload.make(MODEL.packages[package], ROOT, folder / package, cache=cache)
    (folder / "redis" / "bin").mkdir(parents=True)
    for name, debian in (("redis-server", "redis-server"), ("redis-benchmark", "redis-tools")):
        (folder / "redis" / "bin" / name).symlink_to(Path(program(name, debian)).resolve())
    return {name: folder / name for name in ("redis-extension", "flushfs", "redis")}


Take = Callable[..., Sample]


@pytest.fixture
def take(made: dict[str, Path], tmp_path: Path) -> Iterator[Take]:
    """Return a function that takes a sample; afterwards nothing of it may be left."""
    work = tmp_path / "work"
    work.mkdir()
    cpus = sorted(os.sched_getaffinity(0))
    mounts = Path("/proc/self/mounts").read_text()
    with Reaper(MARK) as reaper:

        def taken(
            arm: str, *, case: str = "flush_1ms", requests: int = 500, moments: int = 1, outputs: Any = None, **options: Any
        ) -> Sample:
            experiment = replace(EXPERIMENT, params={"moments": moments})
            trees = {**made, **(outputs or {})}
            bench = Bench(experiment, MODEL.profiles["quick"], reaper, trees, work, frozenset(cpus[-1:]), frozenset(cpus[:1]))
            changed = replace(ARMS[arm], options={**ARMS[arm].options, **options})
            cell = Cell(CASES[case], changed, MODEL.runtimes[ARMS[arm].runtime])
            return redis.create().sample(bench, cell, {"requests": requests}, 1)

        yield taken
    assert not list(work.iterdir()), "a sample leaves no directory"
    assert not leftovers(MARK)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not list(Path("/dev/shm").glob(f"*{MARK}*"))


def test_always_loses_nothing(take: Take) -> None:
    sample = take("always", moments=2)
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof is not None
    assert (sample.proof.kind, sample.proof.expected, sample.proof.observed) == ("crashes within the promise", 4, 4)
    assert sample.metrics["lost_max"] == 0
    assert sample.metrics["flush"] >= 1000, "its own clock: at least what was asked for"
    assert 1 <= sample.metrics["per_flush"] <= 5, "no more updates a flush than there are clients"
    assert sample.metrics["rate"] <= sample.metrics["bound"]
    assert {crash["by"] for crash in sample.evidence["crashes"]} == {"power loss", "kill -9"}
    assert all(crash["acknowledged"] > 0 for crash in sample.evidence["crashes"])
    assert sample.evidence["disk"]["honest"] is True


def test_extensions_keep_what_they_promise(take: Take, tree: Tree) -> None:
    for arm in ("fast", "delayed"):
        sample = take(arm, outputs={"embedded": tree("embedded")})
        assert (sample.status, sample.reason) == ("ok", None), arm
        assert sample.metrics["lost_max"] <= 2
        assert sample.metrics["per_flush"] <= 7, "five clients and two acknowledged updates"
        assert sample.evidence["counters"]["hits"]["update"] == 500
        assert (sample.engine, sample.backend) == ("jit", "trampoline")


def test_who_loses_more_than_it_promises_has_failed(take: Take, tree: Tree) -> None:
    sample = take("batch_1000", outputs={"embedded": tree("embedded")}, updates=0, moments=3)
    assert sample.status == "failed"
    assert "acknowledged updates are lost, promised were at most 0" in str(sample.reason)
    assert sample.proof is not None and not sample.proof.holds
    assert sample.metrics == {}


def test_who_never_flushes_loses_everything_with_the_power_and_nothing_by_a_kill(take: Take) -> None:
    sample = take("no")
    assert (sample.status, sample.reason) == ("ok", None), "nothing was promised"
    by = {crash["by"]: crash for crash in sample.evidence["crashes"]}
    assert by["power loss"]["lost"] == by["power loss"]["acknowledged"] > 0
    assert by["kill -9"]["lost"] == 0


def test_the_disk_that_there_is(take: Take) -> None:
    sample = take("no", case="disk")
    assert (sample.status, sample.reason) == ("ok", None)
    assert [(crash["by"], crash["lost"]) for crash in sample.evidence["crashes"]] == [("kill -9", 0)], "it was all written"
    disk = sample.evidence["disk"]
    assert disk["honest"] is (False if disk["doubt"] else None)
    assert disk["flush_us"] > 0
    assert disk["file_system"] != "unknown"


def test_a_port_that_is_taken(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr(redis_server, "free_port", lambda: other.getsockname()[1])
        sample = take("always")
    assert sample.status == "failed"
    assert "Address already in use" in str(sample.reason)


def script(folder: Path, place: str, text: str) -> Path:
    """Write a program, and return the tree that it is in."""
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return folder


def test_a_server_that_does_not_start(take: Take, tmp_path: Path) -> None:
    sample = take("always", outputs={"redis": script(tmp_path / "broken", "bin/redis-server", "echo no memory; exit 1")})
    assert sample.status == "failed"
    assert "no memory" in str(sample.reason)


def test_a_file_system_that_may_not_be_mounted(take: Take, tmp_path: Path) -> None:
    refuse = 'echo \'ERROR {"stage": "options", "message": "--mount: the file system cannot be mounted there"}\'; exit 2'
    sample = take("always", outputs={"flushfs": script(tmp_path / "refused", "flushfs", refuse)})
    assert sample.status == "failed"
    assert "cannot be mounted" in str(sample.reason)


@pytest.mark.parametrize("victim", ["server", "disk", "wedged disk", "loader"])
def test_whoever_dies_during_a_load_fails_the_sample(victim: str, take: Take, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = Setup.begin, []

    def strike(setup: Setup) -> None:
        pid = {"server": setup.server.pid, "loader": setup.loader.pid if setup.loader else 0}.get(victim) or setup.disk.inside
        assert pid
        time.sleep(0.1)
        os.kill(pid, signal.SIGSTOP if victim == "wedged disk" else signal.SIGKILL)

    def begin_and_strike(setup: Setup) -> None:
        begin(setup)
        begun.append(setup)
        if len(begun) == 2:  # the first time is the gate
            threading.Thread(target=strike, args=(setup,)).start()

    monkeypatch.setattr(Setup, "begin", begin_and_strike)
    monkeypatch.setattr(redis_load, "GRACE", 1.0)
    monkeypatch.setattr(redis_load, "SLOWEST", 4000.0)
    sample = take("fast", outputs={"embedded": tree("embedded")}, requests=2000)
    assert sample.status == "failed"
    assert sample.reason
