"""What the load generator says, good and bad: wrk is a small script here."""

import sys

import pytest

from bpfbench.drivers import wrk
from bpfbench.drivers.common import Garbled
from bpfbench.process.reaper import Reaper

GOOD = {
    "requests": 2000, "bytes": 4000000, "duration": 1000500, "connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0,
    "p50": 120.5, "p99": 900.25, "max": 1000.0,
}  # fmt: skip


@pytest.fixture
def offer(tmp_path):
    def offered(told, status=0, **how):
        program = tmp_path / "wrk"
        program.write_text(
            f"#!{sys.executable} -IS\nimport json, sys\nprint(sys.argv[1:])\nprint({told!r})\nsys.exit({status})\n"
        )
        program.chmod(0o755)
        with Reaper("test-wrk") as reaper:
            wanted = {"seconds": 2, "connections": 16, "keep_alive": True, "cpus": None, **how}
            load = wrk.offer(reaper, program, tmp_path, "http://127.0.0.1:1/x", **wanted)
        return load, (tmp_path / "wrk.out").read_text()

    return offered


def line(**changes):
    import json

    return "LOAD " + json.dumps(GOOD | changes)


def test_a_good_load(offer):
    load, said = offer(line())
    assert (load.requests, load.seconds, load.p50, load.p99) == (2000, 1.0005, 120.5, 900.25)
    assert "'-c', '16', '-d', '2s'" in said
    assert "Connection: close" not in said


def test_without_keep_alive_every_request_asks_for_the_end_of_its_connection(offer):
    assert "Connection: close" in offer(line(), keep_alive=False)[1]


@pytest.mark.parametrize("name", wrk.ERRORS)
def test_any_error_fails_the_load(offer, name):
    with pytest.raises(wrk.LoadError, match=name):
        offer(line(**{name: 1}))


@pytest.mark.parametrize(("told", "status"), [("nothing", 0), (line(), 1)])
def test_no_report_or_a_bad_end_fails_the_load(offer, told, status):
    with pytest.raises(wrk.LoadError, match="no result"):
        offer(told, status)


@pytest.mark.parametrize("told", ["LOAD {", "LOAD {}", line(requests=0)])
def test_nonsense_is_told(offer, told):
    with pytest.raises(Garbled):
        offer(told)
