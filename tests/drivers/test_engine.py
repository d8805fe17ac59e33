"""The driver of engines against a small script that plays one, well and in every wrong way."""

import os
import sys
import textwrap

import pytest

from bpfbench.drivers import engine
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

RUNNER = f"#!{sys.executable} -IS\n" + textwrap.dedent("""
    import json, os, sys, time
    fault = sys.argv[1]
    def say(word, **fields):
        print(word, json.dumps(fields) if fields else "", flush=True)
    if fault == "dies":
        print("no such thing", file=sys.stderr); sys.exit(2)
    say("READY", pid=os.getpid())
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "calm":
            say("OK calm")
        elif word == "load":
            if fault in ("REFUSED", "UNSUPPORTED"):
                say(fault, message="loops are not taken")
            else:
                size = None if fault == "no size" else 64
                say("LOADED", program=rest[0], engine="slow" if fault == "engine" else "fast", compile_ns=5000, code_size=size,
                    **({"objection": "loops detected"} if fault.endswith("overruled") else {}))
        elif word == "run":
            calls, wanted, most = map(int, rest)
            if fault.startswith("crash"):
                os.abort()
            rounds = [calls * 1_000_000] * wanted
            calm = [1] * wanted
            if fault == "neighbour" and wanted > 1:
                rounds, calm = rounds + [10] * 5, calm + [0] * 5
            if fault == "no time":
                rounds = [0 if wanted > 1 else 10**7] * wanted
            hits = calls * wanted * 2 - (1 if fault == "lost" else 0)
            say("DONE", hits=hits, calls=calls * wanted,
                result="02" if fault.startswith("result") else "01", memory="bb" if fault == "memory" else "aa",
                cpu_ns=1000, rounds=rounds, calm=calm, core=900)
""")


@pytest.fixture
def bench(tmp_path):
    """Return a bench, and what makes a cell whose engine has a fault."""
    (tmp_path / "package").mkdir()
    runner = tmp_path / "package" / "runner"
    runner.write_text(RUNNER)
    runner.chmod(0o755)
    cpus = frozenset(os.sched_getaffinity(0))
    runtime = Runtime("r", "r", "userspace", "#000000", HERE, engine="fast")
    cases = tuple(Case(name, name, "g", params={"program": "p", "input": "bytes"}) for name in ("one", "two"))

    counted = Case("counted", "counted", "g", params={"program": "p", "input": "bytes", "executions": 2})
    cases = (*cases, counted)

    def arm(name, fault="none", **more):
        return Arm(name, "r", name, {"runner": ["{package:p}/runner", fault], **more})

    metric = Metric("time", "time", "ns", "call", "lower", primary=True)
    experiment = Experiment("x", "x", "", "engine", "base", ("p",), (arm("base"),), (Group("g", "g"),), cases, (metric,), HERE)
    profile = Profile("quick", "quick", 7, 20, 1, 0.05, 0.05, 10.0, 0.001, ("svg",))
    work = tmp_path / "work"
    work.mkdir()
    with Reaper("bpfbench-test") as reaper:
        bench = Bench(experiment, profile, reaper, {"p": tmp_path / "package"}, work, cpus, cpus)
        yield bench, lambda fault="none", case=0, **more: Cell(cases[case], arm(f"a-{fault.lower()}", fault, **more), runtime)


def test_a_right_result_is_proved_and_times_are_per_execution(bench):
    bench, cell = bench
    sample, plan = engine.create().pilot(bench, cell())
    assert (sample.status, sample.reason) == ("ok", None)
    assert sample.metrics == {"time": 1e6, "time_median": 1e6, "time_mean": 1e6, "compile": 5000.0, "code_size": 64.0}
    assert sample.proof.holds
    assert (sample.engine, plan["calls"]) == ("fast", 1)


def test_rounds_beside_a_busy_neighbour_are_not_timed(bench):
    bench, cell = bench
    sample, _ = engine.create().pilot(bench, cell("neighbour"))
    assert sample.metrics["time"] == 1e6
    assert sample.calm == engine.ROUNDS / (engine.ROUNDS + 5)


def test_an_engine_without_code_has_no_size(bench):
    bench, cell = bench
    assert "code_size" not in engine.create().pilot(bench, cell("no size"))[0].metrics


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("result", "failed", "wrong: result 02, expected 01"),
        ("memory", "failed", "wrong: the memory"),
        ("engine", "failed", "ran on the engine slow, expected fast"),
        ("no time", "failed", "no time at all"),
        ("REFUSED", "failed", "loops are not taken"),
        ("UNSUPPORTED", "unsupported", "loops are not taken"),
        ("dies", "failed", "no such thing"),
        ("crash", "failed", "SIGABRT"),
        ("crash overruled", "unsupported", "refused: loops detected; made to execute it all the same, it dies"),
        ("result overruled", "unsupported", "refused: loops detected; made to execute it all the same, another result"),
    ],
)
def test_every_fault_is_named_and_gives_no_number(bench, fault, status, words):
    bench, cell = bench
    sample, _ = engine.create().pilot(bench, cell(fault))
    assert (sample.status, sample.metrics) == (status, {})
    assert words in sample.reason


def test_what_an_engine_has_against_a_program_that_works_is_evidence(bench):
    bench, cell = bench
    driver = engine.create()
    assert driver.pilot(bench, cell("overruled"))[0].evidence["objection"] == "loops detected"
    assert driver.pilot(bench, cell())[0].evidence["objection"] is None


def test_a_process_does_every_case_once_and_is_then_replaced(bench):
    bench, cell = bench
    driver = engine.create()

    def pid(case, **more):
        assert driver.pilot(bench, cell(case=case, **more))[0].status == "ok"
        return driver._processes["a-none"].child.pid

    first = pid(0)
    assert pid(1) == first
    second = pid(1)
    assert second != first
    assert pid(1, renew=False) == second, "unless it is too dear to load"


def test_after_a_crash_the_next_sample_has_a_new_process(bench):
    bench, cell = bench
    driver = engine.create()
    assert driver.pilot(bench, cell("crash"))[0].status == "failed"
    assert "a-crash" not in driver._processes


def test_where_executions_are_counted_the_count_must_be_exact(bench):
    bench, cell = bench
    driver = engine.create()
    sample, plan = driver.pilot(bench, cell(case=2))
    assert sample.proof.expected == sample.proof.observed == 2 * plan["calls"] * engine.ROUNDS
    sample, _ = driver.pilot(bench, cell("lost", case=2))
    assert sample.status == "failed"
    assert "executions" in sample.reason


def test_places_in_a_command_are_filled_in_and_unknown_ones_refused(bench):
    bench, _ = bench
    assert engine.expand("{python}", bench, bench.work) == sys.executable
    with pytest.raises(KeyError, match="package:other"):
        engine.expand("{package:other}/x", bench, bench.work)
