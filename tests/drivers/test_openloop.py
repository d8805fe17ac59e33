"""What is made of the words of the client that asks at a constant rate: it is a small script here."""

import json
import sys

import pytest

from bpfbench.drivers import openloop
from bpfbench.drivers.common import Garbled
from bpfbench.drivers.wrk import LoadError
from bpfbench.process.reaper import Reaper

GOOD = {
    "requests": 2000, "planned": 2000, "duration_ns": 1999000000, "connect": 0, "read": 0, "write": 0, "status": 0, "unreadable": 0,
    "timeout": 0, "p50_ns": 120500, "p99_ns": 900250, "max_ns": 1000000, "queued": 7, "late_p99_ns": 5000,
}  # fmt: skip


@pytest.fixture
def offer(tmp_path):
    def offered(told, end="", **how):
        program = tmp_path / "program"
        program.write_text(f"#!{sys.executable} -IS\nimport os, sys\nprint(sys.argv[1:])\nprint({told!r}, flush=True)\n{end}\n")
        program.chmod(0o755)
        with Reaper("test-openloop") as reaper:
            wanted = {"body": 10, "connections": 16, "rate": 1000, "seconds": 2, "tls": True, "cpus": None, **how}
            load = openloop.offer(reaper, program, tmp_path, 4043, "/x", **wanted)
        return load, (tmp_path / "client.out").read_text()

    return offered


def line(**changes):
    return "LOAD " + json.dumps(GOOD | changes)


def test_a_good_load_is_told_with_what_it_was(offer):
    load, said = offer(line())
    assert (load.requests, load.p50, load.p99) == (2000, 120.5, 900.25)
    assert load.seconds == 2, "the last request is due one interval before the end"
    assert load.details["requests_per_second_due"] == 1000
    assert load.details["requests_that_waited_for_a_connection"] == 7
    assert "'--rate', '1000'" in said
    assert "--tls" in said


def test_a_server_that_was_behind_took_longer(offer):
    assert offer(line(duration_ns=2500000000), tls=False)[0].seconds == 2.5


@pytest.mark.parametrize("name", openloop.ERRORS)
def test_any_error_fails_the_load(offer, name):
    with pytest.raises(LoadError, match=name):
        offer(line(**{name: 1}))


@pytest.mark.parametrize(
    ("told", "end", "reason"),
    [
        ("nothing", "", "no result"),
        (line(), "sys.exit(1)", "no result"),
        (line(), "os.kill(os.getpid(), 9)", "SIGKILL"),
        (line(requests=1999), "", "1999 of 2000"),
    ],
)
def test_no_report_a_bad_end_or_too_few_requests_fail_the_load(offer, told, end, reason):
    with pytest.raises(LoadError, match=reason):
        offer(told, end)


@pytest.mark.parametrize("told", ["LOAD {", "LOAD {}"])
def test_nonsense_is_told(offer, told):
    with pytest.raises(Garbled):
        offer(told)
