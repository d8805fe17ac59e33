"""A real FUSE file system, cached and not, and bad luck: servers that end, stop or never come.

Debian's loggedfs serves here, so that no test waits for a build; libfuse's passthrough is among the long ones.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.drivers import fuse, pair
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
EXPERIMENT = MODEL.experiments["fuse"]
CASES = {case.name: case for case in EXPERIMENT.cases}
ARMS = {arm.name: arm for arm in EXPERIMENT.arms}
MARK = "test-served"
PLAN = {"calls": 40, "warm": 32}

pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]
Take = Callable[..., Sample]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program("loggedfs", "loggedfs")
    tree = tmp_path_factory.mktemp("fuse") / "tree"
    workload.make(MODEL.packages["fuse"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


@pytest.fixture
def take(made: Path, tree: Tree, tmp_path: Path) -> Iterator[Take]:
    """Return a function that takes a pilot or a sample; afterwards nothing of it may be left."""
    work = tmp_path / "work"
    work.mkdir()
    cpus = sorted(os.sched_getaffinity(0))
    mounts = Path("/proc/self/mounts").read_text()
    driver, numbers = fuse.create(), itertools.count(1)
    # a client that does not answer is waited for a hundred sample times
    profile = replace(MODEL.profiles["quick"], sample_time=0.002)
    with Reaper(MARK) as reaper:

        def taken(arm: str, case: str = "logged_fstatat", *, pilot: bool = False, libfuse: Path | None = None) -> Sample:
            trees = {"fuse": made, "libfuse": libfuse or tmp_path}
            if arm == "embedded":
                trees["embedded"] = tree("embedded")
            bench = Bench(EXPERIMENT, profile, reaper, trees, work, frozenset(cpus[-1:]), frozenset(cpus[:1]))
            cell = Cell(CASES[case], ARMS[arm], MODEL.runtimes[ARMS[arm].runtime])
            return driver.pilot(bench, cell)[0] if pilot else driver.sample(bench, cell, PLAN, next(numbers))

        yield taken
    assert not list(work.glob("sample-*")), "a sample leaves no directory"
    assert not leftovers(MARK)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not list(Path("/dev/shm").glob(f"*{MARK}*"))


def test_the_gate_is_passed_with_and_without_a_cache(take: Take) -> None:
    for arm, kind in (("native", "nothing attached"), ("embedded", "calls counted")):
        sample = take(arm, pilot=True)
        assert (sample.status, sample.reason) == ("ok", None), arm
        assert sample.proof is not None
        assert (sample.proof.kind, sample.proof.holds) == (kind, True)
    assert (sample.engine, sample.backend) == ("jit", "trampoline")


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("logged_")])
def test_every_call_is_counted_in_the_case_s_own_way(take: Take, case: str) -> None:
    sample = take("embedded", case)
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof is not None
    assert sample.proof.expected == sample.proof.observed >= PLAN["calls"] * pair.ROUNDS


@pytest.mark.long  # builds libfuse
@pytest.mark.parametrize("arm", ["native", "embedded"])
def test_passthrough(take: Take, tree: Tree, arm: str) -> None:
    libfuse = tree("libfuse")
    assert take(arm, "fstatat", pilot=True, libfuse=libfuse).reason is None
    for case in (name for name in CASES if not name.startswith("logged_")):
        sample = take(arm, case, libfuse=libfuse)
        assert (sample.status, sample.reason) == ("ok", None), case


@pytest.mark.parametrize(
    ("arm", "how", "reason"),
    [("embedded", signal.SIGKILL, "ended while it was needed: was killed by SIGKILL"), ("native", signal.SIGSTOP, "did not")],
)
def test_a_server_that_is_killed_or_stopped(
    take: Take, monkeypatch: pytest.MonkeyPatch, arm: str, how: signal.Signals, reason: str
) -> None:
    """The client waits in the middle of a call then, where no signal reaches it."""

    def strike(one: fuse.FusePair, ready: object) -> None:
        assert one.server is not None
        os.kill(one.server.pid, how)

    monkeypatch.setattr(fuse.FusePair, "prepare", strike)
    monkeypatch.setattr(pair, "STALL", 0.5)
    case = replace(CASES["logged_change"], name="x")
    monkeypatch.setitem(CASES, "x", case)
    sample = take(arm, "x")
    assert sample.status == "failed"
    assert reason in str(sample.reason)
    monkeypatch.undo()
    assert take(arm).status == "ok", "the next one is not concerned"


def test_a_server_that_does_not_mount(take: Take, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "passthrough"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    broken.chmod(0o755)
    sample = take("native", "fstatat", libfuse=tmp_path)
    assert sample.status == "failed"
    assert "passthrough ended while it was needed" in str(sample.reason)
    assert "no such luck" in str(sample.reason)

