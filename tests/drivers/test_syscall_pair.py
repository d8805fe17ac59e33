"""The driver of traced system calls against small scripts that play loader and victim."""

import os
import sys
import textwrap

import pytest

from bpfbench.drivers import pair, syscall_pair
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

COMMON = f"""\
#!{sys.executable} -IS
import json, os, sys
fault, state = os.environ.get("FAULT", ""), os.environ["STATE"]
def say(word, **fields):
    print(word, json.dumps(fields) if fields else "", flush=True)
"""

LOADER = COMMON + textwrap.dedent("""
    open(state + ".argv", "w").write(" ".join(sys.argv[1:]))
    say("READY", programs=[{"name": "p", "jited_length": 64}], libbpf="1.1")
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "only":
            open(state + ".only", "w").write(rest[0]); say("OK only")
        elif word == "reset":
            say("OK reset")
        elif word == "read":
            timed, marks = map(int, open(state).read().split())
            hits = marks if "other" in " ".join(sys.argv) else timed
            say("COUNTERS", hits={"p": hits + (1 if fault == "many" else 0)}, inner={"p": 0})
        elif word == "quit":
            sys.exit(0)
""")

VICTIM = COMMON + textwrap.dedent("""
    say("READY", pid=os.getpid(), function="getppid", first_bytes="b8c3")
    total = timed = marks = 0
    def told():
        live = "e9c3" if fault == "touched" else "b8c3"
        return dict(calls=total, wrong=2 if fault == "wrong" else 0, marks=marks, live_bytes=live)
    for line in sys.stdin:
        word, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        if word == "quit":
            sys.exit(0)
        if word == "warm":
            total += numbers[0]
            say("WARM", **told())
        elif word == "mark":
            marks += numbers[0] - (1 if fault == "lost" else 0)
            open(state, "w").write(f"{timed} {marks}")
            say("MARKED", **told())
        else:
            calls, rounds = numbers[:2]
            total, timed = total + calls * rounds, calls * rounds
            say("DONE", **told(), rounds=[calls * 100_000] * rounds, calm=[1] * rounds, core=900, scheduling="other")
""")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Return a function that takes one sample of a cell."""
    monkeypatch.setattr(pair, "START_DEADLINE", 5.0)
    monkeypatch.setattr(syscall_pair.SyscallPair, "loader_mounts", False)  # needs root, and is no part of this
    package = tmp_path / "package"
    package.mkdir()
    for name, text in (("loader", LOADER), ("victim", VICTIM)):
        (package / name).write_text(text)
        (package / name).chmod(0o755)
    cpus = frozenset(os.sched_getaffinity(0))

    def sample(*, loader="", victim="", where="kernel", options=None):
        state = {"STATE": str(tmp_path / "state")}
        engine = None if where == "none" else "kernel-jit"
        runtime = Runtime(
            "r", "r", where, "#000000", HERE, loader_env={"FAULT": loader, **state}, target_env={"FAULT": victim, **state},
            engine=engine, backend=engine and "kernel-tracepoint",
        )  # fmt: skip
        case = Case("case", "case", "g", params={"call": "getppid", "attach": ["tracepoint:p:syscalls/sys_enter_getppid"]})
        metric = Metric("time", "time", "ns", "call", "lower", primary=True)
        experiment = Experiment("x", "x", "", "syscall_pair", "native", ("p",), (), (Group("g", "g"),), (case,), (metric,), HERE)
        profile = Profile("quick", "quick", 7, 20, 1, 0.05, 0.05, 10.0, 0.001, ("svg",))
        work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
        work.mkdir()
        with Reaper("bpfbench-test") as reaper:
            bench = Bench(experiment, profile, reaper, {"p": package}, work, cpus, cpus)
            return syscall_pair.create().pilot(bench, Cell(case, Arm("a", "r", "a", options or {}), runtime))

    return sample


OTHER = {"attach": ["tracepoint:p:syscalls/sys_enter_other"]}


def test_all_timed_calls_must_be_counted_and_the_victim_s_alone(measure, tmp_path):
    sample, plan = measure()
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.proof.expected == plan["calls"] * pair.ROUNDS
    assert (tmp_path / "state.only").read_text().isdigit(), "the loader was told whom to watch"
    assert "--mount-tracefs" in (tmp_path / "state.argv").read_text()
    sample, _ = measure(loader="many")
    assert sample.status == "failed"
    assert "hits of p" in sample.reason


def test_an_arm_with_attachments_of_its_own_must_count_the_other_calls_alone(measure, tmp_path):
    sample, _ = measure(options=OTHER)
    assert (sample.status, sample.proof.expected) == ("ok", syscall_pair.MARKS)
    assert "sys_enter_getppid" not in (tmp_path / "state.argv").read_text()
    assert measure(options=OTHER, loader="many")[0].status == "failed"


def test_a_bare_arm_watches_nobody_and_its_text_stays(measure):
    assert measure(where="none")[0].proof.kind == "untouched-text"
    assert measure(where="none", victim="touched")[0].status == "failed"


@pytest.mark.parametrize(("fault", "words"), [("wrong", "2 of"), ("lost", "999 of the 1000")])
def test_calls_that_were_not_made_as_they_should_fail_the_sample(measure, fault, words):
    sample, _ = measure(victim=fault)
    assert sample.status == "failed"
    assert words in sample.reason
