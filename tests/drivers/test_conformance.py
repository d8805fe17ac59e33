"""The driver of conformance against a small script that plays an engine with every kind of flaw."""

import os
import sys
import textwrap

import pytest

from bpfbench.drivers import conformance
from bpfbench.errors import BenchError
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell

HERE = Location("specs/x.yaml", 1, 1)

TABLE = """\
one | mov64 r0, 1; add64 r0, 0; exit | 1
two | mov64 r0, 2; add64 r0, 0; exit | 2
three | mov64 r0, 3; add64 r0, 0; exit | 3
case remembers
	mov64 r0, 4
	stxdw [r1+0], r0
	exit
result 4
after 8 9
"""

# Takes the constant of the first instruction for the result; its flaw shows at the second program.
RUNNER = f"#!{sys.executable} -IS\n" + textwrap.dedent("""
    import json, os, sys
    flaw = sys.argv[1]
    def say(word, **fields):
        print(word, json.dumps(fields), flush=True)
    say("READY", pid=os.getpid(), engine="another" if flaw == "engine" else "fast")
    for line in sys.stdin:
        before, after, program = line[4:].split("|")
        number = int(program.split(";")[0].split()[-1])
        if number == 2 and flaw == "dies":
            os.abort()
        if number == 2 and flaw == "refuses":
            say("REFUSED", message="log\\n2: R1 is nothing\\nprocessed 3 insns")
        elif flaw == "garbled":
            say("ERROR", message="what?")
        else:
            result = number + (1 if number == 2 and flaw == "wrong" else 0)
            data = [(8 if flaw == "memory" else 9).to_bytes(8, "little").hex()] if after else []
            say("RAN", result=result.to_bytes(8, "little").hex(), data=data)
""")


@pytest.fixture
def bench(tmp_path):
    """Return a bench, and what makes a cell whose engine has a flaw."""
    package = tmp_path / "package"
    (package / "tables").mkdir(parents=True)
    (package / "tables" / "t.case").write_text(TABLE)
    (package / "runner").write_text(RUNNER)
    (package / "runner").chmod(0o755)
    cpus = frozenset(os.sched_getaffinity(0))
    adds = Case("adds", "adds", "g", params={"instructions": ["add64"]})
    stores = Case("stores", "stores", "g", params={"programs": ["remembers"]})
    nothing = Case("nothing", "nothing", "g", params={"instructions": ["xchg64"]})
    arm = Arm("a", "r", "a", {"runner": ["{package:p}/runner", "none"]})
    metric = Metric("right", "right", "1", None, "higher", primary=True)
    experiment = Experiment(
        "x", "x", "", "conformance", "a", ("p",), (arm,), (Group("g", "g"),), (adds, stores), (metric,), HERE,
        params={"tables": "tables"},
    )  # fmt: skip
    profile = Profile("quick", "quick", 7, 20, 1, 0.05, 0.05, 10.0, 0.001, ("svg",))
    work = tmp_path / "work"
    work.mkdir()

    def cell(flaw="none", case=adds, **known):
        runtime = Runtime("r", "r", "userspace", "#000000", HERE, engine="fast", deviates=known)
        return Cell(case, Arm(f"a-{flaw}", "r", flaw, {"runner": ["{package:p}/runner", flaw]}), runtime)

    with Reaper("bpfbench-test") as reaper:
        yield Bench(experiment, profile, reaper, {"p": package}, work, cpus, cpus), cell, stores, nothing


def test_an_engine_that_is_right_passes_with_the_number_of_programs(bench):
    bench, cell, stores, _ = bench
    driver = conformance.create()
    sample, _ = driver.pilot(bench, cell())
    assert (sample.status, sample.reason, sample.metrics, sample.engine) == ("ok", None, {"right": 3.0}, "fast")
    assert sample.proof.holds
    assert driver.pilot(bench, cell(case=stores))[0].metrics == {"right": 1.0}


def test_later_samples_run_the_programs_again_one_part_after_the_other(bench, monkeypatch):
    bench, cell, *_ = bench
    driver = conformance.create()
    _, plan = driver.pilot(bench, cell())
    monkeypatch.setattr(conformance, "PARTS", 2)
    taken = [driver.sample(bench, cell(), plan, number) for number in range(1, 5)]
    assert [sample.proof.expected for sample in taken] == [2, 1, 2, 1]
    assert all(sample.status == "ok" and sample.metrics == {"right": 3.0} for sample in taken)


@pytest.mark.parametrize(
    ("flaw", "status", "words"),
    [
        ("wrong", "failed", "1 of 3 wrong: two: the result is 0x3, not 0x2"),
        ("dies", "failed", "1 of 3 wrong: two: "),
        ("refuses", "unsupported", "1 of 3 refused: two: 2: R1 is nothing"),
        ("engine", "failed", "ran on the engine another, expected fast"),
        ("garbled", "failed", "what?"),
    ],
)
def test_every_flaw_is_named_with_its_program(bench, flaw, status, words):
    bench, cell, *_ = bench
    sample, _ = conformance.create().pilot(bench, cell(flaw))
    assert (sample.status, sample.metrics) == (status, {})
    assert words in sample.reason


def test_when_a_program_kills_the_engine_the_others_are_run_all_the_same(bench):
    bench, cell, *_ = bench
    sample, _ = conformance.create().pilot(bench, cell("dies"))
    assert (sample.proof.expected, sample.proof.observed) == (3, 2)
    assert "SIGABRT" in sample.reason


def test_memory_that_is_left_otherwise_is_wrong(bench):
    bench, cell, stores, _ = bench
    assert "something else in memory" in conformance.create().pilot(bench, cell("memory", stores))[0].reason


def test_what_is_known_of_an_engine_is_told_and_no_failure(bench):
    bench, cell, *_ = bench
    driver = conformance.create()
    sample, _ = driver.pilot(bench, cell("wrong", adds="two is too much for it"))
    assert sample.status == "unsupported"
    assert sample.reason.startswith("wrong, as is known: two is too much for it (1 of 3 wrong: two")
    assert driver.pilot(bench, cell(adds="two is too much for it"))[0].status == "ok"


def test_a_class_without_programs_proves_nothing(bench):
    bench, cell, _, nothing = bench
    driver = conformance.create()
    assert driver.pilot(bench, cell(case=nothing))[0].status == "failed"
    unknown = Case("unknown", "unknown", "g", params={"programs": ["nobody"]})
    with pytest.raises(BenchError):
        driver.pilot(bench, cell(case=unknown))
