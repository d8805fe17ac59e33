"""A real nginx under a real load, bare and with kernel probes; and whatever must not pass for a measurement.

Debian's nginx and wrk serve here, so that no test waits for their build; specs name pinned ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.drivers import nginx_load, sslsniff
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell, Sample
from ..debian import program

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
EXPERIMENT = MODEL.experiments["sslsniff"]
CASES = {case.name: case for case in EXPERIMENT.cases}
ARMS = {arm.name: arm for arm in EXPERIMENT.arms}

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: attaches uprobes"),
    pytest.mark.skipif(
        not Path("/sys/bus/event_source/devices/uprobe/type").exists(), reason="this kernel has no uprobes"
    ),
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return packages as the specs' own would be, with Debian's programs in them."""
    folder = tmp_path_factory.mktemp("packages")
    workload.make(MODEL.packages["sslsniff"], ROOT, folder / "sslsniff", cache=tmp_path_factory.mktemp("toolchain"))
    for package, place, debian in (("nginx", "sbin/nginx", "nginx-light"), ("wrk", "bin/wrk", "wrk")):
        (folder / package / place).parent.mkdir(parents=True)
        (folder / package / place).symlink_to(program(package, debian))
    program("openssl", "openssl")
    return {name: folder / name for name in ("sslsniff", "nginx", "wrk")}


Take = Callable[..., list[Sample]]


@pytest.fixture
def take(outputs: dict[str, Path], tmp_path: Path) -> Iterator[Take]:
    """Return a function that takes a pilot and a sample of a case, with some of its parameters changed."""
    work = tmp_path / "work"
    work.mkdir()
    cpus = sorted(os.sched_getaffinity(0))
    with Reaper("test-nginx-load") as reaper:
        bench = Bench(EXPERIMENT, MODEL.profiles["quick"], reaper, outputs, work, frozenset(cpus[-1:]), frozenset(cpus[:1]))
        driver = sslsniff.create()

        def taken(case: str, arm: str, **changes: Any) -> list[Sample]:
            changed = replace(CASES[case], params={**CASES[case].params, **changes})
            cell = Cell(changed, ARMS[arm], MODEL.runtimes[ARMS[arm].runtime])
            pilot, plan = driver.pilot(bench, cell)
            return [pilot, driver.sample(bench, cell, plan, 1)] if pilot.status == "ok" else [pilot]

        yield taken
    assert not list(work.glob("sample-*")), "a sample leaves no directory"


def test_bare_and_probed_by_the_kernel(take: Take) -> None:
    for arm, kind in (("native", "nothing attached"), ("kernel", "requests seen")):
        samples = take("ring_1k", arm)
        assert [(sample.status, sample.reason) for sample in samples] == [("ok", None)] * 2
        for sample in samples:
            assert sample.proof is not None
            assert (sample.proof.kind, sample.proof.holds) == (kind, True)
            assert sample.metrics["rate"] > 0
            assert ("events" in sample.metrics) == (arm == "kernel")
    probed = samples[-1]
    assert probed.evidence["hits"]["enter_read"] == probed.evidence["hits"]["return_read_ring"] > 0
    assert probed.evidence["events_received"] + probed.evidence["events_lost"] == probed.evidence["events_sent"]


def test_a_connection_each_request_through_a_perf_event_array(take: Take) -> None:
    pilot, sample = take("perf_1k", "kernel", keep_alive=False)
    assert (pilot.status, sample.status, sample.reason) == ("ok", "ok", None)
    assert sample.metrics["events"] >= 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # Attached to something that nobody calls: served requests alone prove nothing.
        ({"attach": ["uprobe:enter_read:SSL_peek", "uretprobe:return_read_ring:SSL_peek"]}, "no program has seen one"),
        ({"library": "libssh.so"}, "has not mapped libssh.so"),
        ({"attach": ["uprobe:enter_read:SSL_nonesuch"]}, "attach"),
        ({"attach": ["uprobe:no_such_program:SSL_read"]}, "no_such_program"),
        # Only one side is watched: what the client was sent is not there.
        ({"attach": ["uprobe:enter_read:SSL_read", "uretprobe:return_read_ring:SSL_read"]}, "its whole answer"),
    ],
)
def test_what_is_no_measurement_fails_and_says_why(
    take: Take, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(nginx_load, "ATTACHED_WITHIN", 1.5)
    (pilot,) = take("ring_1k", "kernel", **changes)
    assert pilot.status == "failed"
    assert reason in str(pilot.reason)
    assert pilot.metrics == {}
