"""What changes the key of a measurement, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.codedigest import CodeDigests
from bpfbench.measure import standing
from bpfbench.measure.fingerprint import Fingerprint
from bpfbench.measure.request import Output, Request, run_key
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime

HERE, ELSEWHERE = Location("specs/x.yaml", 1, 1), Location("specs/x.yaml", 99, 9)
NATIVE = Runtime("native", "native", "none", "#777777", HERE)
KERNEL = Runtime("kernel", "kernel", "kernel", "#0072b2", HERE, requires=("kernel-bpf",), engine="kernel-jit")
CASES = (Case("a", "case a", "g", params={"function": "f"}), Case("b", "case b", "g", divisor=1000, floor="a"))
EXPERIMENT = Experiment(
    "x", "title", "description", "probe_pair", "native", ("p",), (Arm("native", "native", "n"), Arm("kernel", "kernel", "k")),
    (Group("g", "group"),), CASES, (Metric("time", "time", "ns", "call", "lower", primary=True),), HERE,
)  # fmt: skip
PROFILE = Profile("quick", "a first look", 10, 40, 1, 0.03, 0.05, 240.0, 0.02, ("svg",))
REQUEST = Request(
    EXPERIMENT, {"native": NATIVE, "kernel": KERNEL}, PROFILE, {"p": Output("1" * 32 + "-p", Path("/p"), "sha256-one")},
    Fingerprint("m", "0" * 64, {}),
)  # fmt: skip


@pytest.fixture
def prerequisites(monkeypatch):
    found = {"kernel-bpf": {"ok": True, "seen": {"root": True}}}
    monkeypatch.setattr(standing, "remembered", lambda names, cache: {name: found[name] for name in names})
    return found


@pytest.fixture
def key(tmp_path, prerequisites):
    codes = CodeDigests(tmp_path / "code.json")
    return lambda request: run_key(request, codes, tmp_path).id


def with_experiment(**fields):
    return replace(REQUEST, experiment=replace(EXPERIMENT, **fields))


def with_kernel(**fields):
    return replace(REQUEST, runtimes={"native": NATIVE, "kernel": replace(KERNEL, **fields)})


def with_case(**fields):
    return with_experiment(cases=(replace(CASES[0], **fields), CASES[1]))


SAME = {
    "noise": replace(REQUEST, accept_noise=True),
    "title": with_experiment(title="another", description="another", location=ELSEWHERE),
    "groups": with_experiment(groups=(Group("g", "another"),)),
    "case's title and labels": with_case(title="another", labels=("new",)),
    "metric's title": with_experiment(metrics=(Metric("time", "another", "ns", "call", "lower", primary=True),)),
    "arm's title": with_experiment(arms=(Arm("native", "native", "z"), Arm("kernel", "kernel", "z"))),
    "runtime's title and colour": with_kernel(title="another", colour="#123456", location=ELSEWHERE),
    "figure formats": replace(REQUEST, profile=replace(PROFILE, figure_formats=("pdf",), title="another")),
    "equivalence": replace(REQUEST, profile=replace(PROFILE, equivalence=0.1)),
    "where the output lies": replace(REQUEST, outputs={"p": Output("2" * 32 + "-p", Path("/q"), "sha256-one")}),
    "all arms by name": replace(REQUEST, arms=("kernel", "native")),
    "the budget by name": replace(REQUEST, budget=240.0),
    "floor": with_experiment(cases=(CASES[0], replace(CASES[1], floor=None))),
}

DIFFERENT = {
    "params": with_experiment(params={"x": 1}),
    "case's params": with_case(params={"function": "g"}),
    "divisor": with_case(divisor=2),
    "a case more": with_experiment(cases=(*CASES, Case("c", "c", "g"))),
    "metric's unit": with_experiment(metrics=(Metric("time", "time", "us", "call", "lower", primary=True),)),
    "environment": with_kernel(target_env={"LD_PRELOAD": "x"}),
    "engine": with_kernel(engine="kernel-interpreter"),
    "an arm's options": with_experiment(arms=(Arm("native", "native", "n"), Arm("kernel", "kernel", "k", {"o": 1}))),
    "profile": replace(REQUEST, profile=replace(PROFILE, least_blocks=11)),
    "profile's params": replace(REQUEST, profile=replace(PROFILE, params={"x": {"y": 1}})),
    "sample time": replace(REQUEST, profile=replace(PROFILE, sample_time=0.04)),
    "budget": replace(REQUEST, budget=60.0),
    "outputs": replace(REQUEST, outputs={"p": Output("1" * 32 + "-p", Path("/p"), "sha256-two")}),
    "machine": replace(REQUEST, machine=Fingerprint("m", "1" * 64, {})),
    "arms": replace(REQUEST, arms=("native",)),
    "cases": replace(REQUEST, cases=("a",)),
    "take": replace(REQUEST, take="second"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_sample_keeps_the_key(key, what):
    assert SAME[what] != REQUEST
    assert key(SAME[what]) == key(REQUEST)


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_changes_samples_changes_the_key(key, what):
    assert key(DIFFERENT[what]) != key(REQUEST)


def test_no_two_of_these_changes_share_a_key(key):
    assert len({key(request) for request in DIFFERENT.values()}) == len(DIFFERENT)


def test_prerequisites_are_part_of_the_key_for_the_arms_that_ask_for_them(key, prerequisites):
    whole, native = key(REQUEST), key(replace(REQUEST, arms=("native",)))
    prerequisites["kernel-bpf"] = {"ok": False, "seen": {"root": False}}
    assert key(REQUEST) != whole
    assert key(replace(REQUEST, arms=("native",))) == native


def test_the_code_that_takes_samples_is_part_of_the_key_and_statistics_are_not(tmp_path, prerequisites):
    seen = run_key(REQUEST, CodeDigests(tmp_path / "code.json"), tmp_path).components["code"]
    assert {"measure/loop.py", "drivers/probe_pair.py", "drivers/common.py", "process/reaper.py"} <= seen.keys()
    assert not any(name.startswith(("stats/", "report/", "check/", "commands/")) for name in seen)


def test_what_is_chosen_keeps_the_spec_s_order():
    asked = replace(REQUEST, arms=("kernel", "native"), cases=("b", "a"))
    assert [cell.id for cell in asked.cells()] == [("a", "native"), ("a", "kernel"), ("b", "native"), ("b", "kernel")]
    assert not asked.partial
    assert replace(REQUEST, cases=("b",)).partial


def test_a_profile_may_measure_some_cases_and_who_asks_for_others_gets_those():
    asked = replace(REQUEST, profile=replace(PROFILE, cases={"x": ("b",)}))
    assert [case.name for case in asked.chosen_cases] == ["b"]
    assert not asked.partial
    assert [case.name for case in replace(asked, cases=("a",)).chosen_cases] == ["a"]
    assert replace(asked, cases=("a",)).partial
    assert replace(asked, cases=("a", "b")).partial, "it is not what the profile measures"


def test_a_profile_may_measure_some_arms_and_who_asks_for_others_gets_those():
    asked = replace(REQUEST, profile=replace(PROFILE, arms={"x": ("native",)}))
    assert [arm.name for arm in asked.chosen_arms] == ["native"]
    assert not asked.partial
    assert [arm.name for arm in replace(asked, arms=("kernel",)).chosen_arms] == ["kernel"]
    assert replace(asked, arms=("kernel", "native")).partial, "it is not what the profile measures"
