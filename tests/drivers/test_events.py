"""Captures of events, and waiting until all have arrived, against a loader that is a small script."""

import shutil
import struct
import sys
import textwrap

import pytest

from bpfbench.drivers import events
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

LOADER = f"#!{sys.executable} -IS" + textwrap.dedent("""
    import itertools, json, sys
    arrivals = itertools.chain([8, 10, 14, 14], itertools.repeat(17))
    for line in sys.stdin:
        if line == "events\\n":
            print("EVENTS", json.dumps({"received": next(arrivals), "bytes": 0, "lost": 0}), flush=True)
        elif line == "read\\n":
            print("COUNTERS", json.dumps({"hits": {"p": 12}, "inner": {"p": 9}}), flush=True)
        else:
            print("OK reset", flush=True)
""")


@pytest.fixture
def loader(tmp_path):
    program = tmp_path / "loader"
    program.write_text(LOADER)
    program.chmod(0o755)
    with Reaper("test-events") as reaper:
        yield reaper.start(Command((str(program),), minimal_env(tmp_path), tmp_path, "loader", stdin=True), tmp_path)


def test_what_is_still_on_its_way_is_waited_for_and_the_rest_is_lost(loader, monkeypatch):
    monkeypatch.setattr(events, "GIVEN_UP", 0.01)
    before = events.reset(loader)
    seen = events.settle(loader, before)
    assert (before, seen.received, seen.sent, seen.lost) == (10, 7, 9, 2)
    assert seen.as_evidence()["events_lost"] == 2


def event(direction, data, cut=0):
    body = struct.pack("<IIII", 7, 8, direction, len(data)) + data
    return (struct.pack("<I", len(body)) + body)[: None if not cut else -cut]


def test_a_capture_gives_both_sides_in_order_and_leaves_out_a_torn_end(tmp_path):
    capture = tmp_path / "capture"
    capture.write_bytes(event(0, b"GET ") + event(1, b"200 ") + event(0, b"/x") + event(1, b"body") + event(1, b"torn", cut=2))
    assert events.plaintext(capture) == (b"GET /x", b"200 body")
    assert events.plaintext(tmp_path / "none") == (b"", b"")


@pytest.mark.parametrize(("name", "count"), [("agent/sleep", 0), ("libagent.so/../sleep-agent", 1)])
def test_a_runtime_is_known_by_the_name_of_its_file_and_not_of_its_folder(tmp_path, name, count):
    (tmp_path / "agent").mkdir()
    (tmp_path / "libagent.so").mkdir()
    program = (tmp_path / name).resolve()
    shutil.copy2("/bin/sleep", program)
    with Reaper("test-events") as reaper:
        child = reaper.start(Command((str(program), "1000"), minimal_env(tmp_path), tmp_path, "sleep"), tmp_path)
        assert bool(events.foreign(child.pid)) == bool(count)


def test_what_a_runtime_has_mapped_is_seen(tmp_path):
    with Reaper("test-events") as reaper:
        child = reaper.start(Command(("/bin/sleep", "1000"), minimal_env(tmp_path), tmp_path, "sleep"), tmp_path)
        assert events.foreign(child.pid) == 0
