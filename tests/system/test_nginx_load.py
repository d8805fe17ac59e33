"""A real nginx under a real load, bare and with kernel probes; whatever must not pass for a measurement; and bad luck."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfbench.drivers import nginx, nginx_load, sslsniff
from bpfbench.drivers.nginx import Nginx

from . import servers
from .servers import Servers

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: attaches uprobes"),
    pytest.mark.skipif(
        not Path("/sys/bus/event_source/devices/uprobe/type").exists(), reason="this kernel has no uprobes"
    ),
]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return servers.trees("sslsniff", tmp_path_factory)


@pytest.fixture
def tls(trees: dict[str, Path], tmp_path: Path) -> Iterator[Servers]:
    with servers.servers("sslsniff", trees, tmp_path) as found:
        yield found


def test_bare_and_probed_by_the_kernel(tls: Servers) -> None:
    bare = [tls.pilot("ring_1k", "native")]
    for arm, kind, samples in (("native", "nothing attached", bare), ("kernel", "requests seen", tls.take("ring_1k", "kernel"))):
        assert {(sample.status, sample.reason) for sample in samples} == {("ok", None)}
        for sample in samples:
            assert sample.proof is not None
            assert (sample.proof.kind, sample.proof.holds) == (kind, True)
            assert sample.metrics["rate"] > 0
            assert ("events" in sample.metrics) == (arm == "kernel")
    probed = samples[-1]
    assert probed.evidence["hits"]["enter_read"] == probed.evidence["hits"]["return_read_ring"] > 0
    assert probed.evidence["events_received"] + probed.evidence["events_lost"] == probed.evidence["events_sent"]


def test_a_connection_each_request_through_a_perf_event_array(tls: Servers) -> None:
    sample = tls.pilot("perf_1k", "kernel", keep_alive=False)
    assert (sample.status, sample.reason) == ("ok", None)
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
    tls: Servers, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(nginx_load, "ATTACHED_WITHIN", 1.5)
    (pilot,) = tls.take("ring_1k", "kernel", **changes)
    assert pilot.status == "failed"
    assert reason in str(pilot.reason)
    assert pilot.metrics == {}


def test_a_constant_rate_over_tls_with_probes(tls: Servers) -> None:
    tls.driver.kept["capacity of 1024 64 True True"] = 2000.0
    sample = tls.pilot("steady_half", "kernel")
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.evidence["requests"] == sample.evidence["requests_seen"] == 1000


# --- bad luck: the arm has failed and says why, the next one runs, and nothing is left (which the fixture looks at) ---


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_nginx_that_does_not_start_and_a_client_that_is_killed(tls: Servers, tmp_path: Path) -> None:
    found = dict(tls.bench.outputs)
    tls.with_programs(nginx=script(tmp_path / "no-nginx", "echo unknown directive >&2; exit 1"))
    sample = tls.pilot("ring_1k", "native")
    assert (sample.status, sample.metrics) == ("failed", {})
    assert "nginx does not start: it has ended" in str(sample.reason)
    assert "unknown directive" in str(sample.reason)
    tls.with_programs(nginx=found["nginx"] / "sbin" / "nginx", wrk=script(tmp_path / "no-wrk", "kill -9 $$"))
    sample = tls.pilot("ring_1k", "kernel")
    assert (sample.status, sample.metrics) == ("failed", {})
    assert "wrk was killed by SIGKILL" in str(sample.reason)


@pytest.mark.long  # nginx tries for two and a half seconds
def test_a_port_that_somebody_has_taken(tls: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((nginx.ADDRESS, 0)) as taken:
        monkeypatch.setattr(nginx, "_free_port", lambda: taken.getsockname()[1])
        sample = tls.pilot("ring_1k", "native")
    assert sample.status == "failed"
    assert "Address already in use" in str(sample.reason)


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("tracer", "loader.* was killed by SIGKILL"),
        pytest.param("worker", "wrk met errors|has ended", marks=pytest.mark.long),  # a load each
        pytest.param("master", "wrk met errors|has ended", marks=pytest.mark.long),
    ],
)
def test_who_is_killed_during_the_load_costs_its_own_arm(tls: Servers, monkeypatch: pytest.MonkeyPatch, who: str, reason: str) -> None:
    begin: Callable[..., None] = sslsniff.Sniffed.begin

    def begin_and_kill(self: Any, server: Nginx) -> None:
        begin(self, server)
        pid = {"tracer": self.loader.pid if self.loader else 0, "worker": server.worker, "master": server.child.pid}[who]
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()

    with monkeypatch.context() as patched:
        patched.setattr(sslsniff.Sniffed, "begin", begin_and_kill)
        sample = tls.pilot("ring_1k", "kernel")
    assert (sample.status, sample.metrics) == ("failed", {})
    assert re.search(reason, str(sample.reason)), sample.reason
    if who == "tracer":
        assert tls.pilot("ring_1k", "native").status == "ok"
