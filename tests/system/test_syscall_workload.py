"""The syscall workload on this machine's kernel: every case counts exactly, and the victim alone. Only counts are asserted."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.measure.prerequisites import check
from bpfbench.model.load import load
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
CASES = MODEL.experiments["syscall"].cases
DEADLINE = 30.0


def obstacle():
    """Say what keeps this machine from tracing system calls."""
    if os.geteuid() != 0:
        return "needs root: loading BPF programs and attaching them to tracepoints"
    if not (found := check("tracefs")).ok:
        return found.reason
    missing = [name for name in ("clang", "gcc") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


OBSTACLE = obstacle()
pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["syscall"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


@pytest.fixture
def start(tree, tmp_path):
    with Reaper("test-syscall-workload") as reaper:

        def start(name, *options):
            argv = (str(tree / name), *options)
            command = Command(argv, minimal_env(tmp_path), tmp_path, name, stdin=True, private_mounts=name == "loader")
            return reaper.start(command, tmp_path)

        def loader(*attachments):
            options = [word for attachment in attachments for word in ("--attach", attachment)]
            return start("loader", "--object", str(tree / "program.bpf.o"), "--target", str(tree / "victim"), "--mount-tracefs", *options)

        yield loader, lambda call: start("victim", "--call", call)


def ask(child, command, word):
    if command:
        child.send(command)
    line = child.expect(rf"^({word}|ERROR)( |$)", DEADLINE)
    assert line.startswith(word), line
    return json.loads(line[len(word) :].strip() or "{}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_programs_count_every_timed_call_and_nothing_else(start, case):
    loader, victim = start[0](*case.params["attach"]), start[1](case.params["call"])
    ask(loader, None, "READY")
    pid = ask(victim, None, "READY")["pid"]
    ask(victim, "run 5 1", "DONE")  # nobody is watched yet
    ask(loader, f"only {pid}", "OK only")
    subprocess.run(["/bin/cat", "/etc/hostname"], check=False, capture_output=True)  # somebody else's calls
    done = ask(victim, "run 100 7", "DONE")
    assert (done["calls"], done["wrong"], len(done["rounds"])) == (705, 0, 7)
    assert done["live_bytes"] == ask(victim, "mark 3", "MARKED")["live_bytes"]
    victim.send("quit")
    assert victim.wait(DEADLINE).code == 0
    hits = ask(loader, "read", "COUNTERS")["hits"]
    assert hits == {attachment.split(":")[1]: 700 for attachment in case.params["attach"]}
    loader.send("quit")
    assert loader.wait(DEADLINE).code == 0


def test_who_watches_another_call_counts_that_one(start):
    loader, victim = start[0]("tracepoint:enter_getpgid:syscalls/sys_enter_getpgid"), start[1]("read")
    ask(loader, None, "READY")
    ask(loader, f"only {ask(victim, None, 'READY')['pid']}", "OK only")
    ask(victim, "run 100 3", "DONE")
    assert ask(loader, "read", "COUNTERS")["hits"] == {"enter_getpgid": 0}
    assert ask(victim, "mark 12", "MARKED")["marks"] == 12
    assert ask(loader, "read", "COUNTERS")["hits"] == {"enter_getpgid": 12}


def test_a_tracepoint_that_is_not_there_is_named(start):
    loader = start[0]("tracepoint:enter_read:syscalls/sys_enter_nothing")
    error = json.loads(loader.expect("^ERROR ", DEADLINE).partition(" ")[2])
    assert (error["stage"], error["program"]) == ("attach", "enter_read")
    assert "sys_enter_nothing" in error["message"]
    assert loader.wait(DEADLINE).code == 3
