"""The load workload on this machine's kernel: every program is hit, once where functions are called once. No durations."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
DEADLINE = 30.0
MISSING = [name for name in ("clang", "gcc") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: loading BPF programs and attaching uprobes"),
    pytest.mark.skipif(not Path("/sys/bus/event_source/devices/uprobe/type").exists(), reason="this kernel has no uprobes"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["load"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


@pytest.fixture
def start(tree, tmp_path):
    with Reaper("test-load-workload") as reaper:
        shutil.copy2(tree / "victim", tmp_path / "victim-copy")

        def start(name, *options):
            program = tmp_path / "victim-copy" if name == "victim" else tree / name
            env = {**minimal_env(tmp_path), "LAUNCH_TOLD": "yes"}
            command = Command((str(tree / "launch"), str(program), *options), env, tmp_path, name, stdin=True)
            child = reaper.start(command, tmp_path)
            answer(child, "LAUNCHED")
            return child

        target = ("--object", str(tree / "program.bpf.o"), "--target", str(tmp_path / "victim-copy"))
        yield lambda name, *options: start(name, *(target if name == "loader" else ()), *options)


def answer(child, word, command=None):
    if command:
        child.send(command)
    line = child.expect(rf"^({word}|ERROR) ", DEADLINE)
    assert line.startswith(word), line
    return json.loads(line.partition(" ")[2])


def end(*children):
    for child in children:
        child.send("quit")
        assert child.wait(DEADLINE).code == 0


def test_a_started_target_hits_every_program_once(start):
    loader = start("loader", "--programs", "3")
    ready = answer(loader, "READY")
    assert [one["name"] for one in ready["programs"]] == ["probe_0", "probe_1", "probe_2"]
    victim = start("victim", "--functions", "5")
    called = answer(victim, "READY")["called_ns"]
    assert "TOLD=yes" in Path(f"/proc/{victim.pid}/environ").read_text().split("\0"), "the launcher passes variables on"
    counters = answer(loader, "COUNTERS", "read")
    assert counters["hits"] == [1, 1, 1]
    assert all(ready["ready_ns"] < first <= called for first in counters["first_ns"])
    again = answer(loader, "AGAIN", "again 3")
    assert all(load > verify > 0 for load, verify in zip(again["load_ns"], again["verify_ns"], strict=True))
    assert ready["cpu_ns"] > 0
    end(victim, loader)


def test_a_running_target_is_hit_from_when_it_is_attached_to(start):
    victim = start("victim", "--functions", "2", "--spin")
    pid = answer(victim, "READY")["pid"]
    loader = start("loader", "--programs", "2", "--hold")
    answer(loader, "READY")
    assert answer(loader, "COUNTERS", "read")["hits"] == [0, 0]
    began = answer(loader, "ATTACHED", f"attach {pid}")["began_ns"]
    deadline = time.monotonic() + DEADLINE
    while not all((counters := answer(loader, "COUNTERS", "read"))["hits"]):
        assert time.monotonic() < deadline
    end(victim)
    assert all(first > began for first in counters["first_ns"])
    end(loader)
