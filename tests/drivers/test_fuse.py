"""The driver of cached file systems against small scripts that play server, other process, loader and client."""

import itertools
import os
import sys
import textwrap

import pytest

from bpfbench.drivers import fuse, fuse_find, fuse_gate
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

COMMON = f"""\
#!{sys.executable} -IS
import json, os, sys, time
fault = os.environ.get("FAULT", "")
def say(word, **fields):
    print(word, json.dumps(fields) if fields else "", flush=True)
"""

STAGE = COMMON + textwrap.dedent("""
    words = sys.argv[1:]
    while words[0].startswith("--"):
        words = words[1 if words[0] == "--obey" else 2:]
    if os.environ.get("LAUNCH_FAULT") == "no room":
        print('ERROR {"stage": "options", "message": "--tmpfs: no room"}', flush=True)
        sys.exit(2)
    say("STAGED", pid=os.getpid())
    line = b""
    while not line.endswith(b"\\n"):
        line += os.read(0, 1)
    env = {name.removeprefix("LAUNCH_"): value for name, value in os.environ.items()}
    os.execve(words[0], words, env)
""")

SERVER = COMMON + textwrap.dedent("""
    if fault == "server refuses":
        print("fuse: mount failed: Operation not permitted", file=sys.stderr, flush=True)
        sys.exit(1)
    time.sleep(60)
""")

LOADER = COMMON + textwrap.dedent("""
    open(os.environ["STATE"], "w").write(" ".join(sys.argv[1:]))
    if fault == "refused":
        say("ERROR", stage="load", program="p", errno=1, message="Operation not permitted", log=None)
        sys.exit(3)
    say("READY", programs=[{"name": "p"}], libbpf="1.1")
    runs = 0
    for line in sys.stdin:
        word, *rest = line.split()
        runs += word == "client"
        if word == "read" and "--client" not in sys.argv:
            asked = 0 if fault == "unseen" else 300 - (1 if fault == "missed" and runs == 3 else 0)
            say("COUNTERS", stat_hits=20 if fault == "evicted" else asked - 100, stat_misses=asked - 20 if fault == "evicted" else 100)
        elif word == "read":
            counted = int(open(os.environ["STATE"] + ".calls").read())
            say("COUNTERS", list_hits=counted // 2, list_ends=counted - counted // 2 - (1 if fault == "missed" else 0))
        elif word == "quit":
            sys.exit(0)
        else:
            say(f"OK {word}")
""")

VICTIM = COMMON + textwrap.dedent("""
    say("READY", pid=os.getpid(), function="getdents64", first_bytes=None)
    total = 0
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "quit":
            sys.exit(0)
        elif word == "mounted":
            say("MOUNTED", fuse=0 if fault == "server refuses" else 1, device=40)
        elif word in ("populate", "directory", "chmod"):
            say("DID", result=-28 if fault == "full" and word == "populate" else 0)
        elif word == "warm":
            total += int(rest[0])
            say("WARM", calls=total, wrong=0)
        else:
            calls, rounds = int(rest[0]), int(rest[1])
            total += calls * rounds
            open(os.environ.get("STATE", os.devnull) + ".calls", "w").write(str(calls * rounds))
            say("DONE", calls=total, wrong=3 if fault == "wrong" else 0, rounds=[calls * 70] * rounds, calm=[1] * rounds, core=900,
                scheduling="other")
""")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Return a function that pilots a cell and takes a sample of it."""
    monkeypatch.setattr(fuse, "holds_root", lambda: True)
    monkeypatch.setattr(fuse, "START_DEADLINE", 10.0)
    gates = []
    monkeypatch.setattr(fuse_gate.Gate, "pass_all", lambda gate: gates.append(gate))  # noqa: PLW0108 - a method's self
    start = fuse.FusePair._stage
    # mounts of one's own need root, and are no part of this
    monkeypatch.setattr(fuse.FusePair, "_stage", lambda *a, **k: start(*a, **{**k, "mounts": False}))
    trees = {"fuse": tmp_path / "fuse", "libfuse": tmp_path / "libfuse" / "bin"}
    for tree, name, text in (
        ("fuse", "stage", STAGE), ("fuse", "loader", LOADER), ("fuse", "victim", VICTIM), ("libfuse", "passthrough", SERVER),
    ):  # fmt: skip
        trees[tree].mkdir(parents=True, exist_ok=True)
        (trees[tree] / name).write_text(text)
        (trees[tree] / name).chmod(0o755)
    outputs = {"fuse": trees["fuse"], "libfuse": tmp_path / "libfuse"}
    cpus, numbers = frozenset(os.sched_getaffinity(0)), itertools.count()

    def sample(*, stage="", client="", loader="", where="userspace", system="passthrough", call="getdents64"):
        state = {"STATE": str(tmp_path / "state")}
        engine = None if where == "none" else "kernel-interpreter"
        envs = {"loader_env": {"FAULT": loader, **state}, "target_env": {"FAULT": client or stage, **state}}
        runtime = Runtime("r", "r", where, "#000000", HERE, engine=engine, **envs)
        params = {"system": system, "call": call, "folder": "folder-0000", "name": "x", "counts": [["list_hits", "list_ends"]]}
        case = Case("c", "c", "g", params=params)
        arm = Arm("a", "r", "r")
        metric = Metric("time", "t", "ns", "call", "lower", True)
        experiment = Experiment("fuse", "f", "d", "fuse", "a", ("fuse", "libfuse"), (arm,), (Group("g", "g"),), (case,), (metric,), HERE)
        profile = Profile("p", "p", 1, 1, 0, 0.1, 0.05, 10.0, 0.01, ())
        work = tmp_path / f"work-{next(numbers)}"
        work.mkdir()
        driver = fuse.create()
        with Reaper("test-fuse") as reaper:
            bench = Bench(experiment, profile, reaper, outputs, work, cpus, cpus)
            cell = Cell(case, arm, runtime)
            pilot, plan = driver.pilot(bench, cell)
            taken = driver.sample(bench, cell, plan, 1) if pilot.status == "ok" else pilot
        assert not list(work.glob("sample-*")), "nothing of a sample is left"
        return taken, gates, (tmp_path / "state").read_text() if (tmp_path / "state").exists() else ""

    return sample


def test_a_cached_sample_is_proved_by_the_calls_that_were_counted(measure):
    taken, gates, words = measure()
    assert taken.status == "ok", taken.reason
    assert taken.proof.kind == "calls counted"
    assert taken.proof.observed == taken.proof.expected > 0
    assert taken.metrics["time"] == pytest.approx(70)
    assert len(gates) == 1, "the pilot's; a sample does not repeat it"
    assert words.endswith("--filter /mnt/backing/folder-0001")


def test_a_bare_sample_is_proved_by_nothing_being_attached(measure):
    taken, _, words = measure(where="none")
    assert (taken.status, taken.proof.kind, words) == ("ok", "nothing attached", ""), taken.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"loader": "missed"}, "not proved: expected"),
        ({"client": "wrong"}, "3 of "),
        ({"stage": "no room"}, "no room"),
        ({"stage": "server refuses"}, "mount failed: Operation not permitted"),
        ({"loader": "refused"}, "load: Operation not permitted"),
    ],
)
def test_what_goes_wrong_fails_the_sample_by_its_reason(measure, fault, reason):
    taken, _, _ = measure(**fault)
    assert taken.status == "failed"
    assert reason in taken.reason


def test_what_cannot_be_had_here_is_unsupported(measure, monkeypatch):
    taken, _, _ = measure(where="kernel")
    assert (taken.status, taken.reason) == ("unsupported", fuse.TOLD_BY_KERNEL)
    monkeypatch.setattr(fuse.shutil, "which", lambda name: None)
    assert measure(system="loggedfs")[0].reason == "loggedfs is not installed"
    monkeypatch.setattr(fuse, "DEVICE", fuse.DEVICE / "missing")
    assert "no /dev/fuse" in measure()[0].reason
    monkeypatch.setattr(fuse, "holds_root", lambda: False)
    assert "needs root" in measure()[0].reason


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A directory in the place of the mount, in which there is as much to find as there should be."""
    for number in range(fuse.FOLDERS * fuse_find.FILES):
        path = tmp_path / "mount" / f"folder-{number % fuse.FOLDERS}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    monkeypatch.setattr(fuse, "MOUNT", tmp_path / "mount")
    return tmp_path / "mount"


def test_find_is_run_again_and_again_and_must_ask_the_same_each_time(measure, tree):
    taken, gates, words = measure(call="find")
    assert (taken.status, taken.reason, gates) == ("ok", None, [])
    assert (taken.proof.kind, taken.proof.expected) == ("questions seen", 300)
    assert "--client" not in words, "each find is introduced when it comes"
    assert taken.evidence["files"] == 200
    assert measure(call="find", where="none")[0].proof.kind == "files found"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("unseen", "expected 200 questions seen, one a"), ("missed", "expected 300 questions seen, observed 299"), ("evicted", "the cache")],
)
def test_a_find_that_is_not_proved_fails(measure, tree, fault, reason):
    taken, _, _ = measure(call="find", loader=fault)
    assert taken.status == "failed"
    assert reason in taken.reason


def test_a_find_that_finds_too_little_fails(measure, tree):
    (tree / "folder-0" / "file-0").unlink()
    taken, _, _ = measure(call="find", where="none")
    assert (taken.status, taken.reason) == ("failed", "find has found 199 files of 200")
