"""The driver against small scripts that play loader and victim, well and in every wrong way."""

import os
import sys
import textwrap

import pytest

from bpfbench.drivers import pair, probe_pair
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

COMMON = f"""\
#!{sys.executable} -IS
import json, os, sys, time
fault, state = os.environ.get("FAULT", ""), os.environ["STATE"]
def say(word, **fields):
    print(word, json.dumps(fields) if fields else "", flush=True)
def lines():
    for line in sys.stdin:
        yield line.split()
"""

LOADER = COMMON + textwrap.dedent("""
    stage, _, what = fault.partition(":")
    if stage in ("open", "load", "attach", "fill"):
        say("ERROR", stage=stage, errno=1, message=what or "no luck", log=os.environ.get("LOG", ""))
        sys.exit(3)
    if fault == "garbage":
        print("READY {not json", flush=True); time.sleep(1000)
    if fault == "no message":
        say("ERROR", stage="load", message=""); sys.exit(3)
    if fault == "dies":
        print("out of luck", file=sys.stderr); sys.exit(9)
    if fault == "silent":
        time.sleep(1000)
    jited = 0 if fault == "interpreted" else 64
    programs = [] if fault == "no programs" else [{"name": "count", "id": 7, "jited_length": jited}]
    say("READY", programs=programs, libbpf="1.1")
    for word, *_ in lines():
        if word == "reset":
            say("OK reset")
        elif word == "read":
            calls = int(open(state).read())
            hits = calls + {"many": 1, "few": -1}.get(fault, 0)
            inner = hits * int(os.environ.get("INNER", "1000"))
            counted = {} if fault == "uncounted" else {"count": hits}
            if fault == "no inner":
                say("COUNTERS", hits=counted)
            say("COUNTERS", hits=counted, inner={name: inner for name in counted})
        elif word == "quit":
            sys.exit(4 if fault == "bad exit" else 0)
""")

VICTIM = COMMON + textwrap.dedent("""
    code = "90c3" if fault == "first" else "55c3"
    if fault == "dies at once":
        print("cannot start", file=sys.stderr); sys.exit(5)
    if fault == "no bytes":
        say("READY", pid=os.getpid(), function="f")
    else:
        say("READY", pid=os.getpid(), function="f", first_bytes=code)
    total = 0
    for word, *numbers in lines():
        if word == "quit":
            sys.exit(6 if fault == "bad exit" else 0)
        numbers = [int(number) for number in numbers]
        if word == "warm":
            total += numbers[0]
            say("WARM", calls=total)
            continue
        calls, rounds, most = (numbers + numbers[-1:])[:3]
        if rounds > 1 and fault == "crash":
            os.abort()
        if rounds > 1 and fault == "hang":
            time.sleep(1000)
        if rounds > 1 and fault == "chatter":
            print("[heartbeat]\\nDONE? not yet", flush=True)
        calm = [1] * rounds
        if most > rounds and fault.startswith("neighbour"):
            calm = [1] * int(fault.split()[1]) + [0] * (most - int(fault.split()[1]))
        total += calls * len(calm)
        open(state, "w").write(str(calls * len(calm)))
        spent = 0 if fault == "no time" and rounds > 1 else calls * 100_000
        live = "cc" + code[2:] if fault == "touched" else code
        buffer = "00" if fault == "buffer" else b"WROTE".hex()
        say("DONE", calls=total, rounds=[spent if quiet else 2 * spent for quiet in calm], calm=calm, core=815,
            clock="CLOCK_MONOTONIC", live_bytes=live, buffer=buffer, scheduling="SCHED_OTHER")
""")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Return a function that takes one sample of a cell, with faults of loader and victim."""
    monkeypatch.setattr(pair, "START_DEADLINE", 1.5)
    monkeypatch.setattr(pair, "STALL", 1.5)
    package = tmp_path / "package"
    package.mkdir()
    for name, text in (("loader", LOADER), ("victim", VICTIM)):
        (package / name).write_text(text)
        (package / name).chmod(0o755)
    cpus = frozenset(os.sched_getaffinity(0))

    def sample(*, loader="", victim="", arm="kernel", divisor=1000, more=None, params=None, deviates=()):
        where = "none" if arm == "native" else "kernel"
        state = {"STATE": str(tmp_path / "state"), **(more or {})}
        engine = None if arm == "native" else "kernel-jit"
        runtime = Runtime(
            arm, arm, where, "#000000", HERE, loader_env={"FAULT": loader, **state},
            target_env={"FAULT": victim, **state}, engine=engine, backend=engine and "kernel-uprobe",
            deviates=dict(deviates),
        )  # fmt: skip
        given = {"function": "f", "first_instruction": "push", "attach": ["uprobe:count:f"], **(params or {})}
        case = Case("case", "case", "g", divisor=divisor, params=given)
        metric = Metric("time", "time", "ns", "call", "lower", primary=True)
        experiment = Experiment("x", "x", "", "probe_pair", "native", ("p",), (), (Group("g", "g"),), (case,), (metric,), HERE)
        profile = Profile("quick", "quick", 5, 20, 1, 0.05, 0.05, 10.0, 0.001, ("svg",))
        work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
        work.mkdir()
        with Reaper("bpfbench-test") as reaper:
            bench = Bench(experiment, profile, reaper, {"p": package}, work, cpus, cpus)
            found, plan = probe_pair.create().pilot(bench, Cell(case, Arm(arm, arm, arm), runtime))
        assert not list(work.glob("sample-*")), "a sample leaves no directory"
        return found, plan

    return sample


def test_a_good_pair_is_proved_and_its_times_are_per_call(measure):
    sample, plan = measure()
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.metrics["time"] == pytest.approx(100_000)
    assert sample.metrics["time_mean"] == pytest.approx(100_000)
    assert sample.proof.holds
    assert sample.proof.expected == plan["calls"] * pair.ROUNDS
    assert (sample.engine, sample.backend) == ("kernel-jit", "kernel-uprobe")
    assert sample.evidence["first_instruction"] == "push"
    assert sample.cpu > 0


def test_rounds_beside_a_busy_neighbour_are_counted_but_not_timed(measure):
    sample, plan = measure(victim="neighbour 60")
    assert sample.status == "ok"
    assert sample.proof.expected == plan["calls"] * pair.MOST_ROUNDS, "hits of disturbed rounds are hits"
    assert (sample.evidence["rounds"], sample.evidence["calm_rounds"]) == (pair.MOST_ROUNDS, 60)
    assert sample.calm == 60 / pair.MOST_ROUNDS
    assert sample.metrics["time"] == sample.metrics["time_mean"] == pytest.approx(100_000)


def test_too_few_calm_rounds_and_all_of_them_are_used(measure):
    sample, _ = measure(victim=f"neighbour {pair.LEAST_CALM - 1}")
    assert sample.evidence["calm_rounds"] == pair.LEAST_CALM - 1
    assert sample.metrics["time"] == pytest.approx(100_000)
    assert sample.metrics["time_median"] == pytest.approx(200_000)


def test_a_bare_arm_needs_no_loader_and_proves_that_nobody_touched_its_text(measure):
    sample, _ = measure(arm="native")
    assert (sample.status, sample.proof.kind, sample.engine) == ("ok", "untouched-text", None)
    sample, _ = measure(arm="native", victim="touched")
    assert sample.status == "failed"
    assert "untouched-text" in sample.reason


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("open:no such file", ["open", "no such file"]),
        ("load:permission denied", ["load", "permission denied"]),
        ("attach:no such symbol", ["attach", "no such symbol"]),
        ("fill:out of memory", ["fill", "out of memory"]),
        ("no message", ["load", "no reason was given"]),
        ("garbage", ["READY {not json"]),
        ("dies", ["loader", "9", "out of luck"]),
        ("silent", ["loader"]),
        ("interpreted", ["kernel-interpreter", "expected kernel-jit"]),
        ("no programs", ["kernel-interpreter"]),
        ("many", ["hits of count", "expected", "observed"]),
        ("few", ["hits of count"]),
        ("uncounted", ["counts no program"]),
        ("no inner", ["'inner' is missing"]),
        ("bad exit", ["loader", "4"]),
    ],
)
def test_every_fault_of_a_loader_fails_the_sample_and_is_named(measure, fault, words):
    sample, _ = measure(loader=fault)
    assert sample.status == "failed"
    assert sample.metrics == {}
    for word in words:
        assert word in sample.reason


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("first", ["begins with nop1", "expected push"]),
        ("dies at once", ["victim", "cannot start"]),
        ("no bytes", ["'first_bytes' is missing"]),
        ("crash", ["victim", "SIGABRT"]),
        ("hang", ["victim"]),
        ("no time", ["took no time"]),
        ("bad exit", ["victim", "6"]),
    ],
)
def test_every_fault_of_a_victim_fails_the_sample_and_is_named(measure, fault, words):
    sample, _ = measure(victim=fault)
    assert sample.status == "failed"
    assert sample.metrics == {}
    for word in words:
        assert word in sample.reason


def test_other_lines_between_the_protocol_s_are_passed_over(measure):
    assert measure(victim="chatter")[0].status == "ok"


def test_operations_inside_a_hit_are_counted_too(measure):
    sample, plan = measure(more={"INNER": "999"})
    assert sample.status == "failed"
    assert "operations of count" in sample.reason
    assert str(plan["calls"] * pair.ROUNDS * 1000) in sample.reason
    assert measure(more={"INNER": "0"}, divisor=1)[0].status == "ok", "one operation is the hit itself"


def test_what_a_program_should_write_must_be_there(measure):
    params = {"writes": "WROTE"}
    assert measure(params=params)[0].status == "ok"
    sample, _ = measure(params=params, victim="buffer")
    assert sample.status == "failed"
    assert "WROTE" in sample.reason


def test_a_program_that_the_kernel_may_refuse_is_unsupported_with_the_verifier_s_words(measure):
    params = {"refusable": "lockdown forbids it"}
    log = "1: (85) call bpf_probe_write_user#36\nhelper call is not allowed in probe\nprocessed 2 insns\n"
    sample, _ = measure(loader="load:-EINVAL", more={"LOG": log}, params=params)
    assert sample.status == "unsupported"
    assert "helper call is not allowed in probe" in sample.reason
    assert "lockdown forbids it" in sample.reason
    assert measure(loader="attach:-EINVAL", params=params)[0].status == "failed", "only loading may be refused"
    assert measure(loader="load:-EINVAL", more={"LOG": log})[0].status == "failed"


def test_a_known_deviation_makes_the_case_unsupported_only_while_it_is_there(measure):
    deviates = {"case": "it says 0"}
    sample, _ = measure(more={"INNER": "0"}, deviates=deviates)
    assert (sample.status, sample.metrics) == ("unsupported", {})
    assert sample.reason == "operations end otherwise than on the kernel: it says 0"
    assert measure(deviates=deviates)[0].status == "ok"
    assert measure(more={"INNER": "999"}, deviates=deviates)[0].status == "failed"
    assert measure(more={"INNER": "0"}, deviates={"other": "it says 0"})[0].status == "failed"
    assert measure(loader="few", deviates=deviates)[0].status == "failed"
