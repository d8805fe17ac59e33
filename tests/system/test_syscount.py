"""System calls of a real nginx, counted by the kernel's tracepoints: exactly, or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfbench.drivers import nginx_load, syscount
from bpfbench.drivers.nginx import Nginx
from bpfbench.measure.prerequisites import check

from . import servers
from .servers import OTHER_CPUS, SERVER_CPUS, Servers


def obstacle() -> str | None:
    """Say what keeps this machine from tracing system calls."""
    if os.geteuid() != 0:
        return "needs root: loading BPF programs and attaching them to tracepoints"
    found = check("tracefs")
    return None if found.ok else found.reason


OBSTACLE = obstacle()
pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return servers.trees("syscount", tmp_path_factory)


@pytest.fixture
def nginx(trees: dict[str, Path], tmp_path: Path) -> Iterator[Servers]:
    with servers.servers("syscount", trees, tmp_path) as found:
        yield found


def test_every_call_of_the_worker_is_counted(nginx: Servers) -> None:
    sample = nginx.pilot("targeted", "kernel")
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof is not None
    assert (sample.proof.kind, sample.proof.holds) == ("calls", True)
    told = sample.evidence
    assert told["calls"]["257"] == told["requests_served"] >= told["requests"] > 0
    assert told["cpus"] == {"server": sorted(SERVER_CPUS), "client and tracer": sorted(OTHER_CPUS)}
    assert sample.metrics["calls"] > 5


def test_nothing_is_counted_while_another_process_is_watched(nginx: Servers) -> None:
    sample = nginx.pilot("filtered", "kernel")
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof is not None
    assert (sample.proof.expected, sample.proof.observed) == (0, 0)
    assert "calls" not in sample.metrics


@pytest.mark.long  # two loads; sslsniff has the same at an ordinary time
def test_requests_at_a_constant_rate_that_the_bare_server_decides(nginx: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_load, "CAPACITY_LOADS", 1)
    sample = nginx.pilot("steady", "native")
    assert (sample.status, sample.reason) == ("ok", None)
    capacity = next(value for name, value in nginx.driver.kept.items() if name.startswith("capacity"))
    assert sample.evidence["requests"] == sample.evidence["requests_per_second_due"] == round(0.2 * capacity)


def test_a_count_by_number_that_ptrace_contradicts_fails_the_gate(nginx: Servers) -> None:
    nginx.driver.kept["calls"] = {17: 24}  # what the onlooker is said to have seen
    sample = nginx.pilot("targeted", "kernel")
    assert sample.status == "failed"
    assert "17: (25, 24)" in str(sample.reason)


@pytest.mark.long  # a load each
@pytest.mark.parametrize("account", ["syscr", "syscw", "requests"])
def test_counts_that_others_contradict_prove_nothing(nginx: Servers, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    more, accounted, requests = itertools.count(), syscount.account_of, Nginx.requests
    if account == "requests":  # one too many each time: one more before the load than after, and one for the question
        monkeypatch.setattr(Nginx, "requests", lambda server: requests(server) + next(more))
    else:
        monkeypatch.setattr(syscount, "account_of", lambda pid: (told := accounted(pid)) | {account: told[account] + next(more)})
    sample = nginx.pilot("targeted", "kernel")
    assert (sample.status, sample.metrics) == ("failed", {})
    assert "not proved" in str(sample.reason)
    assert {"syscr": "reads, as accounted", "syscw": "writes, as accounted", "requests": "calls of openat"}[account] in str(sample.reason)
