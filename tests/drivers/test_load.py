"""The driver of the load experiment against small scripts that play launcher, loader, victim and injector."""

import json
import os
import sys
import textwrap

import pytest

from bpfbench.drivers import load
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

COMMON = f"#!{sys.executable} -IS\n" + textwrap.dedent("""
    import json, os, sys
    fault, state = os.environ.get("FAULT", ""), "STATE"
    def say(word, **fields):
        print(word, json.dumps(fields), flush=True)
    def now():
        clock = int(open(state).read()) + 1_000_000
        open(state, "w").write(str(clock))
        return clock
""")
LAUNCH = COMMON + 'say("LAUNCHED", at_ns=now())\nos.execv(sys.argv[1], sys.argv[1:])\n'
VICTIM = COMMON + textwrap.dedent("""
    if "STATUS" in os.environ:
        open("status", "wb").write(bytes.fromhex(os.environ["STATUS"]))
    say("READY", pid=os.getpid(), called_ns=now())
    for line in sys.stdin:
        break
    sys.exit(7 if fault == "bad exit" else 0)
""")
LOADER = COMMON + textwrap.dedent("""
    n = int(sys.argv[sys.argv.index("--programs") + 1])
    if fault == "refused":
        say("ERROR", stage="load", message="too many"); sys.exit(3)
    jited = 0 if fault == "interpreted" else 60
    say("READY", ready_ns=now(), open_ns=2000, load_ns=5000, cpu_ns=3000, libbpf="1", programs=[{"jited_length": jited}] * n)
    for line in sys.stdin:
        word = line.split()[0]
        if word == "attach":
            at = now(); say("ATTACHED", began_ns=at + (10**9 if fault == "early" else 0), ended_ns=at, cpu_ns=4000)
        elif word == "again":
            verify = 99_000 if fault == "no time to compile" else 20_000
            say("AGAIN", load_ns=[50_000, 30_000, 60_000], verify_ns=[verify] * 3)
        elif word == "read":
            hits = [1] * n
            if fault == "missed": hits[-1] = 0
            if fault == "twice": hits[0] = 2
            say("COUNTERS", hits=hits, first_ns=[now() for _ in range(n)])
        else:
            sys.exit(0)
""")
INJECTOR = COMMON + 'print("no", file=sys.stderr)\nsys.exit(1 if fault == "inject" else 0)\n'
CASES = tuple(
    Case(f"{duration}_{n}", "c", "g", params={"duration": duration, "programs": n})
    for duration in ("ready", "start", "attach")
    for n in (1, 20)
)
INJECT = {"inject": ["{package:p}/injector", "{pid}"]}


@pytest.fixture
def take(tmp_path, monkeypatch):
    """Return a function that takes one sample of a case."""
    monkeypatch.setattr(load, "HIT_DEADLINE", 0.2)
    package = tmp_path / "package"
    package.mkdir()
    for name, text in (("launch", LAUNCH), ("loader", LOADER), ("victim", VICTIM), ("injector", INJECTOR)):
        (package / name).write_text(text.replace("STATE", str(tmp_path / "state")))
        (package / name).chmod(0o755)
    (tmp_path / "state").write_text("1000000")
    cpus = frozenset(os.sched_getaffinity(0))
    metric = Metric("time", "time", "us", None, "lower", primary=True)
    experiment = Experiment("x", "x", "", "load", "native", ("p",), (), (Group("g", "g"),), CASES, (metric,), HERE)
    profile = Profile("quick", "quick", 7, 20, 1, 0.05, 0.05, 10.0, 0.001, ("svg",))
    work = tmp_path / "work"
    work.mkdir()
    driver = load.create()

    def sample(case, fault="", where="kernel", options=None, status=None):
        env = {"FAULT": fault, **({"STATUS": json.dumps(status).encode().hex()} if status else {})}
        engine = "fast" if status else None if where == "none" else "kernel-jit"
        told = {"engine": engine, "backend": engine and "hook", "status": "{work}/status" if status else None}
        runtime = Runtime("r", "r", "userspace" if status else where, "#000000", HERE, loader_env=env, target_env=env, **told)
        with Reaper("bpfbench-test") as reaper:
            bench = Bench(experiment, profile, reaper, {"p": package}, work, cpus, cpus)
            found = next(each for each in CASES if each.name == case)
            taken, _ = driver.pilot(bench, Cell(found, Arm("a", "r", "a", options or {}), runtime))
        assert not list(work.iterdir()), "a sample leaves no directory"
        return taken

    return sample


def test_one_pair_gives_both_durations_of_a_start(take):
    start = take("start_1")
    assert (start.status, start.reason) == ("ok", None)
    assert start.metrics["time"] == 1000.0
    assert start.metrics["load"] == 7.0
    assert "compile" not in start.metrics, "the kernel has compiled before"
    ready = take("ready_1", fault="refused")
    assert ready.status == "ok", "taken from the pair before, not from a new one"
    assert ready.metrics["time"] == 1000.0
    assert take("ready_1", fault="refused").status == "failed", "but once only"


def test_a_bare_target_has_a_start_and_nothing_else(take):
    assert take("start_1", where="none").metrics == {"time": 1000.0}
    for case in ("ready_1", "attach_1"):
        assert take(case, where="none").status == "unsupported"


def test_attaching_lasts_from_the_call_to_the_last_program_s_first_hit(take):
    assert take("attach_1").metrics == {"time": 1000.0, "load": 7.0, "cpu": 4.0}


def test_the_kernel_s_compiling_is_what_loading_once_more_takes_beyond_the_verifier(take):
    taken = take("ready_20").metrics
    assert (taken["cpu"], taken["compile"]) == (3.0, 20 * 30.0)
    assert "compile" not in take("ready_1", fault="no time to compile").metrics


def test_a_runtime_s_compiling_is_what_its_agent_says(take):
    programs = [{"engine": "fast", "compile_ns": 1500, "loader_compile_ns": 500}] * 2
    status = {"engine": "fast", "backend": "hook", "programs": programs}
    assert take("start_1", status=status).metrics["compile"] == 3.0
    assert take("ready_1", status=status).metrics["compile"] == 1.0
    attached = take("attach_1", status=status).metrics
    assert (attached["compile"], attached["cpu"]) == (3.0, 4.0)


def test_injecting_counts_from_the_injector_s_launch(take):
    sample = take("attach_20", where="userspace", options=INJECT)
    assert sample.metrics["time"] == 20_000.0
    assert take("start_1", options=INJECT).status == "unsupported"


@pytest.mark.parametrize(
    ("case", "fault", "words"),
    [
        ("start_1", "refused", "load: too many"),
        ("start_1", "missed", "expected 1 programs hit once, observed 0"),
        ("start_1", "twice", "expected 1 programs hit once, observed 0"),
        ("start_1", "interpreted", "kernel-interpreter"),
        ("start_1", "bad exit", "7"),
        ("attach_1", "missed", "expected 1 programs hit, observed 0"),
        ("attach_1", "early", "before it was attached"),
    ],
)
def test_every_fault_is_named_and_gives_no_number(take, case, fault, words):
    sample = take(case, fault)
    assert (sample.status, sample.metrics) == ("failed", {})
    assert words in sample.reason


def test_an_injector_that_fails_is_told_in_its_own_words(take):
    assert "no" in take("attach_1", "inject", "userspace", INJECT).reason
